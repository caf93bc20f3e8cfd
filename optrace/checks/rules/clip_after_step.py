"""OT301: gradients are clipped when they have already been applied."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from optrace.checks.clips import Clips, standing
from optrace.checks.finding import Finding
from optrace.checks.rule import Rule
from optrace.checks.run import Piece, Run
from optrace.ledger.entries import Entry

_ENDINGS = (int(Entry.CLEAR), int(Entry.ZERO), int(Entry.SET))


class ClipAfterStep(Rule):
    code = "OT301"
    name = "clip-after-step"
    severity = "error"
    bug = "Gradients are clipped after the step applied them, and cleared before the next one."
    why = "The clipping changes nothing: the step has used the gradients as they were, however large."
    broken = """\
loss.backward()
optimizer.step()
clip_grad_norm_(model.parameters(), 1.0)
optimizer.zero_grad()
"""
    fixed = """\
loss.backward()
clip_grad_norm_(model.parameters(), 1.0)
optimizer.step()
optimizer.zero_grad()
"""

    def start(self, run: Run) -> None:
        self.run = run
        self._clips = Clips(run)
        self._found: dict[int, list[int]] = {}  # by chain of calls: first, last, how many

    def piece(self, piece: Piece) -> None:
        for stack, places in self._clips.of(piece):
            mine = self._clips.parameters(stack)
            late = np.zeros(len(places), bool)
            useful = np.zeros(len(places), bool)
            for flow in piece.flows:
                if mine.isdisjoint(flow.cohort.parameters):
                    continue
                at = standing(flow, places)
                cleared_next = np.isin(at.following, _ENDINGS)
                stale = (at.inside > 0) & (at.fresh == 0) & cleared_next
                late |= stale
                useful |= (at.inside > 0) & ~stale
            found = places[late & ~useful]
            if len(found):
                entry = self._found.setdefault(stack, [piece.view.first + int(found[0]), 0, 0])
                entry[1] = piece.view.first + int(found[-1])
                entry[2] += len(found)

    def finish(self) -> Iterator[Finding]:
        for stack, (first, last, count) in self._found.items():
            event = self.run.event(first)
            owners = self._clips.owners(stack)
            step = self._step_before(first, owners)
            name = self.run.called(step[0]) if step else "the optimizer"
            site = self.run.site(step[1]) if step else None
            where = self.run.line(site, event.site) if step else "the step"
            what = "the clipping" if where == self.run.line(event.site) else self.run.line(event.site)
            yield self.run.finding(
                self,
                message=f"The gradients that are clipped here were already applied by `{name}.step()` on {where}, and "
                "are cleared before the next step.",
                fix=f"Move {what} to before `{name}.step()` on {where}.",
                seq=first,
                count=count,
                last=last,
                parameters=self._clips.parameters(stack),
                optimizers=owners,
                evidence={
                    "norm_before": event.detail.get("norm_before"),
                    "norm_after": event.detail.get("norm_after"),
                },
            )

    def _step_before(self, seq: int, owners: frozenset[int]) -> tuple[int, int] | None:
        """The optimizer and the number of the step before an event."""
        for number in range(seq - 1, max(seq - 64, -1), -1):
            event = self.run.event(number)
            if event.kind == "step" and event.optimizer is not None and event.optimizer.id in owners:
                return event.optimizer.id, number
        return None
