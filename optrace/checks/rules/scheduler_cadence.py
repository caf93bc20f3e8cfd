"""OT202: a schedule that ran through in a small part of the run."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np

from optrace.checks.columns import Thinned
from optrace.checks.finding import Finding
from optrace.checks.rule import Rule
from optrace.checks.run import Piece, Run
from optrace.ledger.view import STEP
from optrace.trace.format import KIND_CODES

_SCHEDULER = KIND_CODES["scheduler_step"]
LEAST_STEPS = 20
SPENT = 0.01
"""Below this share of its peak, a learning rate has run out."""
EARLY = 0.3
"""In this part of the run."""
ROUNDS = 3
"""A cosine without restarts that goes up and down this often was given another horizon than it has."""


class SchedulerCadence(Rule):
    code = "OT202"
    name = "scheduler-cadence"
    severity = "hint"
    bug = "The scheduler is stepped once per batch, and its horizon counts epochs."
    why = (
        "The learning rate is spent within the first epochs and the rest of the training hardly moves, or a cosine "
        "swings up and down where it should fall once."
    )
    broken = """\
scheduler = CosineAnnealingLR(optimizer, T_max=epochs)
for epoch in range(epochs):
    for x, y in loader:
        ...
        optimizer.step()
        scheduler.step()
"""
    fixed = """\
scheduler = CosineAnnealingLR(optimizer, T_max=epochs * len(loader))
for epoch in range(epochs):
    for x, y in loader:
        ...
        optimizer.step()
        scheduler.step()
"""

    def start(self, run: Run) -> None:
        self.run = run
        self._steps: dict[int, Thinned] = {}
        self._scheduled: dict[int, tuple[int, int]] = {}  # by optimizer: first event, how many

    def piece(self, piece: Piece) -> None:
        view = piece.view
        optimizer = view.column("optimizer")
        places = np.flatnonzero(view.kind == _SCHEDULER)
        if not len(places) and not self._scheduled:
            return
        for owner in np.unique(optimizer[places]).tolist():
            mine = places[optimizer[places] == owner]
            first, count = self._scheduled.get(owner, (view.first + int(mine[0]), 0))
            self._scheduled[owner] = (first, count + len(mine))
        steps = np.flatnonzero(view.kind == STEP)
        for owner in self._scheduled:
            self._steps.setdefault(owner, Thinned(48)).add(view.first + steps[optimizer[steps] == owner])

    def finish(self) -> Iterator[Finding]:
        for owner, (first, count) in self._scheduled.items():
            steps = self._steps[owner]
            if owner < 0 or steps.seen < LEAST_STEPS or count < 3:
                continue
            event = self.run.event(first)
            scheduler = str(event.detail.get("scheduler", "the scheduler"))
            settings = event.detail.get("settings", {})
            horizon = settings.get("T_max") if isinstance(settings, dict) else None
            fix = (
                f"Step it once per epoch, or give {scheduler} its horizon in the unit that {self.run.line(event.site)} "
                "steps it in."
            )
            if scheduler == "CosineAnnealingLR" and isinstance(horizon, (int, float)) and count > ROUNDS * horizon > 0:
                yield self.run.finding(
                    self,
                    message=f"{scheduler} with T_max={horizon:g} was stepped {count} times: the learning rate went "
                    f"down and up {count / (2 * horizon):.3g} times where it should fall once.",
                    fix=fix,
                    seq=first,
                    count=count,
                    optimizers=[owner],
                    evidence={"T_max": horizon, "scheduler_steps": count, "optimizer_steps": steps.seen},
                )
                continue
            if len(self.run.gaps):
                continue  # the steps that were recorded are not spread evenly over the run
            rates = np.array([_rate(self.run, seq) for seq in steps.kept])
            low = ~(rates >= SPENT * rates.max())
            spent = len(low) - int(np.argmin(low[::-1])) if not low.all() else 0
            if spent < EARLY * len(low):
                at = self.run.event(steps.kept[spent])
                yield self.run.finding(
                    self,
                    message=f"{scheduler} brought the learning rate of `{self.run.called(owner)}` from "
                    f"{rates.max():.3g} to "
                    f"{rates[spent]:.3g} in the first {spent / len(low):.0%} of {steps.seen} steps, and it stays "
                    "below 1% of its peak from there on.",
                    fix=fix,
                    seq=first,
                    count=count,
                    optimizers=[owner],
                    evidence={
                        "peak": float(rates.max()),
                        "spent_at": str(at.position),
                        "scheduler_steps": count,
                        "optimizer_steps": steps.seen,
                    },
                )


def _rate(run: Run, step: int) -> float:
    """The highest learning rate of a step's groups."""
    rates = [group.hyper.get("lr") for group in run.trace.groups(step)]
    known = [rate for rate in rates if isinstance(rate, (int, float)) and abs(rate) <= sys.float_info.max]
    return float(max(known, default=float("nan")))
