"""OT205: an optimizer is made again over parameters whose old optimizer had state."""

from __future__ import annotations

from collections.abc import Iterator

from optrace.checks.effects import effects
from optrace.checks.finding import Finding
from optrace.checks.lives import Lives, lives
from optrace.checks.rule import Rule
from optrace.checks.run import Piece, Run


class OptimizerRecreated(Rule):
    code = "OT205"
    name = "optimizer-recreated"
    severity = "warning"
    bug = "The optimizer is made again during training, over the same parameters."
    why = (
        "Momentum, Adam's moments and step counts start again from nothing: the first steps of every round are badly "
        "scaled, and a schedule tied to the old optimizer moves nothing."
    )
    broken = """\
for epoch in range(epochs):
    optimizer = Adam(model.parameters(), lr=1e-3)
    for x, y in loader:
        ...
        optimizer.step()
"""
    fixed = """\
optimizer = Adam(model.parameters(), lr=1e-3)
for epoch in range(epochs):
    for x, y in loader:
        ...
        optimizer.step()
"""

    def start(self, run: Run) -> None:
        self.run = run
        self._lives = lives(run)

    def piece(self, piece: Piece) -> None:
        self._lives.feed(piece)

    def finish(self) -> Iterator[Finding]:
        found: dict[tuple[str | None, int | None], list[tuple[int, int]]] = {}
        for place, new in enumerate(self.run.trace.optimizers):
            old = self._replaced(place, new.id)
            if old is not None:
                site = new.site
                found.setdefault((site.file, site.line) if site else (None, None), []).append((old, new.id))
        for pairs in found.values():
            yield self._finding(pairs)

    def _replaced(self, place: int, new: int) -> int | None:
        """The optimizer whose parameters and work this one, `place` among all, takes over, where that loses state."""
        optimizers, stateful = self.run.trace.optimizers, effects(self.run).stateful
        mine: Lives = self._lives
        if new not in mine.first_step or mine.loaded_before_first_step(self.run, new):
            return None
        held = self.run.cohorts.memberships.held_by(new)
        for old in map(optimizers.__getitem__, range(place - 1, -1, -1)):
            if (
                old.class_name == optimizers[place].class_name
                and stateful.get(old.id)
                and mine.last_step.get(old.id, self.run.count) < mine.first_step[new]
                and 2 * len(held & self.run.cohorts.memberships.held_by(old.id)) >= max(len(held), 1)
            ):
                return old.id
        return None

    def _finding(self, pairs: list[tuple[int, int]]) -> Finding:
        old, new = pairs[0]
        first, before = self.run.optimizer(new), self.run.optimizer(old)
        same_line = first.site is not None and first.site == before.site
        seq = self._lives.first_step[new]
        lost = sorted(effects(self.run).stateful[old])
        name = self.run.called(new)
        again = "once" if len(pairs) == 1 else f"{len(pairs)} times"
        return self.run.finding(
            self,
            message=f"`{name}` ({first.class_name}) was made again {again} over parameters it had been training: "
            f"{', '.join(lost)} started again from nothing.",
            fix=f"Make `{name}` once, before the loop, rather than on {self.run.line(first.site)} each time round.",
            seq=seq,
            site=first.site,
            count=len(pairs),
            last=self._lives.first_step[pairs[-1][1]],
            severity="warning" if same_line else "hint",
            parameters=self.run.cohorts.memberships.held_by(new),
            optimizers=[o for pair in pairs for o in pair],
            evidence={"lost": lost, "steps_before": self._lives.steps[old]},
        )
