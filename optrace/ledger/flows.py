"""From events to entries: what each event of a view does to each cohort's account."""

from __future__ import annotations

from typing import Any

import numpy as np

from optrace.ledger.cohorts import Cohort, Cohorts
from optrace.ledger.entries import HAND, Entry
from optrace.ledger.flow import Carry, Flow
from optrace.ledger.view import BACKWARD, STEP, View
from optrace.trace.format import KIND_CODES, Flag

Array = np.ndarray[Any, Any]
_MUTATION = KIND_CODES["mutation"]


class Flows:
    """The accounts of all cohorts, view after view."""

    def __init__(self, cohorts: Cohorts) -> None:
        self.cohorts = cohorts
        self.carry = [Carry() for _ in cohorts.all]

    def advance(self, view: View) -> tuple[Flow, ...]:
        """The flows of the cohorts that this view's events touch."""
        steps = Steps(view, self.cohorts)
        effects = np.unique(view.effect).tolist()
        flows = []
        for cohort in self.cohorts.all:
            if any(effect in cohort.scripts for effect in effects) or not cohort.memberships.isdisjoint(steps.present):
                flow = entries(cohort, view, steps)
                flow.advance(self.carry[cohort.index])
                flows.append(flow)
        return tuple(flows)


class Steps:
    """The steps of a view, and what nested calls mean to them."""

    def __init__(self, view: View, cohorts: Cohorts) -> None:
        self.view = view
        self.is_step = view.kind == STEP
        versions = view.column("groups")
        self.membership = np.where(self.is_step, cohorts.memberships.of(versions), -1)
        self.present = frozenset(np.unique(self.membership).tolist()) - {-1}
        # Some optimizers' own step does nothing until they have accumulated enough.
        self.left_out = ((view.flags & (Flag.SKIPPED | Flag.FAILED)) != 0) | ~cohorts.moving[view.effect]
        # What happens after a step has raised, until the next call, cannot be told from its own work.
        self.by_hand = (view.kind == _MUTATION) | (self.is_step & (view.flags & Flag.FAILED != 0))
        self.owner = np.where(view.kind == BACKWARD, np.arange(len(view)), -1)
        self.outer_backward = self.within = np.full(0, -1, np.int64)
        self.used_up = np.zeros(0, bool)
        if view.nested:
            self._look_inside()

    def _look_inside(self) -> None:
        """Which nested events find gradients that their step has already used.

        A closure runs several times: what an evaluation left was used before the next one clears
        it. A step that clears after itself has used everything. But what a closure clears before
        its first backward, it never saw.
        """
        view = self.view
        self.outer_backward = view.enclosing(BACKWARD)
        self.within = view.enclosing(STEP)
        inner = np.flatnonzero(self.within >= 0)
        count = np.zeros(len(view) + 1, np.int64)
        backward = inner[view.kind[inner] == BACKWARD]
        first = np.full(len(view), len(view), np.int64)
        np.minimum.at(first, self.within[backward], backward)
        np.add.at(count, self.within[backward], 1)
        self.used_up = np.zeros(len(view), bool)
        step = self.within[inner]
        self.used_up[inner] = (count[step] == 0) | (first[step] < inner)


def entries(cohort: Cohort, view: View, steps: Steps) -> Flow:
    """What the events of a view do to a cohort's gradients, in order."""
    start, before, after, flat = cohort.layout
    effect = view.effect
    early, late = before[effect], after[effect]
    mine = np.isin(steps.membership, list(cohort.memberships)) if cohort.memberships else np.zeros(len(view), bool)
    if view.nested:
        inner = np.flatnonzero(mine & (steps.within >= 0))
        while len(inner):  # a step that lets another optimizer do its work
            inner = steps.within[inner]
            mine[inner] = False
            inner = inner[steps.within[inner] >= 0]
    total = early + late + mine
    extra = np.zeros(len(view), bool)
    if view.nested:
        extra = _used_before(cohort, view, steps, mine, early + late)
        total = total + extra
    place = np.repeat(np.arange(len(view)), total)
    nth = np.arange(len(place)) - np.repeat(np.cumsum(total) - total, total)
    nth -= extra[place]
    applies = (mine[place] & (nth == early[place])) | (nth < 0)
    beyond = mine[place] & (nth > early[place])
    code = flat[np.where(applies, 0, start[effect[place]] + nth - beyond)]
    code[(code == Entry.ALTER) & steps.by_hand[place]] = HAND
    step = np.where(nth < 0, steps.within[place], place) if view.nested else place
    code[applies] = np.where(steps.left_out[step[applies]], np.int8(Entry.SKIP), np.int8(Entry.APPLY))
    source = np.where(applies, step, place)
    if view.nested:
        outside = (code == Entry.DEPOSIT) & ((nth < early[place]) | (steps.owner[place] < 0))
        source = np.where(outside & (steps.outer_backward[place] >= 0), steps.outer_backward[place], source)
    optimizer = np.where(applies, view.column("optimizer")[step], -1)
    return Flow(cohort, view, place, code, source, optimizer)


def _used_before(cohort: Cohort, view: View, steps: Steps, mine: Array, count: Array) -> Array:
    """Nested events that clear what the step around them has used already."""
    start, _, _, flat = cohort.layout
    found = np.zeros(len(view), bool)
    candidates = np.flatnonzero(steps.used_up & (count > 0))
    candidates = candidates[mine[steps.within[candidates]]]
    first = flat[start[view.effect[candidates]]]
    found[candidates[(first == Entry.CLEAR) | (first == Entry.ZERO)]] = True
    return found
