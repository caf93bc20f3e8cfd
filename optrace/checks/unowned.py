"""Parameters that receive gradients and that no optimizer holds: what OT107 and OT108 look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from optrace.checks.seen import Seen
from optrace.ledger.cohorts import Cohort
from optrace.ledger.entries import Entry

if TYPE_CHECKING:
    from optrace.checks.run import Piece, Run


@dataclass
class Unowned:
    """One model's parameters without an optimizer."""

    model: int
    """Id of the root module, -1 where none is known."""
    parameters: set[int]
    seen: Seen
    """The backwards that reached them."""
    cohorts: list[Cohort]


class UnownedDeposits:
    """Collects the backwards that reach parameters no optimizer ever held."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._seen: dict[int, Seen] = {}

    def add(self, piece: Piece) -> None:
        for flow in piece.flows:
            if not flow.cohort.memberships:
                sources = flow.source[flow.code == Entry.DEPOSIT] + piece.view.first
                self._seen.setdefault(flow.cohort.index, Seen()).add(np.unique(sources))

    def by_model(self) -> list[Unowned]:
        """Parameters of modules that received at least two contributions and that nothing ever changed."""
        run = self._run
        model_of = {binding.parameter: binding.model for binding in run.trace.bindings}
        found: dict[int, Unowned] = {}
        for cohort in run.cohorts.all:
            seen = self._seen.get(cohort.index)
            if seen is None or seen.count < 2:
                continue
            for number in cohort.parameters:
                if run.parameter(number).bare or number in run.changed_parameters:
                    continue
                model = model_of.get(number, -1)
                mine = found.setdefault(model, Unowned(model, set(), Seen(), []))
                mine.parameters.add(number)
                if cohort not in mine.cohorts:
                    mine.cohorts.append(cohort)
                    mine.seen.add(np.array([seen.first, seen.last]))
                    mine.seen.count = max(mine.seen.count - 2, seen.count)
        return list(found.values())
