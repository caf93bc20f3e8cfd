"""Replicas that came to differ: from which step on, and whether their gradients did first.

What is asked first is whether the weights agree at the end. Whoever averages weights now and then (local
SGD), steps on one rank and broadcasts, or shares the work of a step among the ranks, has weights that come
together again, and is right. Weights that never do have parted for good, and bisection finds where.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from optrace.checks.replicas.compare import Difference, Spot, difference, elements
from optrace.checks.replicas.moments import Moments, moments
from optrace.trace.format import KIND_CODES, Flag

if TYPE_CHECKING:
    from optrace.checks.run import Run
    from optrace.trace.model import Parameter
    from optrace.trace.reader import Trace

ROUNDING = 1e-5
"""Weights this close, as a share of their norm, may have parted by other rounding on other machines."""
_LOOKED_AT = 4000
"""Points in time, from the beginning and from the end, at which weights are looked at for having come together."""


@dataclass(frozen=True)
class Parted:
    """One parameter that two ranks came to disagree about."""

    pair: Pair
    parameter: Parameter
    """On the first rank."""
    theirs: Parameter
    """The same on the other."""
    moment: int
    """The one at whose step they begin to differ for good."""
    stepped: bool
    """That step made them differ; otherwise it found them so."""
    gradients: Difference | None
    """How the gradients differ that were applied there; None where they are equal."""
    weights: Difference
    """How the weights differ then."""
    certain: bool
    """Somebody was to keep them equal; otherwise they only were equal at first."""


class Pair:
    """Two ranks to be compared."""

    def __init__(self, one: Trace, other: Trace) -> None:
        self.one = one
        self.other = other
        self.both = (one, other)
        self.moments: Moments = moments(self.both)
        self.count = len(self.moments.together)

    def parted(self, mine: Parameter, theirs: Parameter, certain: bool) -> Parted | None:
        """Where the two ranks' weights part and never agree again; None where they do not."""
        last = self._weights(mine, theirs, 2 * self.count - 1)
        if last is None or last.share <= ROUNDING or self._equal_at_the_end(mine, theirs):
            return None
        point = self._first(mine, theirs)
        moment, stepped = divmod(point, 2)
        gradients = self._gradients(mine, theirs, moment) if stepped else None
        weights = self._weights(mine, theirs, point) or last
        return Parted(self, mine, theirs, moment, bool(stepped), gradients, weights, certain)

    def came_together(self, found: Sequence[Parted]) -> bool:
        """Whether weights that parted ever agreed again in between: then somebody sees to it now and then."""
        least = min(found, key=lambda parted: parted.parameter.numel)
        points = range(2 * self.count)
        looked_at = [*points[:_LOOKED_AT], *points[max(_LOOKED_AT, len(points) - _LOOKED_AT) :]]
        differed = False
        for point in looked_at:
            differs = self._weights(least.parameter, least.theirs, point) is not None
            if differed and not differs:
                return True
            differed = differs
        return False

    def equal_at_first(self, mine: Parameter, theirs: Parameter) -> bool:
        """Whether both began with the same weights, and these say something: not all one number."""
        if self._weights(mine, theirs, 0) is not None:
            return False
        found = elements(Spot(self.one, mine, "param", int(self.moments.together[0, 0]), True))
        values = None if found is None else found[0]
        return values is not None and values.size > 1 and bool(np.any(values != values[0]))

    # Points in time: 2 m is just before the step of moment m, 2 m + 1 just after it.

    def _first(self, mine: Parameter, theirs: Parameter) -> int:
        """The first point of the stretch up to the end in which the weights differ."""
        if self._hint >= 0 and self._parts_at(mine, theirs, self._hint):
            return self._hint
        equal, differ = -1, 2 * self.count - 1
        while differ - equal > 1:
            middle = (equal + differ) // 2
            if self._weights(mine, theirs, middle) is None:
                equal = middle
            else:
                differ = middle
        self._hint = differ
        return differ

    _hint = -1
    """Where another parameter parted: mostly all do at once."""

    def _parts_at(self, mine: Parameter, theirs: Parameter, point: int) -> bool:
        before = self._weights(mine, theirs, point - 1) if point else None
        return before is None and self._weights(mine, theirs, point) is not None

    def _equal_at_the_end(self, mine: Parameter, theirs: Parameter) -> bool:
        """Whether what came after the last step made them equal."""
        one, other = (len(trace.events) - 1 for trace in self.both)
        return difference(Spot(self.one, mine, "param", one), Spot(self.other, theirs, "param", other)) is None

    def _weights(self, mine: Parameter, theirs: Parameter, point: int) -> Difference | None:
        moment, stepped = divmod(point, 2)
        one, other = (int(number) for number in self.moments.together[moment])
        before = not stepped
        return difference(Spot(self.one, mine, "param", one, before), Spot(self.other, theirs, "param", other, before))

    def _gradients(self, mine: Parameter, theirs: Parameter, moment: int) -> Difference | None:
        one, other = (int(number) for number in self.moments.together[moment])
        return difference(Spot(self.one, mine, "grad", one), Spot(self.other, theirs, "grad", other))


