"""The running account of one cohort: every entry with what was inside the gradient just before it.

Computed for a whole view at once; what is carried from one view to the next is a handful of
numbers per cohort, however many contributions are inside.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from optrace.ledger.cohorts import Cohort, Cohorts
from optrace.ledger.entries import HAND, Entry
from optrace.ledger.view import BACKWARD, STEP, View
from optrace.trace.format import KIND_CODES, Flag

Array = np.ndarray[Any, Any]
_MUTATION = KIND_CODES["mutation"]
_DEPOSITS: Array = np.isin(np.arange(HAND + 1), [Entry.DEPOSIT, Entry.FOUND, Entry.SET])
_ENDINGS: Array = np.isin(np.arange(HAND + 1), [Entry.CLEAR, Entry.ZERO, Entry.SET])


@dataclass
class Carry:
    """Where a cohort's account stands between two views. Contributions are counted from 1."""

    deposits: int = 0
    """Contributions so far."""
    emptied: int = 0
    """Contributions so far when the gradient was last cleared."""
    applied: dict[int, int] = field(default_factory=dict)
    """Contributions so far when each optimizer last applied."""
    skipped: int = 0
    """Contributions so far at the last skipped step."""
    windows: int = 0
    """How often the gradient was cleared."""
    last_clear: int = -1
    last_apply: int = -1
    last_deposit: int = -1

    @property
    def inside(self) -> int:
        """Contributions in the gradient now."""
        return self.deposits - self.emptied

    @property
    def fresh(self) -> int:
        """Of these, those that nobody has applied."""
        return self.deposits - max(self.emptied, *self.applied.values(), 0)

    @property
    def waiting(self) -> int:
        """Of these, those that no step has even been left out over."""
        return min(self.fresh, self.deposits - self.skipped)


