"""OT102: a step is taken twice on the same gradients."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from optrace.checks.finding import Finding
from optrace.checks.rule import Rule
from optrace.checks.run import Piece, Run
from optrace.checks.seen import Seen
from optrace.ledger.entries import Entry


class RepeatedStep(Rule):
    code = "OT102"
    name = "repeated-step"
    severity = "error"
    bug = "An optimizer steps again although no backward has brought anything new since its last step."
    why = (
        "The same gradient is applied twice: the learning rate is in effect doubled, momentum and Adam's moments count "
        "one batch twice, and schedules that count steps run too fast."
    )
    broken = """\
optimizer.zero_grad()
loss.backward()
optimizer.step()
log(loss)
optimizer.step()
"""
    fixed = """\
optimizer.zero_grad()
loss.backward()
optimizer.step()
log(loss)
"""

    def start(self, run: Run) -> None:
        super().start(run)
        self._seen: dict[int, Seen] = {}
        self._before: dict[int, int] = {}  # chain of the step → the step before the first repeated one

    def piece(self, piece: Piece) -> None:
        steps = piece.steps
        repeated = np.flatnonzero((steps.again > 0) & (steps.fresh == 0))
        if not len(repeated):
            return
        stacks = piece.view.column("stack")
        guilty = np.zeros(len(piece.view), bool)
        guilty[steps.place[repeated]] = True
        for stack in np.unique(stacks[steps.place[repeated]]).tolist():
            mine = repeated[stacks[steps.place[repeated]] == stack]
            seen = self._seen.setdefault(stack, Seen())
            seen.add(steps.seq[mine], optimizers=np.unique(steps.optimizer[mine]).tolist())
        for flow in piece.flows:
            at = np.flatnonzero((flow.code == Entry.APPLY) & (flow.again > 0) & guilty[flow.source])
            for stack in np.unique(stacks[flow.source[at]]).tolist():
                self._seen[stack].parameters.update(flow.cohort.parameters)
                here = at[stacks[flow.source[at]] == stack]
                self._before.setdefault(stack, int(flow.last_apply[here[0]]))

    def finish(self) -> Iterable[Finding]:
        for stack, seen in self._seen.items():
            run, site = self.run, self.run.stack_site(stack)
            called = run.called(min(seen.optimizers))
            earlier = run.event(self._before[stack])
            other = earlier.site
            times = f"{seen.count:,} steps" if seen.count > 1 else "1 step"
            line = run.line(site, site)
            if other is not None and other != site:
                first = f"the step on {run.line(other, site)} at {earlier.position} had applied them already"
                fix = f"Step once per backward: remove the call on {line} or the one on {run.line(other, site)}."
            else:
                first = f"they are those that the step at {earlier.position} had applied"
                fix = f"Call backward before every `{called}.step()` on {line}, or step only when there is news."
            message = f"`{called}.step()` applies the same gradients again: {first}, and no backward came between"
            yield run.finding(
                self,
                message=f"{message}. {times} like this.",
                fix=fix,
                seq=seen.first,
                site=site,
                count=seen.count,
                last=seen.last,
                parameters=seen.parameters,
                optimizers=seen.optimizers,
                evidence={"repeated_steps": seen.count, "first_applied_at": str(earlier.position)},
            )
