"""OT108: the optimizer trains a model that is not the one in use."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from optrace.checks.finding import Finding
from optrace.checks.rule import Rule
from optrace.checks.run import Piece, Run
from optrace.checks.seen import Seen
from optrace.checks.unowned import Unowned, UnownedDeposits


class StaleOptimizer(Rule):
    code = "OT108"
    name = "stale-optimizer"
    severity = "error"
    bug = "The model was made again after the optimizer, which still holds the old model's parameters."
    why = "The new model gets gradients that nobody applies; the optimizer steps over parameters that nobody uses."
    broken = """\
model = Net()
optimizer = torch.optim.Adam(model.parameters())
model = Net()                    # the optimizer knows nothing of it
train(model, optimizer)
"""
    fixed = """\
model = Net()
optimizer = torch.optim.Adam(model.parameters())
train(model, optimizer)
"""

    def start(self, run: Run) -> None:
        super().start(run)
        self._deposits = UnownedDeposits(run)
        self._empty: dict[int, Seen] = {}  # optimizer → its steps with nothing since the last with something
        self._taken: dict[int, int] = {}

    def piece(self, piece: Piece) -> None:
        self._deposits.add(piece)
        steps = piece.steps
        for optimizer in np.unique(steps.optimizer).tolist():
            mine = steps.optimizer == optimizer
            self._taken[optimizer] = self._taken.get(optimizer, 0) + int(np.count_nonzero(mine))
            full = np.flatnonzero(mine & (steps.inside > 0))
            if len(full):
                self._empty.pop(optimizer, None)
                mine[: full[-1] + 1] = False
            self._empty.setdefault(optimizer, Seen()).add(steps.seq[mine])

    def finish(self) -> Iterable[Finding]:
        unowned = self._deposits.by_model()
        for optimizer, seen in self._empty.items():
            if seen.count < 2:
                continue
            last = [u for u in unowned if u.seen.first <= seen.last and u.seen.last >= seen.first]
            if last:
                yield self._found(optimizer, seen, sorted(last, key=lambda u: u.seen.first))

    def _found(self, optimizer: int, seen: Seen, every: list[Unowned]) -> Finding:
        """`every` model that was used instead, in order."""
        used = every[0]
        run = self.run
        made = run.optimizer(optimizer).site
        called = run.called(optimizer)
        model = run.trace.model_by_id(used.model) if used.model >= 0 else None
        site = model.site if model is not None else None
        site = site or made or run.site(seen.first)
        name = f"`{model.variable}`" if model is not None and model.variable else "the model in use"
        held = run.cohorts.memberships.held_by(optimizer)
        again = f", made on {run.line(model.site, site)}" if model is not None and model.site is not None else ""
        return run.finding(
            self,
            message=(
                f"`{called}` (made on {run.line(made, site)}) holds {len(held)} parameters that no longer receive "
                f"gradients: {seen.count:,} of its {self._taken[optimizer]:,} steps applied nothing. The gradients "
                f"go to {name}{again}, whose {len(used.parameters)} parameters no optimizer holds."
            ),
            fix=(
                f"Make `{called}` after {run.line(site, site)}, from the parameters of {name}, or do not make the "
                "model again there."
                if site != made
                else f"Make `{called}` on {run.line(made, site)} from the parameters of {name}."
            ),
            seq=seen.first,
            site=site,
            count=seen.count,
            last=seen.last,
            parameters=held.union(*(unowned.parameters for unowned in every)),
            optimizers=[optimizer],
            evidence={
                "steps_with_nothing": seen.count,
                "steps": self._taken[optimizer],
                "contributions_nobody_applies": sum(unowned.seen.count for unowned in every),
            },
        )
