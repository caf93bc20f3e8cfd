"""Who last wrote a value: from any position, without walking the events."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from optrace.trace.format import Storage
from optrace.trace.model import Change

if TYPE_CHECKING:
    from optrace.trace.contents import Contents

Array = np.ndarray[Any, Any]
Slot = tuple[int, str]  # parameter id, kind
_EMPTY = np.empty(0, np.int64)
FEW = 16
"""Effects up to which the events of each are looked for one by one."""


def _holds(change: Change) -> bool:
    """Whether a change says what the value is now (a note that it was touched does not)."""
    return change.storage is not Storage.SAME or not change.dtype


class Writes:
    """Events by effect, and effects by value. Brought up to date when the trace has grown."""

    def __init__(self, trace: Contents) -> None:
        self._trace = trace
        self._count = -1
        self._last_effect = -1
        self._occurrences: dict[int, Array] = {}
        self._effects: dict[Slot, list[int]] = {}
        self._kinds: dict[int, list[str]] = {}
        self._held: dict[int, dict[Slot, Change]] = {}
        self._cached_all = lru_cache(64)(self._find_all)

    def kinds(self, parameter: int) -> list[str]:
        self._update()
        order = {"param": 0, "grad": 1}
        return sorted(self._kinds.get(parameter, []), key=lambda kind: order.get(kind, 2))

    def all(self, parameter: int, kind: str) -> Array:
        """Numbers of all events that wrote the value."""
        self._update()
        return self._cached_all(parameter, kind)

    def last(self, parameter: int, kind: str, seq: int) -> tuple[int, Change] | None:
        """The event that last wrote the value at or before `seq`, and what it did."""
        self._update()
        effects = self._effects.get((parameter, kind))
        if effects is None:
            return None
        best, best_effect = -1, -1
        if len(effects) <= 64:
            for effect in effects:
                events = self._occurrences.get(effect, _EMPTY)
                place = int(np.searchsorted(events, seq, "right")) - 1
                if place >= 0 and events[place] > best:
                    best, best_effect = int(events[place]), effect
        else:
            events = self._cached_all(parameter, kind)
            place = int(np.searchsorted(events, seq, "right")) - 1
            if place >= 0:
                best = int(events[place])
                best_effect = int(self._trace.column("effect")[best])
        if best < 0:
            return None
        return best, self._final(best_effect, parameter, kind)

    def before(self, parameter: int, kind: str, seq: int) -> tuple[int, Change] | None:
        """The same, as the call of event `seq` found it."""
        for change in reversed(self._trace.effect(seq)):
            if change.before and change.parameter == parameter and change.kind == kind and _holds(change):
                return seq, change
        return self.last(parameter, kind, seq - 1) if seq > 0 else None

    def snapshot(self, seq: int) -> dict[Slot, tuple[int, Change]]:
        """The last write of every value at or before `seq`."""
        self._update()
        latest: list[tuple[int, int]] = []
        for effect, events in self._occurrences.items():
            place = int(np.searchsorted(events, seq, "right")) - 1
            if place >= 0:
                latest.append((int(events[place]), effect))
        found: dict[Slot, tuple[int, Change]] = {}
        for event, effect in sorted(latest):
            for change in self._trace.effect_by_id(effect).changes:
                if _holds(change):
                    found[change.parameter, change.kind] = (event, change)
        return found

    def _final(self, effect: int, parameter: int, kind: str) -> Change:
        held = self._held.get(effect)
        if held is None:  # one effect may change the values of thousands of parameters
            changes = self._trace.effect_by_id(effect).changes
            held = {(change.parameter, change.kind): change for change in changes if _holds(change)}
            self._held[effect] = held
        return held[parameter, kind]

    def _find_all(self, parameter: int, kind: str) -> Array:
        parts = [self._occurrences.get(effect, _EMPTY) for effect in self._effects.get((parameter, kind), [])]
        if not parts:
            return _EMPTY
        # Each part is sorted already: a merge sort takes a tenth of the time, on the first press of a key.
        return parts[0] if len(parts) == 1 else np.sort(np.concatenate(parts), kind="stable")

    def _update(self) -> None:
        trace = self._trace
        count = trace.count
        if count == self._count:
            return
        column = trace.column("effect")
        self._occurrences = _grouped(column)
        for number in trace.effect_ids(self._last_effect):
            self._last_effect = number
            for change in trace.effect_by_id(number).changes:
                if _holds(change):
                    listed = self._effects.setdefault((change.parameter, change.kind), [])
                    if not listed or listed[-1] != number:
                        listed.append(number)
                kinds = self._kinds.setdefault(change.parameter, [])
                if change.kind not in kinds:
                    kinds.append(change.kind)
        self._cached_all.cache_clear()
        self._count = count


def _grouped(column: Array) -> dict[int, Array]:
    """Of each number from 0 on in the column: its places, ascending."""
    highest = int(column.max(initial=-1))
    if highest < FEW:  # a comparison for each is quicker than sorting a million
        found = {number: np.flatnonzero(column == number) for number in range(highest + 1)}
        return {number: places for number, places in found.items() if len(places)}
    order = np.argsort(column, kind="stable")
    grouped = column[order]
    starts = np.flatnonzero(np.diff(grouped, prepend=np.int32(-2)))
    ends = np.append(starts, len(grouped))[1:]
    pairs = zip(starts, ends, strict=True)
    return {int(grouped[start]): order[start:end] for start, end in pairs if grouped[start] >= 0}
