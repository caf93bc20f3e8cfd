"""The running account of one cohort: every entry with what was inside the gradient just before it.

Computed for a whole view at once; what is carried from one view to the next is a handful of
numbers per cohort, however many contributions are inside.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from optrace.ledger.cohorts import Cohort
from optrace.ledger.entries import HAND, Entry
from optrace.ledger.view import View

Array = np.ndarray[Any, Any]
_DEPOSITS: Array = np.isin(np.arange(HAND + 1), [Entry.DEPOSIT, Entry.FOUND, Entry.SET])
_ENDINGS: Array = np.isin(np.arange(HAND + 1), [Entry.CLEAR, Entry.ZERO, Entry.SET, Entry.LOST])


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
    found: int = 0
    """Contributions so far when some were last found there, applied or not."""
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
        """Of these, those that nobody has applied. Of what was found there that is not known: it is not among them."""
        return self.deposits - max(self.emptied, self.found, *self.applied.values(), 0)

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
        """Of these, those that no step has applied yet; what was found there may have been."""
        known = np.where(self.code == Entry.FOUND, self.before + 1, self.before)
        settled = (self.code == Entry.APPLY) | (self.code == Entry.FOUND)
        applied = last(settled, known, max(self.start.found, *self.start.applied.values(), 0))
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
            ("found", self.code == Entry.FOUND, before + 1),
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
