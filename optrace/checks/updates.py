"""Steps looked at closely: a few of each optimizer, with values before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from optrace.checks.columns import Thinned
from optrace.ledger.view import STEP
from optrace.trace.format import Flag

if TYPE_CHECKING:
    from optrace.checks.run import Piece, Run

PARAMETERS = 16


class Steps:
    """A thinned selection of each optimizer's steps."""

    def __init__(self) -> None:
        self.of: dict[int, Thinned] = {}
        self._fed = -1

    def feed(self, piece: Piece) -> None:
        """Take in a piece; a second time does nothing."""
        view = piece.view
        if view.first <= self._fed:
            return
        self._fed = view.first
        places = np.flatnonzero((view.kind == STEP) & (view.flags & (Flag.SKIPPED | Flag.FAILED) == 0))
        owners = view.column("optimizer")[places]
        for owner in np.unique(owners).tolist():
            self.of.setdefault(owner, Thinned(8)).add(view.first + places[owners == owner])


def chosen(parameters: list[int]) -> list[int]:
    """At most `PARAMETERS` of them, spread evenly."""
    if len(parameters) <= PARAMETERS:
        return parameters
    return [parameters[i * len(parameters) // PARAMETERS] for i in range(PARAMETERS)]


_of_run: WeakKeyDictionary[Run, Steps] = WeakKeyDictionary()


def steps(run: Run) -> Steps:
    """The run's, shared by the rules."""
    return _of_run.setdefault(run, Steps())
