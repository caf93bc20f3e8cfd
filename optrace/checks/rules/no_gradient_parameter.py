"""OT109: a parameter in the optimizer never gets a gradient."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from optrace.checks.finding import Finding
from optrace.checks.rule import Rule
from optrace.checks.run import Piece, Run
from optrace.checks.seen import Seen

_ENOUGH = 100
"""Steps before the first gap after which a parameter without a gradient says something."""


class NoGradientParameter(Rule):
    code = "OT109"
    name = "no-gradient-parameter"
    severity = "warning"
    bug = "A parameter that the optimizer is to train never receives a gradient, while others do."
    why = "It stays as it was made: its layer is not used in forward, or detach(), .item() or no_grad() cut it off."
    broken = """\
def forward(self, x):
    with torch.no_grad():
        x = self.encoder(x)      # the encoder is in the optimizer, and stays random
    return self.head(x)
"""
    fixed = """\
def forward(self, x):
    return self.head(self.encoder(x))
"""

    def start(self, run: Run) -> None:
        super().start(run)
        self._fed: dict[int, Seen] = {}  # optimizer → steps with something to apply
        self._early: dict[int, int] = {}  # of these, how many before anything was left out

    def piece(self, piece: Piece) -> None:
        steps = piece.steps
        for optimizer in np.unique(steps.optimizer).tolist():
            fed = (steps.optimizer == optimizer) & (steps.inside > 0)
            self._fed.setdefault(optimizer, Seen()).add(steps.seq[fed])
            early = int(np.searchsorted(steps.seq[fed], self.run.unbroken))
            self._early[optimizer] = self._early.get(optimizer, 0) + early

    def finish(self) -> Iterable[Finding]:
        run = self.run
        for optimizer, fed in self._fed.items():
            # A gap may hide a backward that reaches it: then what came before the first gap has to be enough.
            if fed.count < 2 or (len(run.gaps) and self._early[optimizer] < _ENOUGH):
                continue
            held = run.cohorts.memberships.held_by(optimizer)
            without = {p for p in held if self._never(p)}
            if without and without != held:
                yield self._found(optimizer, without, fed)

    def _never(self, number: int) -> bool:
        """It asks for gradients, never had one, and never moved (which it would by one we could not read)."""
        carry = self.run.flows.carry[self.run.cohorts.of(number).index]
        wanted = self.run.parameter(number).requires_grad and self.run.parameter(number).numel > 0
        return wanted and not carry.deposits and number not in self.run.changed_parameters

    def _found(self, optimizer: int, without: set[int], fed: Seen) -> Finding:
        run = self.run
        site = run.optimizer(optimizer).site or run.site(fed.first)
        names = run.names(without)
        shown = run.listed(without)
        called = run.called(optimizer)
        it = "they are" if len(names) > 1 else "it is"
        return run.finding(
            self,
            message=(
                f"{shown}: in `{called}` and asking for gradients, but in {fed.count:,} steps no backward ever reached "
                f"{'them' if len(names) > 1 else 'it'}, while the others were reached."
            ),
            fix=(
                f"See that {it} used in forward and not cut off by detach() or no_grad(), or leave "
                f"{'them' if len(names) > 1 else 'it'} out of `{called}` on {run.line(site, site)}."
            ),
            seq=fed.first,
            site=site,
            count=fed.count,
            last=fed.last,
            parameters=without,
            optimizers=[optimizer],
            evidence={
                "parameters": len(names),
                "elements": sum(run.parameter(p).numel for p in without),
                "steps": fed.count,
            },
        )
