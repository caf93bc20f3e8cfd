"""OT602: a model is trained on in eval mode after validation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from optrace.checks.effects import effects
from optrace.checks.finding import Finding
from optrace.checks.rule import Rule
from optrace.checks.run import Piece, Run
from optrace.ledger.view import BACKWARD, STEP
from optrace.trace.format import Flag

LEAST = 3
"""Steps in eval: an attack on the inputs or a look at gradients is no training."""


class StuckInEval(Rule):
    code = "OT602"
    name = "stuck-in-eval"
    severity = "warning"
    bug = "The model is put into eval mode for validation and trained on without train()."
    why = (
        "From then on Dropout does nothing and BatchNorm uses fixed statistics that no longer follow the weights: the "
        "network that is trained is another one, and nothing says so."
    )
    broken = """\
for epoch in range(epochs):
    for x, y in loader:
        ...
    model.eval()
    validate(model)
"""
    fixed = """\
for epoch in range(epochs):
    model.train()
    for x, y in loader:
        ...
    model.eval()
    validate(model)
"""

    def start(self, run: Run) -> None:
        super().start(run)
        self._parameters: dict[int, frozenset[int]] = {}
        for binding in run.trace.bindings:
            self._parameters[binding.model] = self._parameters.get(binding.model, frozenset()) | {binding.parameter}
        self._changes: dict[int, list[tuple[int, bool]]] = {}
        self._sensitive: dict[int, list[str]] = {}
        for seq, detail in run.trace.details_with("training"):
            if seq >= run.count:
                continue
            for model, training in detail["training"].items():
                self._changes.setdefault(int(model), []).append((seq, bool(training)))
            for model, names in detail.get("mode_sensitive", {}).items():
                self._sensitive[int(model)] = names
        # By model: backwards in training before it went into eval; of each stretch in eval, backwards and steps.
        self._trained: set[int] = set()
        self._stretches: dict[int, dict[int, list[int]]] = {}

    def piece(self, piece: Piece) -> None:
        if not self._changes:
            return
        view, known = piece.view, effects(self.run)
        backward = np.flatnonzero((view.kind == BACKWARD) & known.deposits_any[view.effect])
        done = (view.kind == STEP) & (view.flags & (Flag.SKIPPED | Flag.FAILED) == 0)
        step = np.flatnonzero(done & known.moves_any[view.effect])
        reached = {e: frozenset(known.deposits[e]) for e in np.unique(view.effect[backward]).tolist()}
        moved = {e: known.moves(e) for e in np.unique(view.effect[step]).tolist()}
        for model, changes in self._changes.items():
            mine = self._parameters.get(model, frozenset())
            trains = view.first + backward[[bool(mine & reached[e]) for e in view.effect[backward].tolist()]]
            steps = view.first + step[[bool(mine & moved[e]) for e in view.effect[step].tolist()]]
            for start, stop, training in self._spans(changes):
                if stop <= view.first or start >= view.stop:
                    continue
                inside = trains[(trains >= start) & (trains < stop)]
                if training:
                    if len(inside):
                        self._trained.add(model)
                    continue
                if model not in self._trained or not len(inside):
                    continue
                entry = self._stretches.setdefault(model, {}).setdefault(start, [int(inside[0]), 0, 0, 0])
                entry[1] = int(inside[-1])
                entry[2] += len(inside)
                entry[3] += int(np.count_nonzero((steps >= start) & (steps < stop)))

    def _spans(self, changes: list[tuple[int, bool]]) -> list[tuple[int, int, bool]]:
        """From which event up to which one the model was in which mode."""
        edges = [(0, True), *changes]
        stops = [seq for seq, _ in changes] + [self.run.count]
        return [(start, stop, training) for (start, training), stop in zip(edges, stops, strict=True)]

    def finish(self) -> Iterator[Finding]:
        run = self.run
        for model, stretches in self._stretches.items():
            stuck = [entry for entry in stretches.values() if entry[3] >= LEAST]
            if not stuck:
                continue
            first, count = stuck[0][0], sum(entry[2] for entry in stuck)
            known = run.trace.model_by_id(model)
            name = known.variable or known.class_name
            layers = self._sensitive.get(model)
            site = run.site(first)
            what = f": {', '.join(layers)} in it work as in evaluation" if layers else ""
            yield run.finding(
                self,
                message=f"`{name}` is trained in eval mode from {run.event(first).position} on, at {count:,} "
                "backwards, after it "
                f"had been in training mode{what}.",
                fix=f"Call `{name}.train()` before the loop around {run.line(site)} begins again after validation.",
                seq=first,
                count=count,
                last=stuck[-1][1],
                severity="hint" if layers == [] else "warning",
                parameters=self._parameters.get(model, ()),
                evidence={"backwards_in_eval": count, "layers": layers or []},
            )
