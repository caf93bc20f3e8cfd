"""OT303: clipping inside an accumulation window."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from optrace.checks.clips import Clips, standing
from optrace.checks.finding import Finding
from optrace.checks.rule import Rule
from optrace.checks.run import Piece, Run


class ClipPerMicrobatch(Rule):
    code = "OT303"
    name = "clip-per-microbatch"
    severity = "warning"
    bug = "Gradients are clipped after every micro-batch of an accumulation window, not once before the step."
    why = (
        "What was accumulated is scaled down again and again, so the first micro-batches of a window count for less "
        "than the last, and the sum is no longer the gradient of the large batch."
    )
    broken = """\
for i, (x, y) in enumerate(loader):
    (loss_function(model(x), y) / 4).backward()
    clip_grad_norm_(model.parameters(), 1.0)
    if i % 4 == 3:
        optimizer.step()
        optimizer.zero_grad()
"""
    fixed = """\
for i, (x, y) in enumerate(loader):
    (loss_function(model(x), y) / 4).backward()
    if i % 4 == 3:
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
"""

    def start(self, run: Run) -> None:
        self.run = run
        self._clips = Clips(run)
        self._before: dict[tuple[int, int], int] = {}  # by chain and cohort: contributions at the last clip
        self._window: dict[tuple[int, int], int] = {}  # and the last window that was counted
        self._found: dict[int, list[int]] = {}  # by chain of calls: first, last, how many

    def piece(self, piece: Piece) -> None:
        for stack, places in self._clips.of(piece):
            mine = self._clips.parameters(stack)
            most: list[int] = []
            for flow in piece.flows:
                if mine.isdisjoint(flow.cohort.parameters) or not flow.cohort.memberships:
                    continue
                key = (stack, flow.cohort.index)
                at = standing(flow, places)
                window = np.maximum(at.emptied, at.applied)  # contributions before this one's first
                clipped = np.append(self._before.get(key, -1), at.deposits[:-1])
                again = (clipped > window) & (at.deposits > clipped)
                self._before[key] = int(at.deposits[-1])
                _, firsts = np.unique(window[again], return_index=True)
                found = np.flatnonzero(again)[firsts]
                found = found[window[found] != self._window.get(key, -1)]
                if len(found):
                    self._window[key] = int(window[found[-1]])
                    if len(found) > len(most):
                        most = places[found].tolist()
            if most:
                entry = self._found.setdefault(stack, [piece.view.first + most[0], 0, 0])
                entry[1] = piece.view.first + most[-1]
                entry[2] += len(most)

    def finish(self) -> Iterator[Finding]:
        for stack, (first, last, count) in self._found.items():
            site = self.run.site(first)
            step = self._step_after(first, self._clips.owners(stack))
            where = "just before the step"
            if step is not None:
                where += f" on {self.run.line(self.run.site(step), site)}"
            yield self.run.finding(
                self,
                message="Gradients that were clipped are added to and clipped again before they are applied, in "
                f"{count} accumulation window{'s' if count > 1 else ''}.",
                fix=f"Clip once, {where}, rather than on {self.run.line(site)} after every backward.",
                seq=first,
                count=count,
                last=last,
                parameters=self._clips.parameters(stack),
                optimizers=self._clips.owners(stack),
                evidence={"windows": count, "norm_before": self.run.event(first).detail.get("norm_before")},
            )

    def _step_after(self, seq: int, owners: frozenset[int]) -> int | None:
        for number in range(seq + 1, min(seq + 256, self.run.count)):
            event = self.run.event(number)
            if event.kind == "step" and event.optimizer is not None and event.optimizer.id in owners:
                return number
        return None
