"""The whole account of one cohort, compact: for looking up any position at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from optrace.ledger.cohorts import Cohort, Cohorts
from optrace.ledger.entries import Entry
from optrace.ledger.flow import Carry, Flow
from optrace.ledger.flows import Steps, entries
from optrace.ledger.view import views

if TYPE_CHECKING:
    from optrace.trace.reader import Trace

Array = np.ndarray[Any, Any]


class History:
    """Every entry of a cohort's account, in order. Arrays are [entries]."""

    def __init__(self, trace: Trace, cohorts: Cohorts, cohort: Cohort, stop: int) -> None:
        carry = Carry()
        flows: list[Flow] = []
        for view in views(trace, stop=stop):
            flow = entries(cohort, view, Steps(view, cohorts))
            flow.advance(carry)
            flows.append(flow)
        count = sum(len(flow.code) for flow in flows)
        self.seq: Array = np.empty(count, np.int64)
        """Number of the event that makes the entry, ascending."""
        self.code: Array = np.empty(count, np.int8)
        self.source: Array = np.empty(count, np.int64)
        """Number of the backward of a DEPOSIT, of the step of an APPLY or SKIP; else `seq`."""
        self.optimizer: Array = np.empty(count, np.int32)
        at = 0
        for flow in flows:
            piece = slice(at, at + len(flow.code))
            self.seq[piece] = flow.seq
            self.code[piece] = flow.code
            self.source[piece] = flow.source + flow.view.first
            self.optimizer[piece] = flow.optimizer
            at += len(flow.code)
        emptying = np.isin(self.code, [Entry.CLEAR, Entry.ZERO, Entry.SET])
        self.endings: Array = np.flatnonzero(emptying)
        """Which entries emptied the gradient."""
        self.deposits: Array = np.flatnonzero(np.isin(self.code, [Entry.DEPOSIT, Entry.FOUND, Entry.SET]))
        """Which entries brought a contribution."""
        self.applies: Array = np.flatnonzero(self.code == Entry.APPLY)
        self.alters: Array = np.flatnonzero(self.code == Entry.ALTER)

    def reach(self, seq: int) -> int:
        """How many entries there are up to and with event `seq`."""
        return int(np.searchsorted(self.seq, seq, "right"))

    def opened(self, reach: int) -> int:
        """Of the first `reach` entries, the one that last emptied the gradient; -1 for none."""
        place = int(np.searchsorted(self.endings, reach)) - 1
        return int(self.endings[place]) if place >= 0 else -1

    def ended(self, entry: int) -> int:
        """The entry that removed the contribution of an entry; one past the last where nothing did."""
        place = int(np.searchsorted(self.endings, entry, "right"))
        return int(self.endings[place]) if place < len(self.endings) else len(self.code)

    @staticmethod
    def among(entries_: Array, first: int, stop: int) -> Array:
        """Those of some ascending entries that lie in [first, stop)."""
        return entries_[np.searchsorted(entries_, first) : np.searchsorted(entries_, stop)]
