"""Which optimizer holds which parameters, and when it stepped."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from optrace.trace.format import KIND_CODES, Flag
from optrace.trace.model import Optimizer, Parameter, ParamGroup
from optrace.tui.core.numerals import real

if TYPE_CHECKING:
    from optrace.trace.reader import Trace

Array = np.ndarray[Any, Any]
_EMPTY = np.empty(0, np.int64)


class Owners:
    """Looks at the first and the last param groups of each optimizer."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._count = -1
        self._steps: dict[int, Array] = {}
        self._held: dict[int, frozenset[int]] = {}
        self.of = lru_cache(8192)(self._of)

    def _update(self) -> None:
        count = len(self._trace.events)
        if count == self._count:
            return
        kinds, optimizers = self._trace.column("kind"), self._trace.column("optimizer")
        skipped = self._trace.column("flags") & (Flag.SKIPPED | Flag.FAILED)
        steps = np.flatnonzero((kinds == KIND_CODES["step"]) & (skipped == 0))
        who = optimizers[steps]
        self._steps = {optimizer.id: steps[who == optimizer.id] for optimizer in self._trace.optimizers}
        self._held = {}
        for optimizer in self._trace.optimizers:
            versions = self._trace.all_groups(optimizer)
            groups = [group for number in {*versions[:1], *versions[-1:]} for group in self._trace.groups_by_id(number)]
            self._held[optimizer.id] = frozenset(number for group in groups for number in group.parameters)
        self.of.cache_clear()
        self._count = count

    def held(self, optimizer: Optimizer) -> frozenset[int]:
        """Ids of the parameters an optimizer holds."""
        self._update()
        return self._held.get(optimizer.id, frozenset())

    def _of(self, parameter: int) -> tuple[int, ...]:
        return tuple(number for number, held in self._held.items() if parameter in held)

    def optimizers(self, parameter: Parameter) -> list[Optimizer]:
        """The optimizers that hold a parameter."""
        self._update()
        return [self._trace.optimizer_by_id(number) for number in self.of(parameter.id)]

    def steps_of(self, optimizer: Optimizer) -> Array:
        """Event numbers of an optimizer's steps that took place."""
        self._update()
        return self._steps.get(optimizer.id, _EMPTY)

    def steps(self, parameter: Parameter) -> Array:
        """Event numbers of the steps that used this parameter's gradient, of all its optimizers."""
        self._update()
        found = [self._steps[number] for number in self.of(parameter.id)]
        if len(found) < 2:
            return found[0] if found else _EMPTY
        return np.sort(np.concatenate(found))

    def group(self, parameter: Parameter, seq: int) -> tuple[Optimizer, int, ParamGroup] | None:
        """Optimizer, number and settings of a parameter's param group at its last step up to `seq`, or its first."""
        for optimizer in self.optimizers(parameter):
            steps = self.steps_of(optimizer)
            place = int(np.searchsorted(steps, seq, "right")) - 1
            groups: tuple[ParamGroup, ...] = ()
            if len(steps):
                groups = self._trace.groups(int(steps[max(place, 0)]))
            if not groups and (versions := self._trace.all_groups(optimizer)):
                groups = self._trace.groups_by_id(versions[0])
            for number, group in enumerate(groups):
                if parameter.id in group.parameters:
                    return optimizer, number, group
        return None

    def rate(self, seq: int) -> float | None:
        """The learning rate that the last step up to `seq` used, or the next one will."""
        best: tuple[int, Optimizer] | None = None
        for optimizer in self._trace.optimizers:
            steps = self.steps_of(optimizer)
            place = int(np.searchsorted(steps, seq, "right")) - 1
            if place >= 0 and (best is None or steps[place] > best[0]):
                best = (int(steps[place]), optimizer)
        if best is None:
            first = [int(steps[0]) for steps in self._steps.values() if len(steps)]
            if not first:
                return None
            groups = self._trace.groups(min(first))
        else:
            groups = self._trace.groups(best[0])
        rate = groups[0].hyper.get("lr") if groups else None
        return real(rate)
