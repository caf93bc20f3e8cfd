"""Threads: their numbers in the trace, and which of them trains which parameters."""

from __future__ import annotations

import threading
from collections.abc import Callable

from optrace.recording.entries import Tracked, TrackedOptimizer
from optrace.recording.parameters import Parameters
from optrace.recording.scopes import Scopes
from optrace.trace.writer import TraceWriter

_thread = threading.get_ident


class Threads:
    """Several threads may train in one process. `say` tells the user what cannot be told apart."""

    def __init__(self, writer: TraceWriter, scopes: Scopes, parameters: Parameters, say: Callable[[str], None]) -> None:
        self._writer = writer
        self._scopes = scopes
        self._parameters = parameters
        self._say = say
        self.numbers: dict[int, int] = {}
        self.stepping = 0
        """The thread that stepped last."""
        self._stepped_in: set[int] = set()

    def number(self) -> int:
        """This thread's number, given out now."""
        number = self.numbers[_thread()] = len(self.numbers)
        name = threading.current_thread().name.encode("utf-8", "replace").decode("utf-8")
        self._writer.row("INSERT INTO thread VALUES (?, ?)", number, name)
        return number

    def tracked(self) -> list[Tracked]:
        """The parameters this thread answers for: all, but for those another thread is training."""
        by_thread = self._scopes.by_thread
        tracked = self._parameters.tracked
        if len(by_thread) <= 1:
            return tracked
        mine = _thread()
        busy = {thread for thread, stack in by_thread.items() if stack and thread != mine}
        if not busy or self._scopes.here() is not by_thread.get(mine):
            return tracked
        if any(by_thread[thread] is by_thread[mine] for thread in busy):
            return tracked
        return [t for t in tracked if t.thread not in busy]

    def trained_here(self, entry: TrackedOptimizer) -> None:
        """This thread trains the optimizer's parameters: another must not look at them while it does."""
        mine = _thread()
        if entry.thread != mine or len(self._scopes.by_thread) > 1:
            entry.thread = mine
            for tracked in entry.plan:
                tracked.thread = mine

    def changed(self) -> None:
        """Another thread steps than the last time: two that train at once take turns in this."""
        mine = self.stepping = _thread()
        if mine in self._stepped_in:
            self._say("several threads train at once: their turns are counted together, as one loop's")
        self._stepped_in.add(mine)
