"""OT306: the GradScaler skips step after step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from optrace.checks.effects import effects
from optrace.checks.finding import Finding
from optrace.checks.rule import Rule
from optrace.checks.run import Piece, Run
from optrace.checks.values import finite
from optrace.ledger.view import STEP
from optrace.trace.format import Flag

LONG = 20
"""Skips in a row: from the usual first scale of 65,536 sixteen halvings lead to 1."""
SHORT = 5
"""Fewer than that are how a scale finds its size; from here on, where no step was ever done or the scale is below 1."""


class StepAlwaysSkipped(Rule):
    code = "OT306"
    name = "step-always-skipped"
    severity = "warning"
    bug = "The GradScaler skips one step after another, because the gradients hold NaN or Inf each time."
    why = (
        "One skipped step now and then is how the scale finds its size. When no smaller scale helps, the NaN comes "
        "from the model, and nothing is trained."
    )
    broken = """\
loss = criterion(model(x), y) + model(x).mul(0).sqrt().sum()   # the gradient of sqrt at 0 is infinite
scaler.scale(loss).backward()
scaler.step(optimizer)
scaler.update()
"""
    fixed = """\
loss = criterion(model(x), y) + model(x).mul(0).add(1e-8).sqrt().sum()
scaler.scale(loss).backward()
scaler.step(optimizer)
scaler.update()
"""

    def start(self, run: Run) -> None:
        self.run = run
        self._runs: dict[int, list[int]] = {}  # by optimizer: first, last, length of the skips in a row now
        self._longest: dict[int, list[int]] = {}
        self._done: set[int] = set()

    def piece(self, piece: Piece) -> None:
        view = piece.view
        steps = np.flatnonzero((view.kind == STEP) & (view.flags & Flag.FAILED == 0))
        skipped = view.flags[steps] & Flag.SKIPPED != 0
        owners = view.column("optimizer")[steps]
        if not skipped.any():
            self._runs.clear()
            self._done.update(np.unique(owners).tolist())
            return
        for owner in np.unique(owners).tolist():
            mine, left_out = steps[owners == owner], skipped[owners == owner]
            part = np.searchsorted(self.run.gaps, view.first + mine)  # what a gap hides may be a step that was taken
            begins = left_out & ~(np.append(False, left_out[:-1]) & (np.diff(part, prepend=-1) == 0))
            ends = left_out & ~(np.append(left_out[1:], False) & (np.diff(part, append=-1) == 0))
            for start, stop in zip(np.flatnonzero(begins).tolist(), (np.flatnonzero(ends) + 1).tolist(), strict=True):
                known = self._runs.get(owner) if start == 0 else None
                if known is not None and self.run.gap_between(known[1], view.first + int(mine[0])):
                    known = None
                found = known or [view.first + int(mine[start]), 0, 0]
                found[1] = view.first + int(mine[stop - 1])
                found[2] += stop - start
                if found[2] > self._longest.get(owner, [0, 0, 0])[2]:
                    self._longest[owner] = list(found)
                self._runs[owner] = found
            if not left_out[-1]:
                self._runs.pop(owner, None)
            if not left_out.all():
                self._done.add(owner)

    def finish(self) -> Iterator[Finding]:
        for owner, (first, last, count) in self._longest.items():
            scale = self.run.event(last).detail.get("scale")
            tiny = isinstance(scale, (int, float)) and scale < 1
            if count < SHORT or (count < LONG and not tiny and owner in self._done):
                continue
            name = self.run.called(owner)
            held = sorted(self.run.cohorts.memberships.held_by(owner))
            backward, bad = self._non_finite(first, frozenset(held))
            named = self.run.names(bad)
            where = f" in {named[0]}" + (f" and {len(named) - 1} more" if len(named) > 1 else "") if named else ""
            site = self.run.site(first)
            origin = self.run.line(self.run.site(backward), site) if backward is not None else "the backward"
            yield self.run.finding(
                self,
                message=f"{count} steps of `{name}` in a row were skipped over NaN or Inf in its gradients{where}.",
                fix=f"Find the operation before {origin} whose gradient is not finite: a smaller scale does not help.",
                seq=first,
                count=count,
                last=last,
                parameters=bad or held,
                optimizers=[owner],
                evidence={"skipped": count, "scale_at_the_end": scale, "non_finite_gradients": list(named)},
            )

    def _non_finite(self, step: int, held: frozenset[int]) -> tuple[int | None, list[int]]:
        """The backward before a step, and the parameters whose gradients it made non-finite."""
        for number in range(step - 1, max(step - 64, -1), -1):
            event = self.run.event(number)
            brought = effects(self.run).deposits.get(event.effect, {})
            if event.kind == "backward" and held & brought.keys():
                trace = self.run.trace
                return number, [p for p in sorted(held & brought.keys()) if not finite(trace, number, brought[p])]
        return None, []
