"""`optrace run`: running somebody's unchanged program under the recorder, as python would run it.

Whatever ends the program (an exception, `sys.exit`, Ctrl-C) goes on to the interpreter itself,
which shows it, joins the threads, runs the exit handlers and sets the exit code. Recording ends
as the last exit handler of all, because it is registered first.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from optrace.recording import tracebacks
from optrace.recording.importing import AfterImport
from optrace.recording.program import Program
from optrace.recording.session import record


@dataclass(frozen=True)
class Outcome:
    """What came of a recording."""

    path: Path
    """As it was asked for."""
    place: Path
    """The same, absolute: the script may have changed its folder. Of processes that run together it is their folder."""
    folder: Path
    """Where the script was started."""
    started: bool
    """Whether torch was ever imported, and a trace begun, here or in a process that this one started."""
    failure: str | None
    events: int
    last: bool
    """Whether all that were started together have ended: somebody has to be the one who speaks."""


class Launch:
    """One program to be run and recorded into `path`; `ended` is told what came of it, at the very end.

    `options` are those of `record`.
    """

    def __init__(
        self, program: Program, path: Path, *, overwrite: bool, ended: Callable[[Outcome], None], **options: Any
    ) -> None:
        self._program = program
        self._path = path
        self._folder = Path.cwd()
        self._ended = ended
        self._pid = os.getpid()
        self._base: FrameType | None = None
        self._started = self._interrupted = False
        self._recording = record(
            self._folder / path,
            **options,
            overwrite=overwrite,
            meta={"argv": program.command, "cwd": str(self._folder), "launched": time.time()},
        )

    def run(self) -> None:
        """Run the program. Raises whatever it raises; returns when it came to its end."""
        self._program.prepare()
        self._recording.expect(self._program.sources)
        atexit.register(self._finish)
        self._base = sys._getframe()
        tracebacks.install(self._base.f_code)
        try:
            AfterImport("torch", self._start).install()
            self._program.execute()
        except BaseException as error:
            self._interrupted = type(error) is KeyboardInterrupt
            if not (isinstance(error, SystemExit) and error.code in (None, 0)):
                self._recording.raised = type(error).__name__
            tracebacks.show_without_ours(error)
            raise

    def _start(self) -> None:
        """torch is there: record from here on. Never disturbs the import."""
        if os.getpid() != self._pid or self._base is None:
            return  # a forked child
        self._started = True
        self._recording.start_below(tracebacks.innermost_of_launch(self._base))
        # Ended by `_finish` alone, after every exit handler of the program.
        atexit.unregister(self._recording.stop)

    def _finish(self) -> None:
        if os.getpid() != self._pid:
            return
        recording = self._recording
        recording.stop()
        self._ended(
            Outcome(
                path=self._path.with_name(recording.shared.name),
                place=recording.shared,
                folder=self._folder,
                started=self._started or recording.joined,
                failure=recording.failure,
                events=recording.events,
                last=recording.last,
            )
        )
        if self._interrupted:
            _die_by_interrupt()


def _die_by_interrupt() -> None:
    """Let the interpreter end as one that Ctrl-C ended, which a shell sees as 130.

    It notes a KeyboardInterrupt that left the main program, and forgets it whenever a string is
    executed: namedtuple and dataclass do that in the modules that `ended` imports. So note it again.
    """
    with contextlib.suppress(KeyboardInterrupt):
        exec("raise KeyboardInterrupt")