class Replicas:
    """The ranks of one run, compared."""

    def __init__(self, trace: Trace) -> None:
        grouped = [t for t in trace.processes.values() if _grouped(t)]
        ranks = {int(t.meta["process_group"]["rank"]): t for t in grouped}
        self.ranks = dict(sorted(ranks.items())) if 1 < len(ranks) == len(grouped) else {}

    @cached_property
    def parted(self) -> list[Parted]:
        """What parted first: parameters whose gradients differed, or if none did, weights that differ all the same."""
        by_pair: dict[Pair, list[Parted]] = {}
        for parted in self._parted():
            by_pair.setdefault(parted.pair, []).append(parted)
        kept = [each for pair, mine in by_pair.items() if not pair.came_together(mine) for each in mine]
        found = sorted(kept, key=lambda parted: (not parted.certain, parted.moment))
        if not found:
            return []
        first = min(found, key=lambda parted: (not parted.certain, parted.moment, parted.gradients is None))
        return [p for p in found if p.certain == first.certain and (p.gradients is None) == (first.gradients is None)]

    def _parted(self) -> Iterator[Parted]:
        pairs: dict[tuple[int, int], Pair] = {}
        spread = any(_sharded(trace) for trace in self.ranks.values())
        for rank, trace in self.ranks.items():
            synced = _synced(trace)
            for name, held in _held(trace).items():
                among = synced.get(held.id)
                base = min(self.ranks.keys() & set(among if among is not None else self.ranks), default=rank)
                if base == rank:
                    continue
                first = self.ranks[base]
                mine = _held(first).get(name)
                if mine is None or mine.shape != held.shape or mine.dtype != held.dtype:
                    continue
                pair = pairs.get((base, rank))
                if pair is None:
                    pair = pairs[base, rank] = Pair(first, trace)
                if not pair.count:
                    continue
                certain = among is not None and mine.id in _synced(first)
                if certain or (not spread and self._alike(pair) and pair.equal_at_first(mine, held)):
                    found = pair.parted(mine, held, certain)
                    if found is not None:
                        yield found

    def _alike(self, pair: Pair) -> bool:
        """Whether two ranks train in the same way: each by a loss of its own, with the same settings.

        The stages of a pipeline have no loss but at the end; a search over settings has others on every rank.
        """
        if not all(_has_losses(trace) for trace in pair.both):
            return False
        one, other = (_settings(trace) for trace in pair.both)
        return one == other


def replicas(run: Run) -> Replicas:
    """The comparison of a run's ranks, made when first asked for and shared by the rules."""
    known = _of_run.get(run)
    if known is None:
        known = _of_run[run] = Replicas(run.trace)
    return known


_of_run: WeakKeyDictionary[Run, Replicas] = WeakKeyDictionary()


def _grouped(trace: Trace) -> bool:
    group = trace.meta.get("process_group")
    return isinstance(group, dict) and isinstance(group.get("rank"), int)


def _sharded(trace: Trace) -> bool:
    return any(p.placement is not None and p.placement.kind == "shard" for p in trace.parameters.values())


def _held(trace: Trace) -> dict[str, Parameter]:
    """The parameters that optimizers step, whole ones only, by name."""
    found: dict[str, Parameter] = {}
    for optimizer in trace.optimizers:
        for group in _last_groups(trace, optimizer):
            for number in group.parameters:
                parameter = trace.parameters.by_id(number)
                if parameter.placement is None or parameter.placement.kind == "replica":
                    found[parameter.name] = parameter
    return found


def _synced(trace: Trace) -> dict[int, tuple[int, ...]]:
    """Parameters that are to be equal on several ranks, and which ranks: those that DDP averages the gradients of,
    and those that one optimizer steps along with them."""
    found: dict[int, tuple[int, ...]] = {}
    for parameter in trace.parameters.values():
        if parameter.placement is not None and parameter.placement.kind == "replica":
            found[parameter.id] = parameter.placement.ranks
    for optimizer in trace.optimizers:
        numbers = [number for group in _last_groups(trace, optimizer) for number in group.parameters]
        ranks = next((found[number] for number in numbers if number in found), None)
        if ranks is not None:
            for number in numbers:
                if trace.parameters.by_id(number).placement is None:
                    found.setdefault(number, ranks)
    return found


def _last_groups(trace: Trace, optimizer: Any) -> tuple[Any, ...]:
    versions = trace.all_groups(optimizer)
    return trace.groups_by_id(versions[-1]) if versions else ()


def _has_losses(trace: Trace) -> bool:
    """Whether every backward began at a loss, a single number."""
    backward = trace.column("kind") == KIND_CODES["backward"]
    has = (trace.column("flags") & int(Flag.LOSS)) != 0
    return bool(np.any(backward)) and bool(np.all(has[backward]))


def _settings(trace: Trace) -> list[Any]:
    """The hyperparameters of every optimizer as they were first seen."""
    first = [trace.all_groups(optimizer)[:1] for optimizer in trace.optimizers]
    return [[dict(group.hyper) for group in trace.groups_by_id(versions[0])] for versions in first if versions]
