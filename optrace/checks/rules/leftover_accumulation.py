"""OT106: the last, incomplete accumulation window is never applied."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from optrace.checks.finding import Finding
from optrace.checks.rule import Rule
from optrace.checks.run import Piece, Run
from optrace.checks.seen import Seen
from optrace.ledger.entries import Entry
from optrace.ledger.flow import Flow

Array = np.ndarray[Any, Any]


@dataclass
class _Window:
    """How one cohort accumulates."""

    sizes: dict[int, int] = field(default_factory=dict)  # backwards applied at once → how often
    lines: set[int] = field(default_factory=set)  # chains of the newest backward at each step
    optimizer: int = -1
    dropped: dict[int, int] = field(default_factory=dict)  # backwards cleared unapplied → how often
    seen: Seen = field(default_factory=Seen)  # clearings that dropped some


class LeftoverAccumulation(Rule):
    code = "OT106"
    name = "leftover-accumulation"
    severity = "warning"
    bug = "The batches do not divide into whole accumulation windows, and the rest is never applied."
    why = "The gradients of the last batches of every epoch, always the same number, are computed and thrown away."
    broken = """\
for i, (x, y) in enumerate(batches):   # 10 batches
    loss_function(model(x), y).backward()
    if (i + 1) % 4 == 0:               # steps after 4 and 8
        optimizer.step()
        optimizer.zero_grad()
"""
    fixed = """\
for i, (x, y) in enumerate(batches):
    loss_function(model(x), y).backward()
    if (i + 1) % 4 == 0 or i + 1 == len(batches):
        optimizer.step()
        optimizer.zero_grad()
"""

    def start(self, run: Run) -> None:
        super().start(run)
        self._windows: dict[int, _Window] = {}

    def piece(self, piece: Piece) -> None:
        for flow in piece.flows:
            if flow.cohort.memberships:
                self._look(flow, self._windows.setdefault(flow.cohort.index, _Window()))

    def _look(self, flow: Flow, window: _Window) -> None:
        stacks = self.run.trace.records["stack"]
        fresh = flow.fresh
        applied = np.flatnonzero((flow.code == Entry.APPLY) & (fresh > 0))
        if len(applied):
            sizes, counts = np.unique(fresh[applied], return_counts=True)
            for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
                window.sizes[size] = window.sizes.get(size, 0) + count
            window.lines.update(np.unique(stacks[flow.last_deposit[applied]]).tolist())
            window.optimizer = int(flow.optimizer[applied[-1]])
        dropped = np.flatnonzero(flow.is_(Entry.CLEAR, Entry.ZERO) & (flow.waiting > 0))
        if not len(dropped):
            return
        newest = flow.last_deposit[dropped]
        ours = np.isin(stacks[newest], list(window.lines))  # a backward of another player is none of ours
        ours &= np.isfinite(self.run.trace.records["loss"][newest])  # a bad batch, left out on purpose
        dropped = dropped[ours]
        window.seen.add(flow.seq[dropped])
        for size in flow.waiting[dropped].tolist():
            window.dropped[size] = window.dropped.get(size, 0) + 1

    def finish(self) -> Iterable[Finding]:
        run = self.run
        found: dict[tuple[int, int, int], tuple[int, int, Seen]] = {}
        for index, window in self._windows.items():
            every = self._every(window)
            if every is None:
                continue
            left = max(window.dropped, key=lambda size: window.dropped[size], default=0)
            seen = window.seen
            if not 0 < left < every or len(window.dropped) > 1:
                carry = run.flows.carry[index]
                left = carry.waiting
                last = carry.last_deposit
                ours = last >= 0 and int(run.trace.records["stack"][last]) in window.lines
                if not 0 < left < every or window.dropped or not run.ended_well or not ours:
                    continue
                seen = Seen(1, last, last)
            known = found.setdefault((window.optimizer, every, left), (every, left, seen))
            known[2].parameters.update(run.cohorts.all[index].parameters)
            known[2].optimizers.add(window.optimizer)
        return [self._found(*each) for each in found.values()]

    @staticmethod
    def _every(window: _Window) -> int | None:
        """How many backwards come to a step, where that is steady and more than one."""
        steps = sum(window.sizes.values())
        size = max(window.sizes, key=lambda s: window.sizes[s], default=0)
        if size < 2 or steps < 2 or window.sizes[size] < 0.6 * steps:
            return None
        return size

    def _found(self, every: int, left: int, seen: Seen) -> Finding:
        run = self.run
        site = run.site(seen.first)
        called = run.called(min(seen.optimizers))
        cleared = run.event(seen.first).kind != "backward"
        if cleared:
            what = f"{run.line(site, site)} clears {left} of {every} before they are applied"
            what += f", {seen.count:,} times" if seen.count > 1 else ""
        else:
            what = f"the last {left} of {every} are still pending at the end, and are never applied"
        return run.finding(
            self,
            message=f"`{called}.step()` comes every {every} backwards; {what}.",
            fix=f"Step also after the last batch, when fewer than {every} backwards are in, or use a number of batches "
            f"that {every} divides.",
            seq=seen.first,
            site=site,
            count=seen.count,
            last=seen.last,
            parameters=seen.parameters,
            optimizers=seen.optimizers,
            evidence={"backwards_per_step": every, "left_over": left, "times": seen.count},
        )
