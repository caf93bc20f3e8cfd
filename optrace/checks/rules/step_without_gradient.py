"""OT104: a step that has nothing to apply."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from optrace.checks.finding import Finding, Severity
from optrace.checks.rule import Rule
from optrace.checks.run import Piece, Run
from optrace.checks.seen import Seen
from optrace.trace.format import KIND_CODES

_BACKWARD = KIND_CODES["backward"]


class StepWithoutGradient(Rule):
    code = "OT104"
    name = "step-without-gradient"
    severity = "error"
    bug = "An optimizer steps while none of its parameters holds a gradient."
    why = (
        "torch skips parameters without a gradient and says nothing: the loop looks alive, and nothing is trained. "
        "The backward is missing or comes too late, or it does not reach these parameters (frozen, detached, of "
        "another model)."
    )
    broken = """\
for x, y in batches:
    optimizer.zero_grad()
    loss = loss_function(model(x), y)
    optimizer.step()
"""
    fixed = """\
for x, y in batches:
    optimizer.zero_grad()
    loss = loss_function(model(x), y)
    loss.backward()
    optimizer.step()
"""

    def start(self, run: Run) -> None:
        super().start(run)
        self._empty: dict[int, dict[int, Seen]] = {}  # optimizer → chain of the step → what was seen
        self._full: dict[int, dict[int, int]] = {}  # optimizer → chain of the step → steps with something
        self._began: dict[tuple[int, int], int] = {}  # optimizer and chain → the first of these
        self._unseen: set[int] = set()  # optimizers that moved parameters by gradients nobody could read

    def piece(self, piece: Piece) -> None:
        steps = piece.steps
        stacks = piece.view.column("stack")[steps.place]
        for optimizer in np.unique(steps.optimizer).tolist():
            mine = steps.optimizer == optimizer
            for into_empty, chosen in ((True, mine & (steps.inside == 0)), (False, mine & (steps.inside > 0))):
                for stack in np.unique(stacks[chosen]).tolist():
                    here = steps.seq[chosen & (stacks == stack)]
                    if not into_empty:
                        full = self._full.setdefault(optimizer, {})
                        full[stack] = full.get(stack, 0) + len(here)
                        self._began.setdefault((optimizer, stack), int(here[0]))
                        continue
                    self._empty.setdefault(optimizer, {}).setdefault(stack, Seen()).add(here)
                    if self._moved(int(here[0]), optimizer):
                        self._unseen.add(optimizer)

    def _moved(self, seq: int, optimizer: int) -> bool:
        """It changed a parameter that has no gradient at all: then there was one that could not be read."""
        for change in self.run.trace.effect(seq):
            if change.kind == "param" and not change.before:
                parameter = self.run.parameter(change.parameter)
                return not self.run.trace.ledger(parameter, seq).present
        return False

    def finish(self) -> Iterable[Finding]:
        for optimizer, by_stack in self._empty.items():
            if optimizer in self._unseen:
                continue
            for stack, seen in by_stack.items():
                severity = self._severity(optimizer, stack, seen)
                if severity is not None:
                    yield self._found(optimizer, stack, seen, severity)

    def _severity(self, optimizer: int, stack: int, seen: Seen) -> Severity | None:
        full = self._full.get(optimizer, {})
        steps = seen.count + full.get(stack, 0)
        if seen.count == 1:
            if steps == 1 and full:  # one dry step before the loop, as some do for the scheduler's sake
                return "hint"
            if self._began.get((optimizer, stack), seen.first) < seen.first:  # one among others
                return "hint"
            return "warning" if steps > 1 else "error"
        return "error" if seen.count >= 0.5 * steps else "hint"

    def _found(self, optimizer: int, stack: int, seen: Seen, severity: Severity) -> Finding:
        run = self.run
        site = run.stack_site(stack)
        called, line = run.called(optimizer), run.line(site, site)
        held = run.cohorts.memberships.held_by(optimizer)
        taken = seen.count + self._full.get(optimizer, {}).get(stack, 0)
        how_many = f"{seen.count:,} of {taken:,} steps" if taken > 1 else "the only step"
        event = run.event(seen.first)
        holds = f"none of its {len(held)} parameters holds" if len(held) > 1 else "its one parameter does not hold"
        found = f"{holds} a gradient"
        message = f"`{called}.step()` on {line} has nothing to apply: {found}"
        deposits = sum(run.flows.carry[run.cohorts.of(p).index].deposits for p in held)
        backwards = run.calls.of(_BACKWARD)
        before = [s for s in backwards.values() if s.first < seen.first]
        if severity == "hint" and seen.count == 1:
            fix = f"Leave out the step on {line}, or step after the first backward."
        elif deposits and not before:
            after = run.site(min(s.first for s in backwards.values()))
            fix = f"Step after the backward: move the call on {line} to below the backward on {run.line(after, site)}."
        elif deposits:
            fix = f"Call backward before every `{called}.step()` on {line}."
        elif backwards:
            other = run.stack_site(next(iter(backwards)))
            fix = (
                f"The backward on {run.line(other, site)} reaches none of them: see that they require gradients, that "
                f"nothing detaches the loss from them, and that `{called}` holds the parameters of the model in use."
            )
        else:
            fix = f"Call `loss.backward()` before `{called}.step()` on {line}: no backward was recorded."
        return run.finding(
            self,
            message=f"{message} (from {event.position} on: {how_many}).",
            fix=fix,
            seq=seen.first,
            site=site,
            count=seen.count,
            last=seen.last,
            severity=severity,
            parameters=held,
            optimizers=[optimizer],
            evidence={"steps_with_nothing": seen.count, "steps": taken, "parameters_held": len(held)},
        )
