"""OT406: early layers' gradients are many orders of magnitude below the late layers'."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import fmean, median

import numpy as np

from optrace.checks.columns import Thinned
from optrace.checks.effects import effects
from optrace.checks.finding import Finding
from optrace.checks.rule import Rule
from optrace.checks.run import Piece, Run
from optrace.checks.values import norm
from optrace.ledger.view import BACKWARD

LAYERS = 6
"""Weight matrices; with fewer there is nothing to vanish along."""
RATIO = 1e-5


class VanishingGradient(Rule):
    code = "OT406"
    name = "vanishing-gradient"
    severity = "hint"
    bug = "The gradients of the first layers stay many orders of magnitude below those of the last ones."
    why = "The first layers hardly learn: every layer in between multiplies their gradient by a small derivative."
    broken = """\
layers = [layer for _ in range(20) for layer in (nn.Linear(64, 64), nn.Sigmoid())]
"""
    fixed = """\
layers = [layer for _ in range(20) for layer in (nn.Linear(64, 64), nn.LayerNorm(64), nn.ReLU())]
"""

    def start(self, run: Run) -> None:
        super().start(run)
        self._samples = Thinned(6)

    def piece(self, piece: Piece) -> None:
        view = piece.view
        places = np.flatnonzero((view.kind == BACKWARD) & effects(self.run).deposits_any[view.effect])
        self._samples.add(view.first + places)

    def finish(self) -> Iterator[Finding]:
        run = self.run
        worst: list[tuple[float, int]] = []
        shown: tuple[int, ...] = ()
        for seq in self._samples.kept:
            brought = effects(run).deposits.get(int(run.trace.records["effect"][seq]), {})
            layers = [p for p in sorted(brought) if len(run.parameter(p).shape) >= 2 and not run.parameter(p).bare]
            if len(layers) < LAYERS:
                continue
            sizes = [norm(run.trace, seq, brought[p]) / math.sqrt(max(run.parameter(p).numel, 1)) for p in layers]
            if not all(0 < size < math.inf for size in sizes):
                continue
            logs = [math.log10(size) for size in sizes]
            third = len(logs) // 3
            worst.append((fmean(logs[:third]) - fmean(logs[-third:]), seq))
            shown = tuple(layers[:third])
        if len(worst) < 3 or max(gap for gap, _ in worst) > math.log10(RATIO):
            return
        gap = median(gap for gap, _ in worst)
        names = run.names(shown)
        yield run.finding(
            self,
            message=f"The gradients of the first layers ({names[0]}, …) are {10**gap:.0e} times those of the last, "
            "all through the run.",
            fix="Put normalisation or residual connections between the layers, or an activation that does not "
            "saturate.",
            seq=worst[0][1],
            count=self._samples.seen,
            last=worst[-1][1],
            parameters=shown,
            evidence={"ratio": 10**gap},
        )
