"""OT105: gradients are computed for an optimizer that never steps."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from optrace.checks.finding import Finding
from optrace.checks.rule import Rule
from optrace.checks.run import Piece, Run
from optrace.checks.seen import Seen
from optrace.ledger.entries import Entry
from optrace.trace.format import KIND_CODES

_STEP = KIND_CODES["step"]


class NeverStepped(Rule):
    code = "OT105"
    name = "never-stepped"
    severity = "error"
    bug = "Backward fills the gradients of an optimizer's parameters, and the optimizer never steps."
    why = "Nothing is trained: without step() the parameters stay as they were made."
    broken = """\
for x, y in batches:
    optimizer.zero_grad()
    loss_function(model(x), y).backward()
"""
    fixed = """\
for x, y in batches:
    optimizer.zero_grad()
    loss_function(model(x), y).backward()
    optimizer.step()
"""

    def start(self, run: Run) -> None:
        super().start(run)
        self._seen: dict[int, Seen] = {}  # cohort → backwards
        self._early: dict[int, int] = {}  # of these, before anything was left out

    def piece(self, piece: Piece) -> None:
        for flow in piece.flows:
            if flow.cohort.memberships:
                sources = np.unique(flow.source[flow.code == Entry.DEPOSIT] + piece.view.first)
                self._seen.setdefault(flow.cohort.index, Seen()).add(sources, flow.cohort.parameters)
                early = self._early.get(flow.cohort.index, 0) + int(np.searchsorted(sources, self.run.unbroken))
                self._early[flow.cohort.index] = early

    def finish(self) -> Iterable[Finding]:
        run = self.run
        memberships = run.cohorts.memberships
        changed = run.changed_parameters
        for optimizer in run.trace.optimizers:
            if run.calls.of(_STEP, optimizer.id):
                continue
            seen, early = Seen(), 0
            for cohort in run.cohorts.all:
                mine = self._seen.get(cohort.index)
                if (
                    mine is None
                    or mine.count == 0
                    or not any(memberships.optimizer[m] == optimizer.id for m in cohort.memberships)
                ):
                    continue
                if run.flows.carry[cohort.index].applied or not changed.isdisjoint(cohort.parameters):
                    continue  # somebody else trains them, or the loop does by hand
                seen.parameters |= mine.parameters
                seen.first = mine.first if seen.first < 0 else min(seen.first, mine.first)
                seen.last, seen.count = max(seen.last, mine.last), max(seen.count, mine.count)
                early = max(early, self._early[cohort.index])
            # Whether it steps in a gap nobody knows: then what came before the first has to be enough. Nor whether it
            # will, where the recording goes on: it may accumulate.
            whole = run.ended_well and not len(run.gaps)
            least = 100 if run.trace.complete else 1000
            if seen.count >= 2 and (whole or early >= least):
                yield self._found(optimizer.id, seen)

    def _found(self, optimizer: int, seen: Seen) -> Finding:
        run = self.run
        site, called = run.site(seen.first), run.called(optimizer)
        made = run.optimizer(optimizer).site
        return run.finding(
            self,
            message=(
                f"`{called}` (made on {run.line(made, site)}) never steps: {seen.count:,} backwards put gradients into "
                f"{len(seen.parameters)} of its parameters, and none was ever applied."
            ),
            fix=f"Call `{called}.step()` after the backward on {run.line(site, site)}.",
            seq=seen.first,
            site=site,
            count=seen.count,
            last=seen.last,
            parameters=seen.parameters,
            optimizers=[optimizer],
            evidence={"backwards": seen.count, "steps": 0},
        )
