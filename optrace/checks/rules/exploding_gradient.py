"""OT405: gradients and loss leave their usual size behind."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import median

import numpy as np

from optrace.checks.columns import Thinned
from optrace.checks.effects import effects
from optrace.checks.finding import Finding
from optrace.checks.rule import Rule
from optrace.checks.run import Piece, Run
from optrace.checks.values import norm
from optrace.ledger.view import BACKWARD
from optrace.trace.format import Flag

BLOCK = 8
"""Losses of which the median is taken, so that one bad batch is no explosion."""
TIMES = 100.0
"""What counts as orders of magnitude, for the loss and for the gradient's norm."""


class _Line:
    """The losses of one chain of calls."""

    def __init__(self) -> None:
        self.usual = math.inf  # the lowest median of a block so far
        self.rest: tuple[np.ndarray, np.ndarray] = (np.zeros(0, np.int64), np.zeros(0))
        self.above: list[int] = []  # a block that is far above: its backwards
        self.last = (-1, 0.0)  # the newest backward, and its loss
        self.calm = Thinned(8)

    def feed(self, seqs: np.ndarray, losses: np.ndarray) -> None:
        seqs, losses = np.append(self.rest[0], seqs), np.append(self.rest[1], losses)
        self.last = (int(seqs[-1]), float(losses[-1]))
        whole = len(seqs) // BLOCK * BLOCK
        self.rest = (seqs[whole:], losses[whole:])
        if whole:
            self._blocks(seqs[:whole].reshape(-1, BLOCK), losses[:whole].reshape(-1, BLOCK))

    def _blocks(self, seqs: np.ndarray, losses: np.ndarray) -> None:
        middles = np.median(losses, axis=1)
        usual = np.minimum.accumulate(np.append(self.usual, middles))[:-1]
        above = middles > TIMES * np.maximum(usual, 1e-30)
        settled = np.flatnonzero(~above)
        self.usual = float(min(self.usual, middles.min()))
        if len(settled):
            self.above = []
        after = np.flatnonzero(above & (np.arange(len(above)) > (settled[-1] if len(settled) else -1)))
        if not self.above and len(after):
            self.above = seqs[after[0]].tolist()
        if not self.above or len(settled):
            self.calm.add(seqs[settled, 0])


class ExplodingGradient(Rule):
    code = "OT405"
    name = "exploding-gradient"
    severity = "warning"
    bug = "The gradient's norm rises orders of magnitude above what it was, the loss with it, and they stay there."
    why = "Each step overshoots further than the last: the training diverges, and what was learnt is lost."
    broken = """\
optimizer = SGD(model.parameters(), lr=5.0)
for x, y in loader:
    ...
    loss.backward()
    optimizer.step()
"""
    fixed = """\
optimizer = SGD(model.parameters(), lr=0.05)
for x, y in loader:
    ...
    loss.backward()
    clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
"""

    def start(self, run: Run) -> None:
        super().start(run)
        self._lines: dict[int, _Line] = {}

    def piece(self, piece: Piece) -> None:
        view = piece.view
        places = np.flatnonzero((view.kind == BACKWARD) & (view.flags & Flag.LOSS != 0))
        stacks = view.column("stack")[places]
        losses = np.abs(view.column("loss")[places])
        losses = np.where(np.isnan(losses), np.inf, losses)
        for stack in np.unique(stacks).tolist():
            mine = stacks == stack
            self._lines.setdefault(stack, _Line()).feed(view.first + places[mine], losses[mine])

    def finish(self) -> Iterator[Finding]:
        if len(self.run.gaps) and self.run.gaps[-1] == self.run.count - 1:
            return  # whether it came back nobody knows
        for line in self._lines.values():
            if not line.above or not line.calm.kept:
                continue
            usual = median(self._norm(seq) for seq in line.calm.kept)
            newest, loss_now = line.last
            if not loss_now > TIMES * line.usual or self._norm(newest) <= TIMES * usual:
                continue  # it came back in the end
            for seq in line.above:
                found, loss = self._norm(seq), self.run.event(seq).loss
                if loss is None or not abs(loss) > TIMES * line.usual or not found > TIMES * usual > 0:
                    continue
                event = self.run.event(seq)
                yield self.run.finding(
                    self,
                    message=f"The gradient's norm is {found:.3g} at {event.position}, {found / usual:,.0f} times its "
                    f"usual {usual:.3g}, and the loss rose from {line.usual:.3g} to {abs(loss):.3g}; neither comes "
                    "back.",
                    fix="Lower the learning rate, or clip the gradients with clip_grad_norm_ after the backward on "
                    f"{self.run.line(event.site)}.",
                    seq=seq,
                    last=self.run.count - 1,
                    parameters=effects(self.run).deposits.get(event.effect, {}),
                    evidence={"norm": found, "usual_norm": usual, "loss": loss, "usual_loss": line.usual},
                )
                return

    def _norm(self, seq: int) -> float:
        """The norm over all gradients after a backward."""
        trace = self.run.trace
        changes = effects(self.run).deposits.get(int(trace.records["effect"][seq]), {}).values()
        squares = [found**2 for change in changes if not math.isnan(found := norm(trace, seq, change))]
        return math.sqrt(sum(squares))
