"""The events of a trace as lazy sequences: nothing is made before it is looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from optrace.errors import DamagedError, LookupFailed
from optrace.trace.format import KIND_CODES, KINDS, Flag
from optrace.trace.model import Event, Position

if TYPE_CHECKING:
    from optrace.trace.contents import Contents

_BATCH = 512
_NO_DETAIL: Mapping[str, Any] = {}


class Events(Sequence[Event]):
    """All events in order. Indexing and slicing make only what is asked for."""

    def __init__(self, trace: Contents) -> None:
        self._trace = trace

    def __len__(self) -> int:
        return self._trace.count

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> EventSlice: ...
    def __getitem__(self, index: int | slice) -> Event | EventSlice:
        if isinstance(index, slice):
            return EventSlice(self, range(len(self))[index])
        count = len(self)
        if not -count <= index < count:
            raise IndexError(f"there is no event number {index}; the last is {count - 1}")
        index = int(index) % count
        record = self._trace.records[index]
        detail = _NO_DETAIL
        if record["flags"] & Flag.DETAIL:
            detail = self._trace.details(index, index).get(index, _NO_DETAIL)
        return self._make(index, record.item(), detail)

    def __iter__(self) -> Iterator[Event]:
        return self.between(0, None)

    def between(self, first: int, last: int | None) -> Iterator[Event]:
        """Events `first` to before `last`, read in batches."""
        while True:
            stop = len(self) if last is None else min(last, len(self))
            if first >= stop:
                return
            stop = min(stop, first + _BATCH)
            batch = self._trace.records[first:stop]
            details = {}
            if np.any(batch["flags"] & Flag.DETAIL):
                details = self._trace.details(first, stop - 1)
            for offset, record in enumerate(batch.tolist()):
                yield self._make(first + offset, record, details.get(first + offset, _NO_DETAIL))
            first = stop

    def _make(self, seq: int, record: tuple[Any, ...], detail: Mapping[str, Any]) -> Event:
        kind, depth, flags, thread, iteration, index, time, duration, stack, *rest = record
        optimizer, groups, effect, offset, loss, live = rest
        trace = self._trace
        site, sites = trace.stack(stack)
        try:
            return Event(
                seq=seq,
                kind=KINDS[kind],
                position=Position(iteration, index),
                time=time * 1e-9,
                duration=duration,
                depth=depth,
                thread=trace.threads.get(thread, str(thread)),
                site=site,
                stack=sites,
                optimizer=trace.optimizer_by_id(optimizer) if optimizer >= 0 else None,
                loss=loss if flags & Flag.LOSS else None,
                flags=Flag(flags),
                effect=effect,
                groups=groups,
                offset=offset,
                live_graphs=live,
                detail=detail,
            )
        except (IndexError, ValueError) as error:
            raise DamagedError(f"{trace.path} is damaged: event {seq} cannot be read") from error


class EventSlice(Sequence[Event]):
    """Some of the events, as lazy as all of them."""

    def __init__(self, events: Events, numbers: range) -> None:
        self._events = events
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> EventSlice: ...
    def __getitem__(self, index: int | slice) -> Event | EventSlice:
        if isinstance(index, slice):
            return EventSlice(self._events, self._numbers[index])
        return self._events[self._numbers[index]]

    def __iter__(self) -> Iterator[Event]:
        if self._numbers.step == 1:
            return self._events.between(self._numbers.start, self._numbers.stop)
        return (self._events[number] for number in self._numbers)


@dataclass(frozen=True)
class Iteration:
    """One turn of the user's loop: its number and its events."""

    index: int
    events: EventSlice

    @property
    def recorded(self) -> bool:
        """Whether all of it is there. False in a gap, where `events` holds at most what came before the gap."""
        return bool(self.events) and not any(event.kind == "gap" for event in self.events)


class Iterations(Sequence[Iteration]):
    """All iterations by number, those in a gap too: they have no events. Going through them leaves these out."""

    def __init__(self, trace: Contents) -> None:
        self._trace = trace

    def __len__(self) -> int:
        if not self._trace.count:
            return 0
        if self._trace.column("kind")[-1] == KIND_CODES["gap"]:
            return self._trace.gaps[-1].last + 1
        return int(self._trace.column("iteration")[-1]) + 1

    @overload
    def __getitem__(self, index: int) -> Iteration: ...
    @overload
    def __getitem__(self, index: slice) -> list[Iteration]: ...
    def __getitem__(self, index: int | slice) -> Iteration | list[Iteration]:
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        count = len(self)
        if not -count <= index < count:
            raise IndexError(f"there is no iteration {index}; the last is {count - 1}")
        index %= count
        first, last = self.bounds(index)
        return Iteration(index, self._trace.events[first:last])

    def __iter__(self) -> Iterator[Iteration]:
        column = self._trace.column("iteration")
        first = 0
        while first < len(column):
            number = int(column[first])
            stop = int(np.searchsorted(column, column[first], "right"))
            if stop <= first:
                raise DamagedError(f"{self._trace.path} is damaged: its iterations are not in order")
            yield Iteration(number, self._trace.events[first:stop])
            first = stop

    def bounds(self, iteration: int) -> tuple[int, int]:
        """Numbers of the iteration's first event and of the one after its last."""
        count = len(self)
        if not 0 <= iteration < count:
            raise LookupFailed(f"there is no iteration {iteration}; there are {count}, counted from 0")
        column = self._trace.column("iteration")
        number = column.dtype.type(iteration)  # any other type would convert the whole column first
        return int(np.searchsorted(column, number, "left")), int(np.searchsorted(column, number, "right"))
