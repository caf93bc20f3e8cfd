"""OT304: the clipped norm counts gradients that the step does not apply."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import median

from optrace.checks.clips import Clips
from optrace.checks.columns import Thinned
from optrace.checks.finding import Finding
from optrace.checks.rule import Rule
from optrace.checks.run import Piece, Run
from optrace.checks.values import elements, length

SHARE = 0.5
"""Of the squared norm: more of what is clipped is others' than the step's own."""
_AHEAD = 64


class ClipCountsStale(Rule):
    code = "OT304"
    name = "clip-counts-stale"
    severity = "warning"
    bug = "The norm that is clipped includes gradients of parameters that no optimizer of this step holds."
    why = (
        "Those gradients are not cleared with the others, grow, and fill the norm: what the step really applies is "
        "scaled down to almost nothing."
    )
    broken = """\
optimizer = SGD(model.head.parameters(), lr=0.1)
for x, y in loader:
    optimizer.zero_grad()
    loss_function(model(x), y).backward()
    clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
"""
    fixed = """\
optimizer = SGD(model.head.parameters(), lr=0.1)
model.body.requires_grad_(False)
for x, y in loader:
    optimizer.zero_grad()
    loss_function(model(x), y).backward()
    clip_grad_norm_(model.head.parameters(), 1.0)
    optimizer.step()
"""

    def start(self, run: Run) -> None:
        self.run = run
        self._clips = Clips(run)
        self._samples: dict[int, Thinned] = {}

    def piece(self, piece: Piece) -> None:
        for stack, places in self._clips.of(piece):
            self._samples.setdefault(stack, Thinned(6)).add(piece.view.first + places)

    def finish(self) -> Iterator[Finding]:
        for stack, sample in self._samples.items():
            mine = self._clips.parameters(stack)
            shares: list[tuple[int, float, frozenset[int]]] = []
            for seq in sample.kept:
                held = self._stepped_after(seq)
                stale = mine - held
                if not held or not stale or not self._clipped(seq):
                    continue
                total = self._squares(mine, seq)
                if total > 0:
                    shares.append((seq, self._squares(stale, seq) / total, stale))
            if not shares or (share := median(s for _, s, _ in shares)) < SHARE:
                continue
            seq = next(number for number, one, _ in shares if one >= SHARE)
            others = shares[-1][2]
            names = self.run.names(others)
            shown = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
            yield self.run.finding(
                self,
                message=f"{share:.0%} of the squared norm that is clipped belongs to {shown}, which the step after "
                "it does not apply.",
                fix="Clip only the parameters of the optimizer that steps next, on "
                f"{self.run.line(self.run.site(seq))}.",
                seq=seq,
                count=sample.seen,
                last=sample.kept[-1],
                parameters=others,
                optimizers=self._clips.owners(stack),
                evidence={"share": share, "scaled_down_by": math.sqrt(max(1 - share, 0.0))},
            )

    def _clipped(self, seq: int) -> bool:
        """Whether the clip changed anything."""
        detail = self.run.event(seq).detail
        before, after = detail.get("norm_before"), detail.get("norm_after")
        return not (isinstance(before, float) and isinstance(after, float)) or after < before

    def _stepped_after(self, seq: int) -> frozenset[int]:
        """Parameters of the optimizers that step between a clip and the next backward."""
        held: set[int] = set()
        for number in range(seq + 1, min(seq + _AHEAD, self.run.count)):
            event = self.run.event(number)
            if event.kind == "backward":
                break
            if event.kind == "gap":
                return frozenset()
            if event.kind == "step":
                held.update(p for group in self.run.trace.groups(number) for p in group.parameters)
        return frozenset(held)

    def _squares(self, parameters: frozenset[int], seq: int) -> float:
        total = 0.0
        for number in parameters:
            gradient = elements(self.run, number, "grad", seq, before=True)
            if gradient is not None:
                total += length(gradient) ** 2
        return total
