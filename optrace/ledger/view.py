"""A trace's events in pieces, as columns: what one pass over a long trace works on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from optrace.trace.format import KIND_CODES, Flag
from optrace.trace.model import Event

if TYPE_CHECKING:
    from optrace.trace.reader import Trace

Array = np.ndarray[Any, Any]

CHUNK = 65_536
BACKWARD, STEP = KIND_CODES["backward"], KIND_CODES["step"]


class View:
    """Events `first` to before `stop`. Columns are arrays [stop - first], indexed by `seq - first`.

    Calls that enclose others are never cut in two: whatever encloses an event is in its view.
    """

    def __init__(self, trace: Trace, first: int, stop: int) -> None:
        self.trace = trace
        self.first = first
        self.stop = stop
        self.records: Array = trace.records[first:stop]
        self._columns: dict[str, Array] = {}

    def __len__(self) -> int:
        return self.stop - self.first

    def column(self, name: str) -> Array:
        """One field of the records (`optrace.trace.format.RECORD_FIELDS`), contiguous."""
        found = self._columns.get(name)
        if found is None:
            found = self._columns[name] = np.ascontiguousarray(self.records[name])
        return found

    @property
    def kind(self) -> Array:
        """Codes: `optrace.trace.format.KIND_CODES[...]`."""
        return self.column("kind")

    @property
    def effect(self) -> Array:
        return self.column("effect")

    @property
    def flags(self) -> Array:
        return self.column("flags")

    @property
    def depth(self) -> Array:
        return self.column("depth")

    def of_kind(self, kind: str) -> Array:
        """Places (seq - first) of the events of a kind, ascending."""
        return np.flatnonzero(self.kind == KIND_CODES[kind])

    def event(self, place: int) -> Event:
        """The event at a place of this view."""
        return self.trace.events[self.first + int(place)]

    @cached_property
    def details(self) -> Mapping[int, dict[str, Any]]:
        """The details of this view's events, by event number (`first + place`); read once for all rules."""
        if not len(self) or not np.any(self.flags & Flag.DETAIL):
            return {}
        return self.trace.details(self.first, self.stop - 1)

    @cached_property
    def nested(self) -> bool:
        """Whether any event lies inside another."""
        return bool(self.depth.any())

    @cached_property
    def parent(self) -> Array:
        """Place of the event that encloses each event, -1 for none."""
        parent = np.full(len(self), -1, np.int64)
        if not self.nested:
            return parent
        depth, thread = self.depth, self.column("thread")
        rooted = np.unique(thread[depth == 0])
        lines = [(thread == number, thread == number) for number in rooted]
        strays = ~np.isin(thread, rooted)  # autograd's own threads work inside another thread's call
        if strays.any():
            lines.append((strays, np.ones(len(self), bool)))
        for mine, among in lines:
            for level in range(1, int(depth[mine].max(initial=0)) + 1):
                inner = np.flatnonzero(mine & (depth == level))
                outer = np.flatnonzero(among & (depth < level))
                after = np.searchsorted(outer, inner)
                found = after < len(outer)
                parent[inner[found]] = outer[after[found]]
        return parent

    def enclosing(self, kind: int) -> Array:
        """Place of the nearest event of a kind that encloses each event, -1 for none."""
        above = self.parent.copy()
        if not self.nested:
            return above
        while True:
            wrong = np.flatnonzero(above >= 0)
            wrong = wrong[self.kind[above[wrong]] != kind]
            if not len(wrong):
                return above
            above[wrong] = self.parent[above[wrong]]


def views(trace: Trace, size: int = CHUNK, stop: int | None = None) -> Iterator[View]:
    """The whole trace (or up to before event `stop`) in views of about `size` events."""
    stop = len(trace.records) if stop is None else stop
    first = 0
    while first < stop:
        cut = min(first + size, stop)
        while cut < stop:
            outermost = np.flatnonzero(trace.records["depth"][first:cut] == 0)
            if len(outermost):
                cut = first + int(outermost[-1]) + 1
                break
            cut = min(cut + size, stop)
        yield View(trace, first, cut)
        trace.let_go(first, cut)
        first = cut
