"""OT110: a step applies what another optimizer's backward left behind."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from optrace.checks.finding import Finding
from optrace.checks.parts import split_gradients
from optrace.checks.rule import Rule
from optrace.checks.run import Piece, Run
from optrace.checks.seen import Seen
from optrace.ledger.entries import Entry
from optrace.ledger.flow import Flow, last
from optrace.ledger.view import STEP

Array = np.ndarray[Any, Any]


@dataclass
class _Leak:
    """One line's backward reaching the step of an optimizer that it was not for."""

    seen: Seen = field(default_factory=Seen)
    step: int = -1
    oldest: int = -1  # the leftover's backward
    between: int = -1  # the step it was for
    newest: int = -1


class LeftoverOfAnother(Rule):
    code = "OT110"
    name = "leftover-of-another-optimizer"
    severity = "error"
    bug = "A step applies gradients that the backward of another optimizer's loss left in its parameters."
    why = (
        "Two players, one leak: the generator's backward runs through the discriminator and leaves gradients there "
        "that pull it the wrong way. Unless they are cleared, the discriminator's next step applies them."
    )
    broken = """\
discriminator_loss.backward(); d_optimizer.step(); d_optimizer.zero_grad()
generator_loss.backward()      # fills the discriminator's gradients too
g_optimizer.step(); g_optimizer.zero_grad()
"""
    fixed = """\
d_optimizer.zero_grad()        # just before its own backward
discriminator_loss.backward(); d_optimizer.step()
g_optimizer.zero_grad()
generator_loss.backward(); g_optimizer.step()
"""

    def start(self, run: Run) -> None:
        super().start(run)
        self._leaks: dict[tuple[int, int], _Leak] = {}  # chain of the leftover's backward, optimizer
        self._oldest: dict[int, int] = {}  # cohort → backward of its oldest fresh contribution

    def piece(self, piece: Piece) -> None:
        if len(self.run.trace.optimizers) < 2:
            return
        view = piece.view
        steps = np.flatnonzero(view.kind == STEP)
        for flow in piece.flows:
            if flow.cohort.memberships:
                self._look(flow, steps + view.first, view.column("optimizer")[steps])

    def _look(self, flow: Flow, steps: Array, whose: Array) -> None:
        source = flow.source + flow.view.first
        opening = flow.deposit & ((flow.fresh == 0) | (flow.code == Entry.SET))
        oldest = last(opening, source, self._oldest.get(flow.cohort.index, -1))
        openings = np.flatnonzero(opening)
        if len(openings):
            self._oldest[flow.cohort.index] = int(source[openings[-1]])
        at = np.flatnonzero((flow.code == Entry.APPLY) & (flow.fresh >= 2) & (oldest >= flow.view.first))
        if not len(at):
            return
        stacks = self.run.trace.records["stack"]
        newest = flow.last_deposit
        stepped = np.searchsorted(steps, oldest[at], "right") < np.searchsorted(steps, newest[at])
        at = at[stepped & (stacks[oldest[at]] != stacks[newest[at]])]  # two lines' backwards, a step between
        for entry in at.tolist():
            self._weigh(flow, entry, int(oldest[entry]), int(newest[entry]), steps, whose)

    def _weigh(self, flow: Flow, entry: int, oldest: int, newest: int, steps: Array, whose: Array) -> None:
        """Whether the oldest backward was for another optimizer that has stepped and is done."""
        mine = int(flow.optimizer[entry])
        step = int(flow.seq[entry])
        first = int(np.searchsorted(steps, oldest, "right"))
        between, done = int(steps[first]), int(whose[first])
        later = whose[np.searchsorted(steps, newest) : np.searchsorted(steps, step)]
        if done == mine or done in later.tolist() or not self._reached(oldest, done):
            return
        leak = self._leaks.setdefault((int(self.run.trace.records["stack"][oldest]), mine), _Leak())
        known = leak.seen.last == step
        leak.seen.add(np.array([] if known else [step], np.int64), (), ())
        leak.seen.parameters.update(flow.cohort.parameters)
        leak.seen.optimizers.update((mine, done))
        if leak.step < 0:
            leak.step, leak.oldest, leak.between, leak.newest = step, oldest, between, newest

    def _reached(self, backward: int, optimizer: int) -> bool:
        """Whether a backward put something into parameters of an optimizer."""
        held = self.run.cohorts.memberships.held_by(optimizer)
        return any(c.kind == "grad" and c.parameter in held for c in self.run.trace.effect(backward))

    def finish(self) -> Iterable[Finding]:
        run = self.run
        for (_, mine), leak in self._leaks.items():
            site, backward = run.site(leak.step), run.site(leak.oldest)
            other = run.event(leak.between).optimizer
            theirs = run.called(other.id) if other is not None else "another optimizer"
            line = run.line(backward, site)
            parts = split_gradients(run, leak.seen.parameters, leak.step, leak.between, leak.newest)
            share = f" They are {parts.stale_share:.0%} of what it applied first." if parts.norms is not None else ""
            yield run.finding(
                self,
                message=(
                    f"`{run.called(mine)}.step()` applies gradients left by the backward on {line}, which was for "
                    f"`{theirs}`, at {leak.seen.count:,} step{'s' if leak.seen.count > 1 else ''}.{share}"
                ),
                fix=(
                    f"Call `{run.called(mine)}.zero_grad()` before its own backward on "
                    f"{run.line(run.site(leak.newest), site)}, after the one on {line}."
                ),
                seq=leak.step,
                site=site,
                count=leak.seen.count,
                last=leak.seen.last,
                parameters=leak.seen.parameters,
                optimizers=[mine],
                evidence={"steps": leak.seen.count, "leftover_of": theirs, **parts.evidence()},
            )
