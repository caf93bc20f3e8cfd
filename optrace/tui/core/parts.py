"""What a gradient is made of at a position: its contributions, and what has become of each."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from optrace.errors import LookupFailed
from optrace.trace.format import Op
from optrace.trace.model import Parameter, Position, Site
from optrace.tui.core.owners import Owners
from optrace.tui.core.readings import Readings, norm, wide

if TYPE_CHECKING:
    from optrace.trace.reader import Trace

Array = np.ndarray[Any, Any]
FRESH, USED, STALE = "fresh", "used", "stale"


@dataclass(frozen=True)
class Part:
    """One contribution that is in a gradient now, or (`older`) all those before the ones listed."""

    seq: int
    position: Position
    site: Site | None
    norm: float | None
    applied: int
    """How many steps have used it."""
    steps: tuple[int, ...]
    """The last of those steps, as event numbers."""
    fate: str
    """`fresh`: no step has used it; `used`: by one step, and nothing came after; `stale`: used, and still in."""
    older: int = 0
    """How many contributions this stands for, where they are not listed one by one."""


@dataclass(frozen=True)
class Gradient:
    """A parameter's gradient at a position."""

    present: bool
    parts: tuple[Part, ...] = ()
    zeroed: bool = False
    """It is there, filled with zeros."""
    just_cleared: tuple[Part, ...] = field(default=())
    """What the event at this position took out of it."""

    @property
    def stale(self) -> int:
        """How many contributions in it are stale."""
        return sum(part.older or 1 for part in self.parts if part.fate == STALE)

    @property
    def fresh(self) -> int:
        """How many contributions no step has used."""
        return sum(1 for part in self.parts if part.fate == FRESH)

    @property
    def count(self) -> int:
        return sum(part.older or 1 for part in self.parts)

    @cached_property
    def stale_share(self) -> float:
        """The stale parts' share of all parts, by norm."""
        sizes = [part.norm or 0.0 for part in self.parts]
        sizes = [size if np.isfinite(size) else 0.0 for size in sizes]
        old = sum(size for size, part in zip(sizes, self.parts, strict=True) if part.fate == STALE)
        return old / whole if (whole := sum(sizes)) else 0.0


