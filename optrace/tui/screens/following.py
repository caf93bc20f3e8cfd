"""A trace that is still being recorded: what was added since is read by a worker, and then looked at."""

from __future__ import annotations

import ctypes
import gc
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from optrace.errors import OptraceError
from optrace.trace.format import EVENTS_FILE, RING, TENSORS_FILE
from optrace.tui.core.session import Session
from optrace.tui.core.spans import Span
from optrace.tui.messages import Damaged
from optrace.tui.screens.background import Background
from optrace.tui.screens.jobs import Jobs

if TYPE_CHECKING:
    from optrace.tui.core.machine import Machine

POLL = 0.25
"""Seconds between two looks at a trace that is still being recorded, at the least."""
REST = 6
"""Seconds without a look for each that the last one worked: a long trace takes a while to read. It is counted by what
the look itself worked: on a machine that is busy recording, it waits for most of its time."""
_READING = ("ledger", "search", "history", "findings")
"""Workers that may be reading the session's trace."""
WATCH = 1.0
"""Seconds between two looks at whether the files are still there."""
Files = tuple[tuple[str, int, int], ...]
"""Name, number on the disk and size of what must not go away or shrink."""
Stamp = tuple[tuple[str, int, int], ...]


class Following(Background, Jobs):
    """A part of the main screen."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._next_look = 0.0
        self._looking = False
        self._seen: Stamp = ()
        self._newer: Machine | None = None
        self._files: Files = ()

    def start_background(self) -> None:
        super().start_background()
        self._files = _files(self.session.trace.path)
        self.set_interval(WATCH, self._watch)
        if not self.session.trace.complete:
            self.set_interval(POLL, self._grow)

    def _watch(self) -> None:
        """Say so when the files are taken away or cut off. What was opened can still be looked at."""
        if RING in self.session.trace.meta and not self.session.trace.complete:
            return  # its files come and go
        files, name = _files(self.session.trace.path), self.session.trace.path.name
        if not self._files:
            return  # said already
        if len(files) < len(self._files):
            self.post_message(Damaged(f"{name} was moved or deleted while it was open; nothing new can be read of it"))
        elif any(now[1] != then[1] for now, then in zip(files, self._files, strict=True)):
            self.post_message(Damaged(f"{name} was replaced while it was open; what is shown is what was there before"))
        elif any(now[2] < then[2] for now, then in zip(files, self._files, strict=True)):
            self.post_message(Damaged(f"{name} is damaged: it was cut off while it was open"))
        else:
            self._files = files
            return
        self._files = ()

    def _grow(self) -> None:
        """Look for what was recorded since. A worker reads it, into a machine of its own; this one is looked at."""
        if self._newer is not None:
            self._take_in()
        elif not self._looking and not self.session.trace.complete and time.monotonic() >= self._next_look:
            self._looking = True
            self.run_worker(self._look, thread=True, group="growing", exit_on_error=False)

    def _look(self) -> None:
        began = time.thread_time()
        newer, failure = None, ""
        try:
            seen = _stamp(self.session.trace.path)
            if seen != self._seen:
                newer = self.session.newer()
                self._seen = seen
        except (OptraceError, OSError) as error:
            failure = str(error)
        self._next_look = time.monotonic() + (2 if failure else REST * (time.thread_time() - began))
        if newer is not None and not self.is_attached:
            newer.close()
            return
        self._newer = newer
        self._looking = False
        if failure:
            self.from_thread(self.keybar.say, [Span(failure, "bad")])
        elif newer is not None:
            self.from_thread(self._take_in)

    def _take_in(self) -> None:
        """Look at the longer trace from now on, unless something still reads the one before: then a little later."""
        reading = any(worker.group in _READING and not worker.is_finished for worker in self.workers)
        if self._newer is None or self.running or self._wanted is not None or reading:
            return
        newer, self._newer = self._newer, None
        base = self.session.trace.base
        new, *before = self.session.grown(newer)
        self.run_worker(lambda: _let_go(before), thread=True, group="closing", exit_on_error=False)
        if new:
            self.redraw()
        if self.session.trace.base != base:
            self.topbar.status = []  # what could not be read is there again, under its new number
        moved = RING in self.session.trace.meta and not self.session.findings.ready
        if (new and (moved or time.monotonic() > self._next_check)) or self.session.trace.complete:
            self._check()

    def on_unmount(self) -> None:
        if self._newer is not None:
            self._newer.close()
            self._newer = None


def _let_go(machines: list[Machine]) -> None:
    """Close a shorter trace, and free what was read of it: megabytes in few objects, which nobody else looks for."""
    machines.pop().close()
    gc.collect()  # 3 ms; what was there when the screen began is not gone through
    with suppress(AttributeError, OSError):  # glibc keeps what is freed in a thread for that thread
        ctypes.CDLL(None).malloc_trim(0)


def _stamp(path: Path) -> Stamp:
    """What changes when something is recorded: the files' sizes and times. `-shm` is left out: readers touch it."""
    found = []
    for file in sorted(path.iterdir()):
        if not file.name.endswith("-shm"):
            about = file.stat()
            found.append((file.name, about.st_size, about.st_mtime_ns))
    return tuple(found)


def _files(path: Path) -> Files:
    found = []
    for name in (EVENTS_FILE, TENSORS_FILE):
        with suppress(OSError):
            about = (path / name).stat()
            found.append((name, about.st_ino, about.st_size))
    return tuple(found)
