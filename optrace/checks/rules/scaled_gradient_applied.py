"""OT305: a step applies gradients that carry the loss scale."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from optrace.checks.finding import Finding
from optrace.checks.rule import Rule
from optrace.checks.run import Piece, Run
from optrace.checks.scaling import Scaling
from optrace.ledger.entries import Entry
from optrace.trace.format import Flag


class ScaledGradientApplied(Rule):
    code = "OT305"
    name = "scaled-gradient-applied"
    severity = "error"
    bug = "The optimizer steps by itself with gradients of a scaled loss, instead of through the GradScaler."
    why = (
        "The gradients are the loss scale times too large: SGD's steps are thousands of times too long, Adam's epsilon "
        "and clipping lose their meaning, and an overflow is applied instead of skipped."
    )
    broken = """\
scaler.scale(loss).backward()
optimizer.step()
"""
    fixed = """\
scaler.scale(loss).backward()
scaler.step(optimizer)
scaler.update()
"""

    def start(self, run: Run) -> None:
        self.run = run
        self._scaling = Scaling()
        self._found: dict[int, list[int]] = {}  # by optimizer: first, last, how many, the backward
        self._parameters: dict[int, set[int]] = {}

    def piece(self, piece: Piece) -> None:
        view = piece.view
        state = self._scaling.feed(piece)
        if state is None:
            return
        flags = self.run.trace.records["flags"]
        steps: dict[int, dict[int, int]] = {}
        for flow in piece.flows:
            at = np.flatnonzero((flow.code == Entry.APPLY) & (flow.fresh > 0))
            if not len(at):
                continue
            backward, place, owner = flow.last_deposit[at], flow.source[at], flow.optimizer[at]
            carries = (backward >= 0) & (flags[np.maximum(backward, 0)] & Flag.SCALED != 0)
            for optimizer in np.unique(owner[carries]).tolist():
                mine = np.flatnonzero(carries & (owner == optimizer))
                since = np.maximum(state.unscaled(optimizer), state.by_hand)[place[mine]]
                # A fused step under the scaler takes the scale out by itself.
                alone = flags[view.first + place[mine]] & Flag.SCALER == 0
                wrong = mine[(backward[mine] > since) & alone]
                if len(wrong):
                    found = steps.setdefault(optimizer, {})
                    found.update(zip(place[wrong].tolist(), backward[wrong].tolist(), strict=True))
                    self._parameters.setdefault(optimizer, set()).update(flow.cohort.parameters)
        for optimizer, places in steps.items():
            first = min(places)
            entry = self._found.setdefault(optimizer, [view.first + first, 0, 0, places[first]])
            entry[1] = view.first + max(places)
            entry[2] += len(places)

    def finish(self) -> Iterator[Finding]:
        for owner, (first, last, count, backward) in self._found.items():
            scale = self.run.event(backward).detail.get("scale")
            if type(scale) not in (int, float) or scale == 1:  # the first no recording writes
                continue
            name, site = self.run.called(owner), self.run.site(first)
            yield self.run.finding(
                self,
                message=f"`{name}.step()` applied gradients that carry the loss scale of {scale:g}.",
                fix=f"Call `scaler.step({name})` and `scaler.update()` instead of `{name}.step()` on "
                f"{self.run.line(site)}.",
                seq=first,
                count=count,
                last=last,
                parameters=self._parameters[owner],
                optimizers=[owner],
                evidence={"scale": scale, "backward": str(self.run.event(backward).position)},
            )