class Flow:
    """The entries of one cohort in one view, in order; arrays are [entries].

    Counts are of what the entry found: for an APPLY, what it applied; for a CLEAR, what it removed.
    """

    def __init__(self, cohort: Cohort, view: View, place: Array, code: Array, source: Array, optimizer: Array) -> None:
        self.cohort = cohort
        self.view = view
        self.place = place
        """Place in the view (`seq - view.first`) of the event that makes the entry."""
        self.code = code
        """`Entry` codes, int8."""
        self.source = source
        """Place of the backward of a DEPOSIT, of the step of an APPLY or SKIP; else `place`."""
        self.optimizer = optimizer
        """Id of the optimizer of an APPLY or SKIP, else -1."""
        self.start = Carry()
        self.again = np.zeros(len(code), np.int64)
        """For an APPLY: contributions inside that the same optimizer had applied before."""
        self.others = np.zeros(len(code), np.int64)
        """For an APPLY: contributions inside that another optimizer had applied before."""

    @property
    def seq(self) -> Array:
        """Number of the event that makes each entry."""
        return self.place + self.view.first

    def is_(self, *entries: Entry) -> Array:
        """Which entries are of the given kinds, bool."""
        found: Array = self.code == entries[0]
        for entry in entries[1:]:
            found |= self.code == entry
        return found

    @cached_property
    def deposit(self) -> Array:
        """Which entries bring a contribution, bool."""
        found: Array = _DEPOSITS[self.code]
        return found

    @cached_property
    def ending(self) -> Array:
        """Which entries empty the gradient, bool."""
        found: Array = _ENDINGS[self.code]
        return found

    @cached_property
    def before(self) -> Array:
        """Contributions of the cohort so far, before each entry."""
        found: Array = np.cumsum(self.deposit) - self.deposit + self.start.deposits
        return found

    @cached_property
    def emptied(self) -> Array:
        """What `before` was when the gradient was last cleared."""
        return last(self.ending, self.before, self.start.emptied)

    @cached_property
    def inside(self) -> Array:
        """Contributions in the gradient, fresh or not."""
        found: Array = self.before - self.emptied
        return found

    @cached_property
    def fresh(self) -> Array:
        """Of these, those that no step has applied yet."""
        applied = last(self.code == Entry.APPLY, self.before, max(self.start.applied.values(), default=0))
        found: Array = self.before - np.maximum(self.emptied, applied)
        return found

    @cached_property
    def waiting(self) -> Array:
        """Of the fresh ones, those that arrived after the last skipped step."""
        skipped = last(self.code == Entry.SKIP, self.before, self.start.skipped)
        found: Array = np.minimum(self.fresh, self.before - skipped)
        return found

    @cached_property
    def window(self) -> Array:
        """How often the gradient was cleared before each entry."""
        found: Array = np.cumsum(self.ending) - self.ending + self.start.windows
        return found

    @cached_property
    def last_clear(self) -> Array:
        """Number of the event that last cleared the gradient, -1 for none."""
        return last(self.ending, self.seq, self.start.last_clear)

    @cached_property
    def last_apply(self) -> Array:
        """Number of the event by which it was last applied, -1 for none."""
        return last(self.code == Entry.APPLY, self.seq, self.start.last_apply)

    @cached_property
    def last_deposit(self) -> Array:
        """Number of the backward (or change by hand) of the newest contribution, -1 for none."""
        return last(self.deposit, self.source + self.view.first, self.start.last_deposit)

    def advance(self, carry: Carry) -> None:
        """Take up the account where the last view left it, and leave it where this one ends."""
        if (self.code == HAND).any():
            self._decide_by_hand(carry)
        self.start = Carry(**{**vars(carry), "applied": dict(carry.applied)})
        applying = self.code == Entry.APPLY
        of = self.optimizer
        optimizers = sorted({*np.unique(of[applying]).tolist(), *carry.applied})
        before, emptied = self.before, self.emptied
        for optimizer in optimizers:
            mine = applying & (of == optimizer)
            had = np.maximum(last(mine, before, carry.applied.get(optimizer, 0)) - emptied, 0)
            self.again = np.where(mine, had, self.again)
            if len(optimizers) > 1:
                self.others = np.where(applying & ~mine, np.maximum(self.others, had), self.others)
        if not len(self.code):
            return
        for optimizer in optimizers:
            mine_at = np.flatnonzero(applying & (of == optimizer))
            if len(mine_at):
                carry.applied[optimizer] = int(before[mine_at[-1]])
        for name, mask, values in (
            ("emptied", self.ending, before),
            ("skipped", self.code == Entry.SKIP, before),
            ("last_clear", self.ending, self.seq),
            ("last_apply", applying, self.seq),
            ("last_deposit", self.deposit, self.source + self.view.first),
        ):
            at = np.flatnonzero(mask)
            if len(at):
                setattr(carry, name, int(values[at[-1]]))
        carry.deposits = int(before[-1] + self.deposit[-1])
        carry.windows = int(self.window[-1] + self.ending[-1])

    def _decide_by_hand(self, carry: Carry) -> None:
        """Changes by hand: on fresh contributions they alter them, otherwise they put a new gradient there."""
        code = self.code
        by_hand = code == HAND
        deposit: Array = np.isin(code, [Entry.DEPOSIT, Entry.FOUND])
        before: Array = np.add(np.cumsum(deposit) - deposit, carry.deposits)
        applied = last(code == Entry.APPLY, before, max(carry.applied.values(), default=0))
        emptied = last(_ENDINGS[code], before, carry.emptied)
        stale = by_hand & (before - np.maximum(applied, emptied) == 0)
        stretch = np.cumsum(deposit | _ENDINGS[code] | (code == Entry.APPLY))
        places = np.flatnonzero(stale)
        _, firsts = np.unique(stretch[places], return_index=True)
        self.code = np.where(by_hand, np.int8(Entry.ALTER), code)
        self.code[places[firsts]] = Entry.SET


def last(mask: Array, values: Array, initial: int) -> Array:
    """For each entry, the value at the last masked entry before it. Values must not decrease."""
    if not len(values):
        return values
    found = np.empty(len(values), np.int64)
    found[0] = initial
    np.copyto(found[1:], np.where(mask[:-1], values[:-1], initial))
    np.maximum.accumulate(found, out=found)
    return found


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
