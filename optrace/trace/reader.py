"""Reading a trace: `optrace.load`. Imports NumPy, never torch or Textual."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from optrace.errors import OutdatedError, TraceError
from optrace.trace.format import INDEX_FILE, Flag
from optrace.trace.model import Event, Parameter
from optrace.trace.processes import MAIN, is_name, members
from optrace.trace.values import Sample, Values

if TYPE_CHECKING:
    from optrace.checks.finding import Finding
    from optrace.ledger.account import Account
    from optrace.ledger.book import Ledger


def load(path: str | os.PathLike[str]) -> Trace:
    """Open a trace. Works while it is still being written. Raises `TraceError`.

    Of a folder that several processes recorded into it is the first one's trace; its `processes` are all of them.
    """
    folder = Path(path)
    places = members(folder)
    if not places:
        return Trace(folder)
    found: dict[str, Trace] = {}
    unreadable: dict[str, str] = {}
    for name, place in {MAIN: folder, **places}.items():
        try:
            found[name] = Trace(place)
        except TraceError as error:
            unreadable[name] = str(error)
    if len(found) > 1 and MAIN in found and not found[MAIN].events:
        found.pop(MAIN).close()  # it started the others and trained nothing
    if not (folder / INDEX_FILE).exists():
        unreadable.pop(MAIN, None)
    if not found:
        raise TraceError(next(iter(unreadable.values())))
    first = next(iter(found.values()))
    first.processes, first.unreadable = found, unreadable
    return first


class Trace(Values):
    """A recorded run.

    `parameters` maps names to parameters, `optimizers` lists the optimizers, `events` is a lazy
    sequence of events, `iterations` groups them. `value` is any parameter, gradient or state entry
    at any position. A position is written `"3:1"` (iteration 3, its event 1), or is an event, a
    pair, or the number of an event counted from 0.

    `processes` are the traces of all processes that ran together, this one's among them, by name:
    `rank-0`, `rank-1`, … Of a run of one process it holds this trace alone.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(Path(path))
        self.process = self.path.name if is_name(self.path.name) else MAIN
        self.processes: Mapping[str, Trace] = {self.process: self}
        self.unreadable: Mapping[str, str] = {}
        """Processes whose traces cannot be read, and why."""

    def __enter__(self) -> Trace:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Trace {self.path}: {len(self.events)} events, {len(self.parameters)} parameters>"

    def close(self) -> None:
        """Let go of the files."""
        self._index.close()
        self._close_files()
        for trace in self.processes.values():
            if trace is not self:
                trace.close()

    def ledger(self, parameter: str | Parameter, at: Any = None, element: tuple[int, ...] | None = None) -> Account:
        """What a parameter's gradient is made of just after the event at a position, and what became of
        every contribution before: an `optrace.ledger.account.Account`, which prints as one line.

        `element` makes that line about one element. Raises `LookupFailed`.
        """
        return self._ledger.account(self.parameter(parameter), self.seq(at), element)

    @cached_property
    def _ledger(self) -> Ledger:
        from optrace.ledger.book import Ledger

        return Ledger(self)

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong with the loop, worst first: `optrace.check` of this trace."""
        from optrace.checks.check import check

        return tuple(check(self))

    def follow(self, poll: float = 0.05) -> Iterator[Event]:
        """Every event, from the first; then new ones as they come, until the recording ends or its process is gone.

        Where a recording of the last iterations has let go of events before they could be read, the gap comes in
        their place.
        """
        done = 0  # in the whole run
        while True:
            ended = self.running() is False
            self.refresh()
            with suppress(OutdatedError):
                while done < self.base + len(self.events):
                    done = max(done, self.base)
                    event = self.events[done - self.base]
                    done += 1
                    yield event
                if ended:
                    return
                time.sleep(poll)

    def running(self) -> bool | None:
        """Whether it is still being recorded; None where only the machine it runs on could tell."""
        ended, alive = self._now()
        return False if ended else alive

    def killed(self) -> bool:
        """Whether its process is gone and has not ended the recording. False where that cannot be told from here."""
        ended, alive = self._now()
        return not ended and alive is False

    def _now(self) -> tuple[bool, bool | None]:
        """Whether the recording has ended by now, and whether its process is there."""
        with self._index.snapshot():
            meta = self._read_meta()  # `self.meta` stays what belongs to the events that were taken in
        if meta.get("host") != socket.gethostname():
            return "ended" in meta, None
        return "ended" in meta, _alive(meta.get("pid"))

    def size(self) -> int:
        """Bytes on disk."""
        return sum(file.stat().st_size for file in self.path.iterdir() if file.is_file())


def _alive(pid: Any) -> bool:
    """Whether there is a process of this number; what a damaged trace gives for one is no number of any."""
    if not isinstance(pid, int) or pid <= 0:  # these would stand for several processes
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:  # it is somebody else's
        return True
    except (OSError, OverflowError):
        return False
    return True


__all__ = ["Flag", "Sample", "Trace", "load"]
