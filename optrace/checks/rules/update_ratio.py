"""OT407: updates far too large or far too small beside the weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import median

from optrace.checks.finding import Finding
from optrace.checks.rule import Rule
from optrace.checks.run import Piece, Run
from optrace.checks.updates import chosen, steps
from optrace.checks.values import elements, length

LEAST_STEPS = 20
LOW = 1e-7
"""Every step that is looked at is smaller."""
HIGH, REPLACED = 0.03, 1.0
"""The middle step is larger than the one, and some step moved the weights by more than all of their norm."""


class UpdateRatio(Rule):
    code = "OT407"
    name = "update-ratio"
    severity = "hint"
    bug = "The updates stay far outside 1e-4 to 1e-2 of the weights' norm."
    why = (
        "Far above, each step overwrites what the weights had learnt; far below, the training needs ages to move them. "
        "Nearly always it is the learning rate."
    )
    broken = """\
optimizer = Adam(model.parameters(), lr=10)
"""
    fixed = """\
optimizer = Adam(model.parameters(), lr=1e-3)
"""

    def start(self, run: Run) -> None:
        super().start(run)
        self._steps = steps(run)

    def piece(self, piece: Piece) -> None:
        self._steps.feed(piece)

    def finish(self) -> Iterator[Finding]:
        for owner, sample in self._steps.of.items():
            if sample.seen < LEAST_STEPS or owner < 0:
                continue
            ratios: list[float] = []
            for seq in sample.kept:
                ratio = self._ratio(seq)
                if ratio is not None:
                    ratios.append(ratio)
            if len(ratios) < 5:
                continue
            middle = median(ratios)
            high = middle >= HIGH and max(ratios) >= REPLACED
            if not high and max(ratios) > LOW:
                continue
            first = self.run.event(sample.kept[0])
            rates = [group.hyper.get("lr") for group in self.run.trace.groups(first)]
            made = self.run.optimizer(owner).site
            yield self.run.finding(
                self,
                message=f"`{self.run.called(owner)}.step()` moves the weights by {middle:.1g} of their norm, up to "
                f"{max(ratios):.1g}; 1e-4 to 1e-2 is usual.",
                fix=f"{'Lower' if high else 'Raise'} the learning rate ({', '.join(dict.fromkeys(map(str, rates)))}) "
                f"on {self.run.line(made, first.site)}.",
                seq=first.seq,
                count=sample.seen,
                last=sample.kept[-1],
                optimizers=[owner],
                parameters=self._weights(first.seq),
                evidence={"ratio": middle, "largest_ratio": max(ratios), "lr": rates},
            )

    def _weights(self, seq: int) -> list[int]:
        held = [p for group in self.run.trace.groups(seq) for p in group.parameters]
        return [p for p in held if len(self.run.parameter(p).shape) >= 2]

    def _ratio(self, seq: int) -> float | None:
        """The norm of the update over that of the weights, of the weight matrices; None where it says nothing."""
        if not any(isinstance(lr := g.hyper.get("lr"), (int, float)) and lr > 0 for g in self.run.trace.groups(seq)):
            return None
        moved = weights = 0.0
        for parameter in chosen(self._weights(seq)):
            before = elements(self.run, parameter, "param", seq, before=True)
            after = elements(self.run, parameter, "param", seq)
            if before is None or after is None or before.shape != after.shape:
                continue
            size = length(before)
            if math.isfinite(size):
                weights += size**2
                moved += length(after.astype("f8") - before.astype("f8")) ** 2
        return math.sqrt(moved / weights) if weights > 0 and math.isfinite(moved) and moved > 0 else None
