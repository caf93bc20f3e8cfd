"""OT101: gradients are not cleared between two steps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from optrace.checks.finding import Finding
from optrace.checks.parts import Parts, split_gradients
from optrace.checks.rule import Rule
from optrace.checks.run import Piece, Run
from optrace.checks.seen import Seen
from optrace.ledger.entries import Entry
from optrace.trace.format import KIND_CODES
from optrace.trace.model import Site

_ZERO_GRAD = KIND_CODES["zero_grad"]
Array = np.ndarray[Any, Any]


class _First(NamedTuple):
    """The first step of its kind, by event numbers."""

    step: int
    earlier: int  # the step that had applied the same
    newest: int  # the newest backward inside
    inside: int
    added: bool  # something new came on top


class MissingZeroGrad(Rule):
    code = "OT101"
    name = "missing-zero-grad"
    severity = "error"
    bug = "Gradients are not cleared between two steps, so a step applies old gradients a second time."
    why = (
        "backward() adds to .grad. Without zero_grad() every step applies the sum of all gradients so far: the steps "
        "grow, they point where the loss fell many batches ago, and training oscillates or diverges."
    )
    broken = """\
for x, y in batches:
    loss = loss_function(model(x), y)
    loss.backward()
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
        self._seen: dict[int, Seen] = {}  # by chain of call sites of the step
        self._most: dict[int, int] = {}  # backwards inside, at most
        self._first: dict[int, _First] = {}

    def piece(self, piece: Piece) -> None:
        steps = piece.steps
        if not steps.again.any():
            return
        guilty = np.zeros(len(piece.view), bool)
        guilty[steps.place[(steps.again > 0) & (steps.fresh > 0)]] = True
        stacks = piece.view.column("stack")
        for flow in piece.flows:
            at = np.flatnonzero((flow.code == Entry.APPLY) & (flow.again > 0) & guilty[flow.source])
            for stack in np.unique(stacks[flow.source[at]]).tolist():
                here = at[stacks[flow.source[at]] == stack]
                seen = self._seen.setdefault(stack, Seen())
                seen.parameters.update(flow.cohort.parameters)
                seen.optimizers.update(np.unique(flow.optimizer[here]).tolist())
                self._most[stack] = max(self._most.get(stack, 0), int(flow.inside[here].max()))
                added = here[flow.fresh[here] > 0]  # the plain case: new on top of old
                one = int(added[0] if len(added) else here[0])
                step = int(flow.source[one]) + piece.view.first
                known = self._first.get(stack)
                if known is None or (not known.added, known.step) > (not len(added), step):
                    newest, inside = int(flow.last_deposit[one]), int(flow.inside[one])
                    self._first[stack] = _First(step, int(flow.last_apply[one]), newest, inside, len(added) > 0)
        places = np.flatnonzero(guilty)
        for stack in np.unique(stacks[places]).tolist():
            self._seen.setdefault(stack, Seen()).add(places[stacks[places] == stack] + piece.view.first)

    def finish(self) -> Iterable[Finding]:
        return [self._found(stack, seen) for stack, seen in self._seen.items()]

    def _found(self, stack: int, seen: Seen) -> Finding:
        run = self.run
        step, earlier, newest, inside, _ = self._first[stack]
        site, backward = run.site(step), run.site(newest)
        parts = split_gradients(run, seen.parameters, step, earlier, newest)
        optimizers = sorted(seen.optimizers)
        called = ", ".join(f"`{run.called(o)}.zero_grad()`" for o in optimizers[:3])
        message = (
            f"`{run.called(optimizers[0])}.step()` applies gradients that it has applied before: "
            f"{_amount(parts, run, earlier, step, inside)}."
        )
        if seen.count > 1:
            message += f" It happens at {seen.count:,} steps; at most {self._most[stack]:,} backwards were inside."
        return run.finding(
            self,
            message=message,
            fix=self._fix(optimizers, called, site, backward),
            seq=step,
            site=site,
            count=seen.count,
            last=seen.last,
            parameters=seen.parameters,
            optimizers=optimizers,
            evidence={"backwards_inside": inside, "most_backwards_inside": self._most[stack], **parts.evidence()},
        )

    def _fix(self, optimizers: list[int], called: str, site: Site | None, backward: Site | None) -> str:
        calls = self.run.calls
        where = self.run.line(backward, site)
        clears = [(s, seen) for o in optimizers for s, seen in calls.of(_ZERO_GRAD, o).items()]
        clears = clears or list(calls.of(_ZERO_GRAD, -1).items())
        for stack, seen in clears:
            clearing = self.run.stack_site(stack)
            if clearing is not None:
                return (
                    f"Clear before every backward that begins a new step ({where}): {called} on "
                    f"{self.run.line(clearing, site)} ran only {seen.count:,} "
                    f"time{'s' if seen.count != 1 else ''}, or left these parameters out."
                )
        return f"Call {called} once per step, before the backward on {where}."


def _amount(parts: Parts, run: Run, earlier: int, step: int, inside: int) -> str:
    """The gradient at the first such step, as numbers where they were kept."""
    position, before = run.event(step).position, run.event(earlier).position
    if parts.single is not None:
        whole, stale, fresh = parts.single
        return (
            f"at {position} the gradient of {parts.parameter} is {whole:.6g} = {stale:.6g} (already applied at "
            f"{before}) + {fresh:.6g} (new), and should be {fresh:.6g}"
        )
    if parts.norms is None:
        return f"at {position} it holds {inside} backwards, some of them already applied at {before}"
    whole, stale, fresh = parts.norms
    return (
        f"at {position} the gradient has norm {whole:.4g} and should have {fresh:.4g}; {parts.stale_share:.0%} of it "
        f"is left over from the step at {before}"
    )
