"""OT103: what backward computed is cleared before any step could use it."""

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
from optrace.ledger.flow import Flow, last
from optrace.trace.format import KIND_CODES, Flag

Array = np.ndarray[Any, Any]
_MUTATION = KIND_CODES["mutation"]


@dataclass
class _Account:
    """What one cohort has lost between two steps of one optimizer."""

    lost: int = 0  # so far
    at_step: int = 0  # of these, before the last step
    last_loss: int = -1  # number of the event that last cleared something unused
    last_kept: int = -1  # newest backward whose contribution was lost


@dataclass
class _Windows:
    """Between two steps that did apply something: how many backwards were lost."""

    every: int = 0
    counts: dict[int, int] = field(default_factory=dict)
    seen: Seen = field(default_factory=Seen)
    clear: int = -1
    backward: int = -1


class ClearedBeforeApplied(Rule):
    code = "OT103"
    name = "cleared-before-applied"
    severity = "error"
    bug = "Gradients are cleared after backward and before step, so the step never sees them."
    why = "The work of the backward is thrown away: the parameters do not move, or only by a part of the batches."
    broken = """\
loss.backward()
optimizer.zero_grad()
optimizer.step()
"""
    fixed = """\
optimizer.zero_grad()
loss.backward()
optimizer.step()
"""

    def start(self, run: Run) -> None:
        super().start(run)
        self._accounts: dict[tuple[int, int], _Account] = {}
        self._empty: dict[int, Seen] = {}  # by chain of the clearing event
        self._windows: dict[tuple[int, int], _Windows] = {}
        self._backward: dict[int, int] = {}  # chain of the clearing event → a lost backward
        self._by_hand = 0

    def piece(self, piece: Piece) -> None:
        view = piece.view
        mutated = (view.kind == _MUTATION) & (view.flags & Flag.BY_HAND != 0)
        self._by_hand += int(np.count_nonzero(mutated))
        steps = piece.steps
        taken, empty = np.zeros(len(view), bool), np.zeros(len(view), bool)
        taken[steps.place] = True
        empty[steps.place[steps.inside == 0]] = True
        clears = np.full(len(view), -1, np.int64)
        for flow in piece.flows:
            lost = np.where(flow.is_(Entry.CLEAR, Entry.ZERO), flow.waiting, 0)
            optimizers = {self.run.cohorts.memberships.optimizer[m] for m in flow.cohort.memberships}
            if not lost.any() and all((flow.cohort.index, o) not in self._accounts for o in optimizers):
                continue
            for optimizer in optimizers:
                account = self._accounts.setdefault((flow.cohort.index, optimizer), _Account())
                mine = flow.is_(Entry.APPLY, Entry.SKIP) & (flow.optimizer == optimizer) & taken[flow.source]
                self._look(flow, optimizer, account, lost, mine, empty, clears)
        stacks = self.run.trace.records["stack"]
        wasted = clears[clears >= 0]
        for stack in np.unique(stacks[wasted]).tolist():
            self._empty[stack].add(wasted[stacks[wasted] == stack])

    def _look(
        self,
        flow: Flow,
        optimizer: int,
        account: _Account,
        lost: Array,
        taken: Array,
        empty: Array,
        clears: Array,
    ) -> None:
        """Follow one cohort and optimizer. Steps left with nothing get their clearing's number in `clears`."""
        total = np.cumsum(lost) - lost + account.lost  # before each entry
        settled = taken | (flow.code == Entry.LOST)  # what a gap's steps found is not known
        since = total - last(settled, total, account.at_step)
        clear = last(lost > 0, flow.seq, account.last_loss)
        kept = last(lost > 0, flow.last_deposit, account.last_kept)
        at = np.flatnonzero(taken & (since > 0))
        nothing = at[empty[flow.source[at]]]
        stacks = self.run.trace.records["stack"]
        clears[flow.source[nothing]] = clear[nothing]
        for stack in np.unique(stacks[clear[nothing]]).tolist():
            mine = nothing[stacks[clear[nothing]] == stack]
            seen = self._empty.setdefault(stack, Seen())
            seen.parameters.update(flow.cohort.parameters)
            seen.optimizers.add(optimizer)
            self._backward.setdefault(stack, int(kept[mine[0]]))
        used = np.flatnonzero(taken & (flow.code == Entry.APPLY) & (flow.fresh > 0))
        windows = self._windows.setdefault((flow.cohort.index, optimizer), _Windows())
        windows.every += len(used)
        some = used[since[used] > 0]
        some = some[stacks[kept[some]] == stacks[flow.last_deposit[some]]]  # lost and used come from one line
        if len(some):
            numbers, counts = np.unique(since[some], return_counts=True)
            for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
                windows.counts[number] = windows.counts.get(number, 0) + count
            if windows.clear < 0:
                windows.clear, windows.backward = int(clear[some[0]]), int(kept[some[0]])
            windows.seen.add(clear[some], flow.cohort.parameters, [optimizer])
        if len(lost):
            account.at_step = int(total[np.flatnonzero(settled)[-1]]) if settled.any() else account.at_step
            account.lost = int(total[-1] + lost[-1])
            where = np.flatnonzero(lost)
            if len(where):
                account.last_loss = int(flow.seq[where[-1]])
                account.last_kept = int(flow.last_deposit[where[-1]])

    def finish(self) -> Iterable[Finding]:
        run = self.run
        for stack, seen in self._empty.items():
            backward, clear = run.site(self._backward[stack]), run.stack_site(stack)
            called = run.called(min(seen.optimizers))
            times = f"at {seen.count:,} steps" if seen.count > 1 else f"at {run.event(seen.first).position}"
            yield run.finding(
                self,
                message=(
                    f"The gradients of the backward on {run.line(backward, clear)} are cleared before "
                    f"`{called}.step()` could apply them: the step found nothing, {times}."
                ),
                fix=(
                    f"Clear before the backward, not after it: move the clearing on {run.line(clear, clear)} up to "
                    f"before {run.line(backward, clear)}, or down to after the step."
                ),
                seq=seen.first,
                site=clear,
                count=seen.count,
                last=seen.last,
                parameters=seen.parameters,
                optimizers=seen.optimizers,
                evidence={"steps_with_nothing": seen.count},
            )
        yield from self._thinned()

    def _thinned(self) -> Iterable[Finding]:
        """Accumulation that clears at every micro-batch: only the last one of each window is left."""
        found: dict[int, tuple[_Windows, int]] = {}
        unowned = any(p.bare and not self.run.cohorts.of(p.id).memberships for p in self.run.trace.parameters.values())
        for windows in self._windows.values():
            if windows.every < 2 or not windows.counts or unowned:
                continue
            lost, times = max(windows.counts.items(), key=lambda item: item[1])
            if times < max(2, 0.9 * windows.every) or self._by_hand >= times:
                continue
            stack = int(self.run.trace.records["stack"][windows.clear])
            known = found.get(stack)
            if known is not None:
                windows.seen.parameters |= known[0].seen.parameters
                windows.seen.optimizers |= known[0].seen.optimizers
            found[stack] = (windows, lost)
        for windows, lost in found.values():
            yield self._thin(windows, lost)

    def _thin(self, windows: _Windows, lost: int) -> Finding:
        run, seen = self.run, windows.seen
        clear, backward = run.site(windows.clear), run.site(windows.backward)
        called, line = run.called(min(seen.optimizers)), run.line(clear, clear)
        return run.finding(
            self,
            message=(
                f"`{called}.step()` comes once for {lost + 1} backwards, but {line} clears the gradients between "
                f"them: {lost} of {lost + 1} are thrown away, and only the last one is applied."
            ),
            fix=f"Clear once per step, not once per backward: move {line} to after `{called}.step()`.",
            seq=seen.first,
            site=clear,
            count=seen.count,
            last=seen.last,
            parameters=seen.parameters,
            optimizers=seen.optimizers,
            evidence={
                "backwards_per_step": lost + 1,
                "lost_per_step": lost,
                "backward": run.line(backward),
            },
        )
