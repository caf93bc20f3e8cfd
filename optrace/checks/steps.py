"""What each step of a piece found in its parameters' gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from optrace.ledger.entries import Entry
from optrace.ledger.flow import Flow
from optrace.ledger.view import STEP, View
from optrace.trace.format import Flag

Array = np.ndarray[Any, Any]


class StepFacts:
    """The steps that were taken (not left out by a GradScaler, not failed), in order; arrays are [steps].

    Counts are of contributions, the largest over the optimizer's parameters.
    """

    def __init__(self, view: View, flows: tuple[Flow, ...]) -> None:
        inside = np.zeros(len(view), np.int64)
        fresh, again, others = inside.copy(), inside.copy(), inside.copy()
        for flow in flows:
            at = np.flatnonzero(flow.is_(Entry.APPLY, Entry.SKIP))
            step = flow.source[at]
            np.maximum.at(inside, step, flow.inside[at])
            np.maximum.at(fresh, step, flow.fresh[at])
            np.maximum.at(again, step, flow.again[at])
            np.maximum.at(others, step, flow.others[at])
        taken = (view.kind == STEP) & (view.flags & (Flag.SKIPPED | Flag.FAILED) == 0)
        if view.nested:
            delegated = view.enclosing(STEP)[taken]  # to another optimizer's step inside
            delegated = delegated[delegated >= 0]
            taken[delegated[inside[delegated] == 0]] = False
        self.place = np.flatnonzero(taken)
        self.seq = self.place + view.first
        self.optimizer: Array = view.column("optimizer")[self.place]
        self.inside: Array = inside[self.place]
        """In the gradient: 0 where the step had nothing to apply."""
        self.fresh: Array = fresh[self.place]
        """Never applied before."""
        self.again: Array = again[self.place]
        """Applied before by this very optimizer."""
        self.others: Array = others[self.place]
        """Applied before by another optimizer."""
