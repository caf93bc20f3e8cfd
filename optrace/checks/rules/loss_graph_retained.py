"""OT601: the graphs of past losses stay alive."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from optrace.checks.finding import Finding
from optrace.checks.retention import keeper
from optrace.checks.rule import Rule
from optrace.checks.run import Piece, Run
from optrace.ledger.view import BACKWARD
from optrace.trace.model import Site

LEAST = 10
"""Iterations in a row that each leave a graph more than the one before: a window of a few losses is nobody's leak."""


class LossGraphRetained(Rule):
    code = "OT601"
    name = "loss-graph-retained"
    severity = "warning"
    bug = "Loss tensors are summed or kept with their graphs, so the graph of every past iteration stays alive."
    why = "Memory grows with each iteration, for a number that needs none of it; in a long run the process is killed."
    broken = """\
total_loss = 0.0
for x, y in loader:
    ...
    total_loss += loss
"""
    fixed = """\
total_loss = 0.0
for x, y in loader:
    ...
    total_loss += loss.item()
"""

    def start(self, run: Run) -> None:
        super().start(run)
        self._last = (-1, 0, -1)  # iteration, graphs alive, event of the newest backward
        self._length = 0  # iterations that the growth has lasted
        self._best = (0, -1)  # the longest growth, and the event at which it had lasted long enough
        self._peak = 0
        self._events = 0

    def piece(self, piece: Piece) -> None:
        view = piece.view
        places = np.flatnonzero(view.kind == BACKWARD)
        if not len(places):
            return
        iteration = view.column("iteration")[places].astype(np.int64)
        final = np.append(iteration[1:] != iteration[:-1], True)  # the last backward of each iteration
        iteration, seqs = iteration[final], places[final] + view.first
        alive = view.column("live_graphs")[places[final]].astype(np.int64)
        if self._last[0] != iteration[0] and self._last[0] >= 0:
            iteration = np.append(self._last[0], iteration)
            alive = np.append(self._last[1], alive)
            seqs = np.append(self._last[2], seqs)
        grows = (np.diff(alive) > 0) & (np.diff(np.searchsorted(self.run.gaps, seqs)) == 0)
        stops = np.flatnonzero(~grows)
        at = np.arange(len(grows))
        previous = np.append(-1, stops)[np.searchsorted(stops, at, "left")]
        lengths = np.where(grows, at - previous + np.where(previous < 0, self._length, 0), 0)
        if len(lengths):
            long = np.flatnonzero(lengths >= LEAST)
            if len(long):
                self._events += len(long)
                if self._best[1] < 0:
                    self._best = (0, int(seqs[1 + long[0]]))
                self._best = (max(self._best[0], int(lengths.max())), self._best[1])
                self._peak = max(self._peak, int(alive[1 + long].max()))
            self._length = int(lengths[-1])
        self._last = (int(iteration[-1]), int(alive[-1]), int(seqs[-1]))

    def finish(self) -> Iterator[Finding]:
        length, seq = self._best
        if seq < 0:
            return
        run = self.run
        event = run.event(seq)
        found = keeper(event.stack, run.trace.sources)
        if found is not None:
            site: Site | None = found.site
            who = f"`{found.target}` keeps `{found.kept}` with its graph, so the"
            fix = f"Use `{found.kept}.item()` or `{found.kept}.detach()` for `{found.target}` on {run.line(site)}."
        else:
            site = event.site
            who = "The"
            fix = f"Keep .item() or .detach() of the loss that runs backward on {run.line(site)}, wherever it is kept."
        yield run.finding(
            self,
            message=f"{who} graphs of past losses stay alive, one more each iteration: up to {self._peak:,} at once, "
            f"over {length:,} iterations in a row.",
            fix=fix,
            seq=seq,
            site=site,
            count=self._events,
            last=self._last[2],
            evidence={
                "graphs_alive": self._peak,
                "iterations_in_a_row": length,
                "kept_by": found.target if found else None,
            },
        )
