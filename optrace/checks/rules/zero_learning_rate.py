"""OT203: steps at a learning rate of zero."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from optrace.checks.finding import Finding
from optrace.checks.rule import Rule
from optrace.checks.run import Piece, Run
from optrace.checks.values import elements
from optrace.ledger.view import STEP
from optrace.trace.format import Flag

LEAST = 3
"""Steps at zero in a row; one or two are how a warm-up begins."""
_VERSIONS = 64


class ZeroLearningRate(Rule):
    code = "OT203"
    name = "zero-learning-rate"
    severity = "warning"
    bug = "The learning rate is 0 in every param group while there are gradients to apply."
    why = "The steps do nothing: the training costs time and the weights stay where they are."
    broken = """\
scheduler = LambdaLR(optimizer, lambda step: min(1, step / warmup))
for x, y in loader:
    optimizer.zero_grad()
    loss_function(model(x), y).backward()
    optimizer.step()
"""
    fixed = """\
scheduler = LambdaLR(optimizer, lambda step: min(1, step / warmup))
for x, y in loader:
    optimizer.zero_grad()
    loss_function(model(x), y).backward()
    optimizer.step()
    scheduler.step()
"""

    def start(self, run: Run) -> None:
        self.run = run
        self._found: dict[int, list[int]] = {}  # by optimizer: first, last, how many

    def piece(self, piece: Piece) -> None:
        view = piece.view
        steps = np.flatnonzero((view.kind == STEP) & (view.flags & (Flag.SKIPPED | Flag.FAILED) == 0))
        versions, counts = np.unique(view.column("groups")[steps], return_counts=True)
        # What lasts is what a version of the groups is used for: of a rate that moves all the time only the ends are.
        wanted = np.argsort(-counts, kind="stable")[:_VERSIONS]
        for version in versions[wanted[counts[wanted] > 1]].tolist():
            if version >= 0 and self._is_zero(version):
                mine = view.first + steps[view.column("groups")[steps] == version]
                owner = int(view.column("optimizer")[mine[0] - view.first])
                known = self._found.setdefault(owner, [int(mine[0]), 0, 0])
                known[1] = int(mine[-1])
                known[2] += len(mine)

    def _is_zero(self, version: int) -> bool:
        rates = [group.hyper.get("lr") for group in self.run.trace.groups_by_id(version)]
        return bool(rates) and all(isinstance(rate, (int, float)) and rate == 0 for rate in rates)

    def finish(self) -> Iterator[Finding]:
        for owner, (first, last, count) in self._found.items():
            if count < LEAST or owner < 0:
                continue
            held = [p for group in self.run.trace.groups(first) for p in group.parameters]
            waiting = [p for p in held if self._waits(p, first)]
            if not waiting:
                continue
            name = self.run.called(owner)
            yield self.run.finding(
                self,
                message=f"`{name}.step()` ran {count} times at a learning rate of 0 in every group, with gradients "
                "that "
                "are not 0.",
                fix=f"Set a learning rate above 0 before {self.run.line(self.run.site(first))}, or step the schedule "
                "that should raise it.",
                seq=first,
                count=count,
                last=last,
                parameters=waiting,
                optimizers=[owner],
                evidence={"lr": 0.0, "steps": count},
            )

    def _waits(self, parameter: int, step: int) -> bool:
        """Whether there is a gradient for the step to apply."""
        gradient = elements(self.run, parameter, "grad", step, before=True)
        return gradient is not None and bool(gradient.any())
