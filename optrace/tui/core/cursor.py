"""Where one is in a trace, and how one gets elsewhere. Positions are event numbers, `seq`, from 0."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from optrace.errors import LookupFailed

if TYPE_CHECKING:
    from optrace.trace.reader import Trace

_REMEMBERED = 200


class Cursor:
    """A position with the places it came from.

    Steps (`move`, `turn`) do not count as going somewhere else; jumps (`jump`) do, and `back` undoes them.
    """

    def __init__(self, trace: Trace, seq: int = 0) -> None:
        self._trace = trace
        self._been: list[int] = []
        self._wanted: int | None = None
        self.seq = 0
        self.jump(seq, remember=False)

    @property
    def last(self) -> int:
        """The number of the last event."""
        return len(self._trace.events) - 1

    def grown(self, trace: Trace, gone: int = 0) -> None:
        """Stay where one is, in a longer trace whose first `gone` events were let go."""
        self._trace = trace
        if gone:
            self.seq, self._wanted = self.clamp(self.seq - gone), None
            self._been = [seq - gone for seq in self._been if seq > gone]

    def clamp(self, seq: int) -> int:
        return max(0, min(seq, self.last))

    def move(self, by: int) -> bool:
        """So many events on or back; False at the end of the trace."""
        target = self.clamp(self.seq + by)
        moved = target != self.seq
        self.seq, self._wanted = target, None
        return moved

    def turn(self, by: int) -> bool:
        """So many iterations on or back, to the same place in them where they are long enough."""
        column = self._trace.column("iteration")
        iteration = int(column[self.seq])
        first = int(np.searchsorted(column, column[self.seq]))
        if self._wanted is None:
            self._wanted = self.seq - first
        target = max(0, min(iteration + by, int(column[-1])))
        if target == iteration:
            return False
        # Of iterations that were not recorded nothing is there: on to the next that is.
        near = np.searchsorted(column, column.dtype.type(target), "left" if by > 0 else "right") - (by < 0)
        target = int(column[max(int(near), 0)])
        start, stop = np.searchsorted(column, np.array((target, target + 1), column.dtype))
        self.seq = min(int(start) + self._wanted, int(stop) - 1)
        return True

    def jump(self, seq: int, *, remember: bool = True) -> bool:
        """To an event, remembering where from."""
        seq = self.clamp(seq)
        self._wanted = None
        if seq == self.seq:
            return False
        if remember:
            self.leave()
        self.seq = seq
        return True

    def leave(self) -> None:
        """Remember this place, as when a series of steps (a drag on the timeline) begins."""
        if not self._been or self._been[-1] != self.seq:
            self._been.append(self.seq)
            del self._been[:-_REMEMBERED]

    def back(self) -> bool:
        """To where the last jump came from; the place left takes its turn, so twice is where one was."""
        while self._been and self._been[-1] == self.seq:
            self._been.pop()
        if not self._been:
            return False
        here, self.seq = self.seq, self._been.pop()
        self._been.insert(0, here)
        self._wanted = None
        return True

    def parse(self, text: str) -> int:
        """The event that somebody wrote: `12:2`, an iteration, `50%`, `#300` or `end`. Raises `LookupFailed`."""
        text = text.strip().lower()
        if text in ("end", "$"):
            return self.last
        if text in ("start", "begin", "home", "^"):
            return 0
        if match := re.fullmatch(r"(\d+(?:\.\d*)?)\s*%", text):
            share = float(match[1])
            if share > 100:
                raise LookupFailed(f"{text} is past the end; 100% is the last event")
            return round(share / 100 * self.last)
        if match := re.fullmatch(r"#\s*(\d+)", text):
            number = int(match[1])
            if number > self.last:
                raise LookupFailed(f"there is no event #{number}; the last is #{self.last}")
            return number
        if re.fullmatch(r"\d+(:\d+)?", text):
            return self._trace.seq(text)
        raise LookupFailed(
            f"{text!r} is no place; write 12:2 (iteration:event), 12 (iteration), 50% or #300 (event number)"
        )
