"""OT408: updates that are lost in the weights' precision."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

import numpy as np

from optrace.checks.finding import Finding
from optrace.checks.rule import Rule
from optrace.checks.run import Piece, Run
from optrace.checks.updates import chosen, steps
from optrace.checks.values import elements

SHARE = 0.9
"""Of the elements with a gradient: so many do not change at half of the steps that are looked at."""
LEAST_STEPS = 5
COARSE = ("bfloat16", "float16")


class UpdateLostToRounding(Rule):
    code = "OT408"
    name = "update-lost-to-rounding"
    severity = "warning"
    bug = (
        "Gradient and learning rate are not 0, but most weights do not change: the update is too small for their dtype."
    )
    why = (
        "A bfloat16 has 8 significant bits: a weight of 1 cannot move by less than about 0.004. Updates below half "
        "of that are rounded away, each time, and never add up."
    )
    broken = """\
model = model.to(torch.bfloat16)
optimizer = AdamW(model.parameters(), lr=1e-4)
"""
    fixed = """\
optimizer = AdamW(model.parameters(), lr=1e-4)   # weights in float32
with torch.autocast("cpu", dtype=torch.bfloat16):
    loss = loss_function(model(x), y)
"""

    def start(self, run: Run) -> None:
        super().start(run)
        self._steps = steps(run)

    def piece(self, piece: Piece) -> None:
        self._steps.feed(piece)

    def finish(self) -> Iterator[Finding]:
        coarse = {p.id for p in self.run.trace.parameters.values() if p.dtype in COARSE}
        if not coarse:
            return
        for owner, sample in self._steps.of.items():
            held = sorted(coarse & self.run.cohorts.memberships.held_by(owner)) if owner >= 0 else []
            if not held or sample.seen < LEAST_STEPS:
                continue
            lost: dict[int, float] = {}
            for parameter in chosen(held):
                shares = [s for seq in sample.kept if (s := self._unchanged(parameter, seq)) is not None]
                early = shares[: max(3, len(shares) // 3)]
                if len(shares) >= 3 and median(shares) > SHARE and median(early) > SHARE:
                    lost[parameter] = median(shares)
            if lost:
                yield self._finding(owner, sample.kept, lost, sample.seen)

    def _finding(self, owner: int, seqs: list[int], lost: dict[int, float], count: int) -> Finding:
        run = self.run
        names = run.names(lost)
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        dtype = run.parameter(min(lost)).dtype
        share = median(lost.values())
        rates = [group.hyper.get("lr") for group in run.trace.groups(seqs[0])]
        return run.finding(
            self,
            message=f"{share:.0%} of the elements of {names[0]}{more} with a gradient do not change in "
            f"`{run.called(owner)}.step()`: their updates are too small for {dtype}.",
            fix="Keep the weights in float32 and compute in half precision under torch.autocast, or raise the "
            "learning rate on "
            f"{run.line(run.optimizer(owner).site, run.site(seqs[0]))}.",
            seq=seqs[0],
            count=count,
            last=seqs[-1],
            parameters=lost,
            optimizers=[owner],
            evidence={"unchanged": share, "dtype": dtype, "lr": rates},
        )

    def _unchanged(self, parameter: int, seq: int) -> float | None:
        """The share of elements with a gradient that the step left as they were; None where it says nothing."""
        trace = self.run.trace
        mine = next((g for g in trace.groups(seq) if parameter in g.parameters), None)
        if mine is None or mine.hyper.get("lr") == 0:
            return None
        before = elements(self.run, parameter, "param", seq, before=True)
        after = elements(self.run, parameter, "param", seq)
        gradient = elements(self.run, parameter, "grad", seq, before=True)
        if before is None or after is None or gradient is None or not before.shape == after.shape == gradient.shape:
            return None
        pushed = gradient != 0
        return float(np.mean((before == after)[pushed])) if pushed.any() else None
