"""Positions of a trace: `3:1`, an event, a pair or a number, as the number of an event."""

from __future__ import annotations

from typing import Any

import numpy as np

from optrace.errors import LookupFailed
from optrace.trace.contents import Contents
from optrace.trace.format import KIND_CODES
from optrace.trace.model import Event


class Positions(Contents):
    """Finds events by where they stand."""

    def event(self, at: Any) -> Event:
        """The event at a position. Raises `LookupFailed` naming the nearest that exist."""
        return self.events[self.seq(at)]

    def seq(self, at: Any) -> int:
        """A position as the number of its event; None is the last event."""
        count = len(self.events)
        if count == 0:
            raise LookupFailed(f"{self.path} has no events")
        if at is None:
            return count - 1
        if isinstance(at, Event):
            return at.seq
        if isinstance(at, (int, np.integer)):
            if not -count <= at < count:
                raise LookupFailed(f"there is no event number {at}; the last is {count - 1}")
            return int(at) % count
        iteration, index = _parse_position(at)
        first, stop = self.iterations.bounds(iteration)
        if first == stop:
            raise LookupFailed(self._missing(iteration, first))
        column = self.column("index")
        place = first + int(np.searchsorted(column[first:stop], column.dtype.type(min(max(index, 0), 0xFFFFFFFF))))
        if index < 0 or place == stop or int(column[place]) != index:
            if self.column("kind")[stop - 1] == KIND_CODES["gap"]:
                raise LookupFailed(
                    f"{iteration}:{index} was not recorded; the gap at {self.events[stop - 1].position} says why"
                )
            last = int(column[stop - 1])
            raise LookupFailed(f"there is no event {iteration}:{index}; its iteration ends at {iteration}:{last}")
        return place

    def _missing(self, iteration: int, following: int) -> str:
        """Why an iteration has no events."""
        before = following - 1
        if before >= 0 and self.column("kind")[before] == KIND_CODES["gap"]:
            return f"iteration {iteration} was not recorded; the gap at {self.events[before].position} says why"
        return f"iteration {iteration} was not recorded"


def _parse_position(at: Any) -> tuple[int, int]:
    try:
        if isinstance(at, str):
            iteration, _, index = at.strip().partition(":")
            return int(iteration), int(index or 0)
        iteration, index = at
        return int(iteration), int(index)
    except (TypeError, ValueError):
        raise LookupFailed(f"{at!r} is not a position; write it like 3:1 (iteration:event)") from None
