"""When each optimizer stepped and when state was loaded: gathered once for the rules that ask."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from optrace.ledger.view import STEP
from optrace.trace.format import KIND_CODES, Flag

if TYPE_CHECKING:
    from optrace.checks.run import Piece, Run

_LOAD = KIND_CODES["load_state"]
_MANY = 256
"""Loads that are looked at; whoever loads more often does so as part of the loop."""


class Lives:
    """First and last steps by optimizer (those that were really done), and loads, of a run so far."""

    def __init__(self) -> None:
        self.first_step: dict[int, int] = {}
        self.last_step: dict[int, int] = {}
        self.steps: dict[int, int] = {}
        self.optimizer_loads: list[tuple[int, int]] = []
        """Event number and optimizer."""
        self.module_loads: list[int] = []
        self._fed = -1

    def feed(self, piece: Piece) -> None:
        """Take in a piece; a second time does nothing."""
        view = piece.view
        if view.first <= self._fed:
            return
        self._fed = view.first
        owner = view.column("optimizer")
        steps = np.flatnonzero((view.kind == STEP) & (view.flags & (Flag.SKIPPED | Flag.FAILED) == 0))
        owners = owner[steps]
        for optimizer in np.unique(owners).tolist():
            mine = steps[owners == optimizer]
            self.first_step.setdefault(optimizer, view.first + int(mine[0]))
            self.last_step[optimizer] = view.first + int(mine[-1])
            self.steps[optimizer] = self.steps.get(optimizer, 0) + len(mine)
        for place in np.flatnonzero(view.kind == _LOAD).tolist():
            if owner[place] >= 0 and len(self.optimizer_loads) < _MANY:
                self.optimizer_loads.append((view.first + place, int(owner[place])))
            elif owner[place] < 0 and len(self.module_loads) < _MANY:
                self.module_loads.append(view.first + place)

    def loaded_before_first_step(self, run: Run, optimizer: int) -> bool:
        """Whether state was loaded into the optimizer before it stepped, or may have been, in a gap."""
        first = self.first_step.get(optimizer, -1)
        made = run.trace.optimizer_by_id(optimizer).event
        if run.gap_between(max(made - 1, 0), first):
            return True
        return any(owner == optimizer and seq < first for seq, owner in self.optimizer_loads)


_of_run: WeakKeyDictionary[Run, Lives] = WeakKeyDictionary()


def lives(run: Run) -> Lives:
    """The run's, shared by all rules."""
    return _of_run.setdefault(run, Lives())
