"""OT201: the learning rate moves before the first step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from optrace.checks.finding import Finding
from optrace.checks.rule import Rule
from optrace.checks.run import Piece, Run
from optrace.ledger.view import BACKWARD, STEP
from optrace.trace.format import KIND_CODES

_SCHEDULER = KIND_CODES["scheduler_step"]
_FEW = 64


class SchedulerBeforeStep(Rule):
    code = "OT201"
    name = "scheduler-before-step"
    severity = "warning"
    bug = "The scheduler is stepped before the optimizer's first step."
    why = (
        "The first value of the schedule is never used: every step trains at the learning rate that belongs to the "
        "one after it, and a warm-up or a first plateau is cut short."
    )
    broken = """\
for epoch in range(epochs):
    scheduler.step()
    for x, y in loader:
        optimizer.zero_grad()
        loss_function(model(x), y).backward()
        optimizer.step()
"""
    fixed = """\
for epoch in range(epochs):
    for x, y in loader:
        optimizer.zero_grad()
        loss_function(model(x), y).backward()
        optimizer.step()
    scheduler.step()
"""

    def start(self, run: Run) -> None:
        self.run = run
        self._stepped: dict[int, int] = {}
        self._early: dict[int, list[int]] = {}
        self._backward = -1

    def piece(self, piece: Piece) -> None:
        view = piece.view
        if self._backward < 0:
            backwards = np.flatnonzero(view.kind == BACKWARD)
            if len(backwards):
                self._backward = view.first + int(backwards[0])
        optimizer = view.column("optimizer")
        steps = np.flatnonzero(view.kind == STEP)
        owners, firsts = np.unique(optimizer[steps], return_index=True)
        first = {int(o): view.first + int(steps[i]) for o, i in zip(owners, firsts, strict=True)}
        places = np.flatnonzero(view.kind == _SCHEDULER)
        for owner in np.unique(optimizer[places]).tolist():
            if owner in self._stepped:
                continue
            seqs = view.first + places[optimizer[places] == owner]
            known = self._early.setdefault(owner, [])
            known += seqs[seqs < first.get(owner, view.stop)][: _FEW - len(known)].tolist()
        for owner, seq in first.items():
            self._stepped.setdefault(owner, seq)

    def finish(self) -> Iterator[Finding]:
        for owner, seqs in self._early.items():
            # A step in a gap may have come first.
            if owner >= 0 and owner in self._stepped and not self.run.gap_between(0, self._stepped[owner]):
                yield from self._judge(owner, seqs)

    def _judge(self, owner: int, seqs: list[int]) -> Iterator[Finding]:
        events = [self.run.event(seq) for seq in seqs]
        moved = [e for e in events if e.detail.get("lr_before", []) != e.detail.get("lr_after", [])]
        if not moved:
            return
        before_training = [e.detail.get("id") for e in moved if e.seq < self._backward]
        if any(before_training.count(number) > 1 for number in before_training):
            return  # brought to where a resumed run stands
        first = moved[0]
        step = self.run.site(self._stepped[owner])
        name, where = self.run.called(owner), self.run.line(step, first.site)
        what = "the scheduler's step" if where == self.run.line(first.site) else self.run.line(first.site)
        before, after = first.detail.get("lr_before", []), first.detail.get("lr_after", [])
        yield self.run.finding(
            self,
            message=f"The schedule moved the learning rate of `{name}` from {_shown(before)} to {_shown(after)} "
            "before its "
            f"first step, so {_shown(before)} is never used.",
            fix=f"Move {what} after `{name}.step()` on {where}.",
            seq=first.seq,
            count=len(moved),
            last=moved[-1].seq,
            optimizers=[owner],
            evidence={
                "lr_before": before,
                "lr_after": after,
                "first_step": str(self.run.event(self._stepped[owner]).position),
            },
        )


def _shown(rates: list[Any]) -> str:
    return ", ".join(dict.fromkeys(f"{rate:.6g}" if isinstance(rate, float) else str(rate) for rate in rates))
