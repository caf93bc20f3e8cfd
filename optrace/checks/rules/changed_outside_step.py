"""OT501: weights are changed by something that is no optimizer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from optrace.checks.columns import Thinned, latest
from optrace.checks.effects import effects
from optrace.checks.finding import Finding
from optrace.checks.rule import Rule
from optrace.checks.run import Piece, Run
from optrace.checks.values import elements
from optrace.ledger.view import STEP
from optrace.trace.format import KIND_CODES

_MUTATION, _GAP = KIND_CODES["mutation"], KIND_CODES["gap"]
RECURS = 3
FEW = 2
UNDONE = 0.8
"""Of the changes that are looked at: so many put back what was there before the step."""


class ChangedOutsideStep(Rule):
    code = "OT501"
    name = "changed-outside-step"
    severity = "warning"
    bug = "Weights that an optimizer trains are written by something else, and its updates are undone."
    why = (
        "Each step is taken back before the next one: the loss stays where it is, and the optimizer's moments are "
        "of no use."
    )
    broken = """\
backup = [p.detach().clone() for p in model.parameters()]
for x, y in loader:
    ...
    optimizer.step()
    for p, old in zip(model.parameters(), backup):
        p.data.copy_(old)
"""
    fixed = """\
for x, y in loader:
    ...
    optimizer.step()
"""

    def start(self, run: Run) -> None:
        super().start(run)
        memberships = run.cohorts.memberships
        self._owned = frozenset().union(*memberships.sets)
        self._seen = Thinned(8)  # changes by hand
        self._steps: dict[int, int] = {}  # the step before each of these
        self._step = self._gap = -1
        self._parameters: set[int] = set()

    def piece(self, piece: Piece) -> None:
        view, known = piece.view, effects(self.run)
        step = latest(view.kind == STEP, view.first, self._step)
        self._step = int(step[-1])
        places = np.flatnonzero((view.kind == _MUTATION) & known.moves_any[view.effect])
        gap = latest(view.kind == _GAP, view.first, self._gap)
        self._gap = int(gap[-1])
        places = places[step[places] > gap[places]]  # before the first step it is how things begin
        if not len(places):
            return
        mine = {e: known.moves(e) & self._owned for e in np.unique(view.effect[places]).tolist()}
        places = places[[bool(mine[e]) for e in view.effect[places].tolist()]]
        self._parameters.update(*mine.values())
        self._seen.add(view.first + places)
        self._steps.update(zip((view.first + places).tolist(), step[places].tolist(), strict=True))
        self._steps = {seq: self._steps[seq] for seq in self._seen.kept}

    def finish(self) -> Iterator[Finding]:
        count = self._seen.seen
        if not count or not self._parameters:
            return
        seqs = self._seen.kept
        undone = [s for s in seqs if self._undoes(s)] if count >= RECURS else []
        if len(undone) >= max(2, UNDONE * len(seqs)):
            yield self._finding(undone[0], count, "warning")
        elif count <= FEW:
            yield self._finding(seqs[0], count, "hint")

    def _undoes(self, seq: int) -> bool:
        """Whether all that the last step had moved is what it was before that step."""
        trace, step = self.run.trace, self._steps[seq]
        looked = False
        for parameter in sorted(effects(self.run).moves(int(trace.records["effect"][seq])) & self._owned):
            now = elements(self.run, parameter, "param", seq)
            then = elements(self.run, parameter, "param", step, before=True)
            if now is None or then is None:
                continue
            # A weight that is clipped to its bound each time is back where it was, and all its elements at the bound.
            if not np.array_equal(now, then) or len(np.unique(np.abs(now))) == 1 < len(now):
                return False
            looked = looked or len(now) > 1
        return looked

    def _finding(self, seq: int, count: int, severity: str) -> Finding:
        run = self.run
        event, step = run.event(seq), run.event(self._steps[seq])
        names = run.names(self._parameters)
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        name = run.called(step.optimizer.id) if step.optimizer else "the optimizer"
        where, there = run.line(step.site, event.site), run.line(event.site)
        between = f"{where} and {there}" if where != there else f"two calls on {where}"
        if severity == "warning":
            message = (
                f"{names[0]}{more} are put back to what they were before `{name}.step()` on {where}, {count} times "
                "over."
            )
            fix = f"Take out what writes the weights between {between}."
        else:
            message = f"{names[0]}{more} changed between {between}, and no optimizer did it."
            fix = f"If it was not meant, look for what writes to the weights before {run.line(event.site)}."
        return run.finding(
            self,
            message=message,
            fix=fix,
            seq=seq,
            count=count,
            last=self._seen.kept[-1],
            severity="warning" if severity == "warning" else "hint",
            parameters=self._parameters,
            optimizers=[step.optimizer.id] if step.optimizer else (),
            evidence={"changes": count, "after_step": str(step.position)},
        )
