"""OT302: gradients are clipped while they still carry the loss scale."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from optrace.checks.clips import Clips
from optrace.checks.finding import Finding
from optrace.checks.rule import Rule
from optrace.checks.run import Piece, Run
from optrace.checks.scaling import Scaling


class ClipBeforeUnscale(Rule):
    code = "OT302"
    name = "clip-before-unscale"
    severity = "error"
    bug = "Gradients are clipped before the GradScaler has divided the loss scale out of them."
    why = (
        "Their norm is the scale times what it should be, so nearly every step is clipped, to a size that moves with "
        "the scale."
    )
    broken = """\
scaler.scale(loss).backward()
clip_grad_norm_(model.parameters(), 1.0)
scaler.step(optimizer)
scaler.update()
"""
    fixed = """\
scaler.scale(loss).backward()
scaler.unscale_(optimizer)
clip_grad_norm_(model.parameters(), 1.0)
scaler.step(optimizer)
scaler.update()
"""

    def start(self, run: Run) -> None:
        self.run = run
        self._clips = Clips(run)
        self._scaling = Scaling()
        self._found: dict[int, list[int]] = {}  # by chain of calls: first, last, how many, the backward

    def piece(self, piece: Piece) -> None:
        state = self._scaling.feed(piece)
        if state is None:
            return
        for stack, places in self._clips.of(piece):
            owners = self._clips.owners(stack)
            if not owners:
                continue
            since = np.maximum.reduce([state.settled(owner)[places] for owner in owners])
            backward = state.scaled[places]
            wrong = np.flatnonzero((backward >= 0) & (backward > since))
            if len(wrong):
                first = piece.view.first + int(places[wrong[0]])
                entry = self._found.setdefault(stack, [first, 0, 0, int(backward[wrong[0]])])
                entry[1] = piece.view.first + int(places[wrong[-1]])
                entry[2] += len(wrong)

    def finish(self) -> Iterator[Finding]:
        for stack, (first, last, count, backward) in self._found.items():
            scale = self.run.event(backward).detail.get("scale")
            if not isinstance(scale, (int, float)) or scale in (0, 1):  # other than 1, no recording writes them
                continue
            event = self.run.event(first)
            owners = self._clips.owners(stack)
            name = self.run.called(min(owners))
            norm = event.detail.get("norm_before")
            real = norm / scale if isinstance(norm, (int, float)) else None
            # The first scales are often too large: an overflow has no size.
            known = real is not None and math.isfinite(real)
            shown = f": the norm of {norm:.4g} that is clipped is really {real:.4g}" if known else ""
            yield self.run.finding(
                self,
                message=f"The gradients still carry the loss scale of {scale:g} when they are clipped{shown}.",
                fix=f"Call `scaler.unscale_({name})` before {self.run.line(event.site)}.",
                seq=first,
                count=count,
                last=last,
                parameters=self._clips.parameters(stack),
                optimizers=owners,
                evidence={
                    "scale": scale,
                    "norm_before": norm,
                    "norm_unscaled": real,
                    "max_norm": event.detail.get("max_norm"),
                },
            )
