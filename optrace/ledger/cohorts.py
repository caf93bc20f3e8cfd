"""Parameters that always share one fate share one account, so cost does not grow with their number."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from optrace.errors import DamagedError
from optrace.ledger.entries import entry_of
from optrace.ledger.groups import Memberships

if TYPE_CHECKING:
    from optrace.trace.reader import Trace

Array = np.ndarray[Any, Any]
Script = tuple[tuple[int, ...], tuple[int, ...]]
"""The entries an effect makes: those from before the event's own work, and those of it."""
_MOST_EFFECTS = 1 << 26  # no recording has so many: events that change the same things share one


@dataclass(frozen=True, eq=False)
class Cohort:
    """Parameters to which every event of the trace does the same."""

    index: int
    parameters: tuple[int, ...]
    """Ids."""
    scripts: dict[int, Script]
    """What each effect does to their gradients."""
    memberships: frozenset[int]
    """The sets of param groups they are in (indices into `Memberships.sets`)."""
    effects: int
    """How many effects the trace has."""

    @cached_property
    def layout(self) -> tuple[Array, Array, Array, Array]:
        """By effect id (and -1): where its entries start, how many are from before the event's own work, how many
        of it; and all entries, one after the other."""
        start = np.zeros(self.effects + 1, np.int64)
        before = np.zeros(self.effects + 1, np.int64)
        after = np.zeros(self.effects + 1, np.int64)
        flat: list[int] = []
        for effect, (early, late) in self.scripts.items():
            start[effect], before[effect], after[effect] = len(flat), len(early), len(late)
            flat += early
            flat += late
        return start, before, after, np.array(flat or [0], np.int8)


class Cohorts:
    """All cohorts of a trace, as far as it is written."""

    def __init__(self, trace: Trace) -> None:
        self.memberships = Memberships(trace)
        scripts: dict[int, dict[int, Script]] = {p.id: {} for p in trace.parameters.values()}
        highest = -1
        moving = []
        for effect in trace.effect_ids(-1):
            highest = max(highest, effect)
            if any(change.kind != "grad" and not change.before for change in trace.effect_by_id(effect).changes):
                moving.append(effect)
            early: dict[int, list[int]] = {}
            late: dict[int, list[int]] = {}
            for change in trace.effect_by_id(effect).changes:
                entry = entry_of(change)
                if entry is not None:
                    (early if change.before else late).setdefault(change.parameter, []).append(entry)
            for parameter in {*early, *late}:
                script = (tuple(early.get(parameter, ())), tuple(late.get(parameter, ())))
                scripts.setdefault(parameter, {})[effect] = script
        numbers = trace.column("effect")
        if highest > _MOST_EFFECTS or (len(numbers) and not -1 <= int(numbers.min()) <= int(numbers.max()) <= highest):
            raise DamagedError(f"{trace.path} is damaged: it has events whose effects are missing")
        self.moving: Array = np.zeros(highest + 2, bool)
        """By effect id (and -1): whether it changes a parameter or some optimizer's state."""
        self.moving[moving] = True
        members: dict[int, list[int]] = {}
        for index, held in enumerate(self.memberships.sets):
            for parameter in held:
                members.setdefault(parameter, []).append(index)
        shared: dict[tuple[Any, ...], list[int]] = {}
        for parameter, script_of in scripts.items():
            shared.setdefault((tuple(script_of.items()), tuple(members.get(parameter, ()))), []).append(parameter)
        self.all: list[Cohort] = []
        self._of: dict[int, Cohort] = {}
        for (_, of_groups), parameters in shared.items():
            cohort = Cohort(len(self.all), tuple(parameters), scripts[parameters[0]], frozenset(of_groups), highest + 1)
            self.all.append(cohort)
            self._of.update(dict.fromkeys(parameters, cohort))

    def of(self, parameter: int) -> Cohort:
        """The cohort of a parameter, by id."""
        try:
            return self._of[parameter]
        except KeyError:
            raise DamagedError(f"the trace is damaged: parameter {parameter} is missing") from None