class Parts:
    """Gradients' contributions at any position."""

    def __init__(self, trace: Trace, readings: Readings, owners: Owners) -> None:
        self._trace = trace
        self._readings = readings
        self._owners = owners
        self._known: OrderedDict[tuple[int, int, int], Gradient] = OrderedDict()
        self._lists: dict[int, tuple[int, Array, Array]] = {}

    def at(self, parameter: Parameter, seq: int, limit: int = 12) -> Gradient:
        """The gradient just after event `seq`, its newest `limit` contributions one by one."""
        key = (parameter.id, seq, limit)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._find(parameter, seq, limit)
            if len(self._known) > 4096:
                self._known.popitem(last=False)
        return found

    def contribution(self, parameter: Parameter, seq: int) -> Array | None:
        """What the backward at event `seq` added, elementwise; None where it cannot be told."""
        try:
            after = self._trace.value(parameter, "grad", seq)
            before = self._readings.before(parameter, "grad", seq)
        except LookupFailed:
            return None
        if after is None:
            return None
        return wide(after) if before is None or before.shape != after.shape else wide(after) - wide(before)

    def _find(self, parameter: Parameter, seq: int, limit: int) -> Gradient:
        last = self._readings.last(parameter, "grad", seq)
        if last is None:
            return Gradient(False)
        number, change = last
        cleared: tuple[Part, ...] = ()
        if number == seq and change.op in (Op.CLEAR, Op.ZERO) and seq > 0:
            cleared = self.at(parameter, seq - 1, limit).parts
        if change.op in (Op.CLEAR, Op.GONE):
            return Gradient(False, just_cleared=cleared)
        if change.op is Op.ZERO:
            return Gradient(True, zeroed=True, just_cleared=cleared)
        return Gradient(True, self._walk(parameter, seq, limit))

    def _walk(self, parameter: Parameter, seq: int, limit: int) -> tuple[Part, ...]:
        trace = self._trace
        writes = trace.writes(parameter, "grad")
        place = int(np.searchsorted(writes, seq, "right")) - 1
        deposits: list[int] = []
        effects = trace.column("effect")
        while place >= 0:
            number = int(writes[place])
            change = trace.effect_by_id(int(effects[number])).final[parameter.id, "grad"]
            if change.op in (Op.CLEAR, Op.ZERO, Op.GONE):
                break
            if change.op in (Op.DEPOSIT, Op.INIT):
                if len(deposits) == limit:
                    break
                deposits.append(number)
            place -= 1
        older = place >= 0 and len(deposits) == limit and change.op in (Op.DEPOSIT, Op.INIT)
        steps = self._owners.steps(parameter)
        parts = []
        for number in reversed(deposits):
            parts.append(self._part(parameter, number, seq, steps, number == deposits[0]))
        if older and parts:
            count = self._count_older(parameter, writes[: place + 1])
            parts.insert(0, self._older(parameter, deposits[-1], int(writes[place]), seq, steps, count))
        return tuple(parts)

    def _part(self, parameter: Parameter, number: int, seq: int, steps: Array, newest: bool) -> Part:
        first, last = np.searchsorted(steps, (number, seq), "right")
        applied = int(last - first)
        fate = FRESH if applied == 0 else USED if applied == 1 and newest else STALE
        event = self._trace.events[number]
        return Part(
            number, event.position, event.site, self._size(parameter, number), applied,
            tuple(int(step) for step in steps[max(first, last - 3) : last]), fate,
        )  # fmt: skip

    def _older(self, parameter: Parameter, first: int, newest: int, seq: int, steps: Array, count: int) -> Part:
        event = self._trace.events[newest]
        start, stop = np.searchsorted(steps, (newest, seq), "right")
        stats = self._readings.stats(parameter, "grad", first - 1)
        size = getattr(stats, "norm", None)
        fate = STALE if stop > start else FRESH
        return Part(newest, event.position, event.site, size, int(stop - start), (), fate, older=count)

    def _size(self, parameter: Parameter, number: int) -> float | None:
        def work() -> float | None:
            added = self.contribution(parameter, number)
            return None if added is None else norm(added)

        size = 8 * parameter.numel
        result = self._readings.compute(("contribution", parameter.id, number), size, work)
        return result if isinstance(result, float) else None

    def _count_older(self, parameter: Parameter, writes: Array) -> int:
        """How many deposits end these writes since the last clearing."""
        deposits, clears = self._kinds_of_writes(parameter)
        last = int(writes[-1])
        start = int(np.searchsorted(clears, last, "right")) - 1
        begin = int(clears[start]) if start >= 0 else -1
        return int(np.searchsorted(deposits, last, "right") - np.searchsorted(deposits, begin, "right"))

    def counts(self, parameter: Parameter, numbers: Array) -> tuple[Array, Array]:
        """Contributions, and stale contributions, in the gradient after each of the events `numbers`."""
        deposits, clears = self._kinds_of_writes(parameter)
        steps = self._owners.steps(parameter)
        begin = _last(clears, numbers)
        step = np.maximum(_last(steps, numbers), begin)
        until = np.searchsorted(deposits, numbers, "right")
        before = np.searchsorted(deposits, begin, "right")
        applied = np.searchsorted(deposits, step, "right") - before
        newest = np.where(until > before, deposits[np.maximum(until - 1, 0)], begin) if len(deposits) else begin
        since = np.searchsorted(steps, numbers, "right") - np.searchsorted(steps, newest, "right")
        contributions = until - before
        used_once = (contributions > 0) & (applied == contributions) & (since == 1)
        return contributions, applied - used_once

    def _kinds_of_writes(self, parameter: Parameter) -> tuple[Array, Array]:
        """Event numbers of the parameter's deposits, and of its gradient's clearings."""
        writes = self._trace.writes(parameter, "grad")
        known = self._lists.get(parameter.id)
        if known is not None and known[0] == len(writes):
            return known[1], known[2]
        effects = self._trace.column("effect")[writes]
        deposit, clear = [], []
        for effect in np.unique(effects).tolist():
            op = self._trace.effect_by_id(effect).final[parameter.id, "grad"].op
            if op in (Op.DEPOSIT, Op.INIT):
                deposit.append(effect)
            elif op in (Op.CLEAR, Op.ZERO, Op.GONE):
                clear.append(effect)
        deposits, clears = writes[np.isin(effects, deposit)], writes[np.isin(effects, clear)]
        if len(self._lists) > 64:
            self._lists.clear()
        self._lists[parameter.id] = (len(writes), deposits, clears)
        return deposits, clears


def _last(sorted_numbers: Array, at: Array) -> Array:
    """The last of the numbers at or before each place; -1 where there is none."""
    if not len(sorted_numbers):
        return np.full(len(at), -1)
    place = np.searchsorted(sorted_numbers, at, "right") - 1
    return np.where(place >= 0, sorted_numbers[np.maximum(place, 0)], -1)
