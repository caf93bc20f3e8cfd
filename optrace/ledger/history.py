"""The whole account of one cohort, compact: for looking up any position at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from optrace.ledger.cohorts import Cohort, Cohorts
from optrace.ledger.entries import Entry
from optrace.ledger.flow import Carry
from optrace.ledger.flows import Steps, entries
from optrace.ledger.view import views

if TYPE_CHECKING:
    from optrace.trace.reader import Trace

Array = np.ndarray[Any, Any]


class History:
    """Every entry of a cohort's account, in order. Arrays are [entries]."""

    def __init__(self, trace: Trace, cohorts: Cohorts, cohort: Cohort, stop: int) -> None:
        carry = Carry()
        pieces: list[tuple[Array, Array, Array, Array]] = []
        for view in views(trace, stop=stop):  # nothing else of a view is kept: a long trace has many
            flow = entries(cohort, view, Steps(view, cohorts))
            flow.advance(carry)
            pieces.append((flow.seq, flow.code, flow.source + view.first, flow.optimizer.astype(np.int32)))
        seq, code, source, optimizer = zip(*pieces, strict=True) if pieces else ((), (), (), ())
        del pieces
        self.seq: Array = _joined(seq, np.int64)
        """Number of the event that makes the entry, ascending."""
        self.code: Array = _joined(code, np.int8)
        self.source: Array = _joined(source, np.int64)
        """Number of the backward of a DEPOSIT, of the step of an APPLY or SKIP; else `seq`."""
        self.optimizer: Array = _joined(optimizer, np.int32)
        emptying = np.isin(self.code, [Entry.CLEAR, Entry.ZERO, Entry.SET, Entry.LOST])
        self.endings: Array = np.flatnonzero(emptying)
        """Which entries emptied the gradient, or lost sight of it."""
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


def _joined(pieces: Sequence[Array], dtype: type) -> Array:
    return np.concatenate(pieces, dtype=dtype) if pieces else np.empty(0, dtype)
