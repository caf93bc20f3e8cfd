"""What a gradient is made of at a position: its contributions, and what has become of each."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from optrace.trace.format import Op
from optrace.trace.model import Parameter, Position, Site
from optrace.tui.core.owners import Owners
from optrace.tui.core.readings import Pending, Readings, Stats, norm

if TYPE_CHECKING:
    from optrace.ledger.account import Adjustment, Contribution
    from optrace.trace.reader import Trace

Array = np.ndarray[Any, Any]
AT_ONCE = 100_000
"""Events up to which the ledger is made when it is first needed."""
FEW = 300
"""Parameters up to which that is so."""
FRESH, FOUND, USED, STALE = "fresh", "found", "used", "stale"


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
    """`fresh`: no step has used it; `used`: by one step, and nothing came after; `stale`: used, and still in.

    `found`: it was there when recording began, or after a gap, and no step has used it since."""
    older: int = 0
    """How many contributions this stands for, where they are not listed one by one."""
    found: bool = False
    """It was there when recording began, or after a gap: what had become of it before is not known."""
    read: Callable[[], Array | None] = field(default=lambda: None, repr=False, compare=False)
    """Its elements as the ledger has them, float64: all of them, or a sample."""


@dataclass(frozen=True)
class Gradient:
    """A parameter's gradient at a position."""

    present: bool
    parts: tuple[Part, ...] = ()
    zeroed: bool = False
    """It is there, filled with zeros."""
    waiting: bool = False
    """The ledger of this long or wide trace is still being made."""
    unknown: bool = False
    """A gap is here: whether there is a gradient was not recorded."""
    just_cleared: tuple[Part, ...] = field(default=())
    """What the event at this position took out of it."""
    changes: tuple[Adjustment, ...] = field(default=())
    """What else has changed it since it was empty, clipping say: the parts alone do not add up to it then."""

    @property
    def stale(self) -> int:
        """How many contributions in it are stale."""
        return sum(part.older or 1 for part in self.parts if part.fate == STALE)

    @property
    def fresh(self) -> int:
        """How many contributions no step has used."""
        return sum(1 for part in self.parts if part.fate == FRESH)

    @property
    def found(self) -> bool:
        """Whether it holds something of which it is not known whether a step has used it."""
        return any(part.fate == FOUND for part in self.parts)

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
        self.ready = len(trace.events) < AT_ONCE and len(trace.parameters) < FEW
        """Whether the ledger is there. Where it is not, `prepare` makes it, in a thread of its own."""
        self._waiting = 0
        """How often a size was asked for that a worker has yet to compute."""
        self._lists: dict[int, tuple[int, Array, Array]] = {}

    def prepare(self) -> None:
        """Make the ledger. Takes a fraction of a second for a million events."""
        for parameter in self._trace.parameters.values():
            self._trace.ledger(parameter, 0)
            break
        self.ready = True

    def at(self, parameter: Parameter, seq: int, limit: int = 12) -> Gradient:
        """The gradient just after event `seq`, its newest `limit` contributions one by one."""
        key = (parameter.id, seq, limit)
        found = self._known.get(key)
        if found is None and not self.ready:
            return Gradient(True, waiting=True)
        if found is None:
            waiting = self._waiting
            found = self._find(parameter, seq, limit)
            if self._waiting == waiting:  # all of it is known: nothing was left to a worker
                self._known[key] = found
            if len(self._known) > 4096:
                self._known.popitem(last=False)
        return found

    def contribution(self, parameter: Parameter, part: Part) -> Array | None:
        """What it added, elementwise, float64; None where it cannot be told, or only of a sample."""
        added = part.read()
        return added if added is not None and added.shape == parameter.shape else None

    def _find(self, parameter: Parameter, seq: int, limit: int) -> Gradient:
        last = self._readings.last(parameter, "grad", seq)
        if last is None:
            return Gradient(False)
        number, change = last
        cleared: tuple[Part, ...] = ()
        if number == seq and change.op in (Op.CLEAR, Op.ZERO) and seq > 0:
            cleared = self.at(parameter, seq - 1, limit).parts or self._found_here(parameter, seq)
        if change.op in (Op.CLEAR, Op.GONE, Op.LOST):
            return Gradient(False, just_cleared=cleared, unknown=change.op is Op.LOST)
        if change.op is Op.ZERO:
            return Gradient(True, zeroed=True, just_cleared=cleared)
        changes = tuple(self._trace.ledger(parameter, seq).adjustments)
        return Gradient(True, self._list(parameter, seq, limit), changes=changes)

    def _list(self, parameter: Parameter, seq: int, limit: int) -> tuple[Part, ...]:
        """The contributions that the ledger says are inside, the newest `limit` of them one by one."""
        inside = self._trace.ledger(parameter, seq).inside
        count = len(inside)
        steps = self._owners.steps(parameter)
        parts = [
            self._part(parameter, inside[place], seq, steps, place == count - 1, self._reader(parameter, seq, place))
            for place in range(max(0, count - limit), count)
        ]
        if count > limit and parts:
            older = inside[count - limit - 1]
            stats = self._readings.stats(parameter, "grad", parts[0].seq - 1)
            fate = STALE if older.applied else FRESH
            size = stats.norm if isinstance(stats, Stats) else None
            parts.insert(
                0, Part(older.seq, older.position, older.site, size, older.applied, (), fate, older=count - limit)
            )
        return tuple(parts)

    def _found_here(self, parameter: Parameter, seq: int) -> tuple[Part, ...]:
        """What event `seq` found in the gradient after a gap, and removed."""
        past = self._trace.ledger(parameter, seq).past
        if not past or past[-1].removed != seq or past[-1].origin != "found":
            return ()
        entry, seen = past[-1], past[-1:]
        return (self._part(parameter, entry, seq, np.empty(0, np.int64), True, lambda: seen[0].value),)

    def _reader(self, parameter: Parameter, seq: int, place: int) -> Callable[[], Array | None]:
        """What reads a contribution. It is looked up again each time, so that no values stay in memory for it."""
        return lambda: self._trace.ledger(parameter, seq).inside[place].value

    def _part(
        self,
        parameter: Parameter,
        entry: Contribution,
        seq: int,
        steps: Array,
        newest: bool,
        read: Callable[[], Array | None],
    ) -> Part:
        applied, found = entry.applied, entry.origin == "found"
        fate = (FOUND if found else FRESH) if applied == 0 else USED if applied == 1 and newest else STALE
        first = np.searchsorted(steps, entry.seq, "left" if found else "right")  # a step may be what found it
        last = np.searchsorted(steps, seq, "right")
        uses = tuple(int(step) for step in steps[max(first, last - 3) : last]) if applied else ()
        part = Part(entry.seq, entry.position, entry.site, None, applied, uses, fate, found=found, read=read)
        return replace(part, norm=self._size(parameter, part))

    def _size(self, parameter: Parameter, part: Part) -> float | None:
        def work() -> float | None:
            added = self.contribution(parameter, part)
            return None if added is None else norm(added)

        size = 8 * parameter.numel
        result = self._readings.compute(("contribution", parameter.id, part.seq, part.found), size, work)
        self._waiting += isinstance(result, Pending)
        return result if isinstance(result, float) else None

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
            elif op in (Op.CLEAR, Op.ZERO, Op.GONE, Op.LOST):
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
