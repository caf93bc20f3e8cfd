"""OT204: a parameter moves though no backward reached it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from optrace.checks.effects import effects
from optrace.checks.finding import Finding
from optrace.checks.rule import Rule
from optrace.checks.run import Piece, Run
from optrace.ledger.entries import Entry


class MovedWithoutGradient(Rule):
    code = "OT204"
    name = "moved-without-gradient"
    severity = "warning"
    bug = "A parameter that no backward reached is moved by the step, because its gradient is zeros and not None."
    why = (
        "For an optimizer zeros are a gradient: momentum, Adam's moments and weight decay go on moving the parameter. "
        "With None it is left alone."
    )
    broken = """\
optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
for x, y, task in loader:
    optimizer.zero_grad(set_to_none=False)
    loss_function(model(x, task), y).backward()
    optimizer.step()
"""
    fixed = """\
optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
for x, y, task in loader:
    optimizer.zero_grad()
    loss_function(model(x, task), y).backward()
    optimizer.step()
"""

    def start(self, run: Run) -> None:
        self.run = run
        self._zeros: dict[int, tuple[bool, int]] = {}  # by cohort: whether zeros are there, and since which event
        self._moved: dict[int, list[int]] = {}  # by optimizer: first, last, how many steps, cleared at
        self._parameters: dict[int, set[int]] = {}

    def piece(self, piece: Piece) -> None:
        for flow in piece.flows:
            were, since = self._zeros.get(flow.cohort.index, (False, -1))
            zero = flow.code == Entry.ZERO
            if not were and not zero.any():
                continue
            endings = np.flatnonzero(flow.ending)
            before = np.searchsorted(endings, np.arange(len(flow.code))) - 1
            are = np.append(zero[endings], were)[before]
            at = np.append(flow.seq[endings], since)[before]
            if len(endings):
                self._zeros[flow.cohort.index] = (bool(zero[endings[-1]]), int(flow.seq[endings[-1]]))
            idle = np.flatnonzero((flow.code == Entry.APPLY) & (flow.inside == 0) & are)
            if len(idle):
                self._look(piece, flow.cohort.parameters, flow.optimizer[idle], flow.source[idle], at[idle])

    def _look(
        self, piece: Piece, parameters: tuple[int, ...], optimizer: np.ndarray, place: np.ndarray, cleared: np.ndarray
    ) -> None:
        """Of steps that found zeros: those that moved the parameters."""
        known = effects(self.run)
        effect = piece.view.effect[place]
        for number in np.unique(effect).tolist():
            moved = known.moves(number).intersection(parameters)
            if not moved:
                continue
            for owner in np.unique(optimizer[effect == number]).tolist():
                mine = np.flatnonzero((effect == number) & (optimizer == owner))
                first = piece.view.first + int(place[mine[0]])
                entry = self._moved.setdefault(owner, [first, first, 0, int(cleared[mine[0]])])
                if first < entry[0]:
                    entry[0], entry[3] = first, int(cleared[mine[0]])
                entry[1] = max(entry[1], piece.view.first + int(place[mine[-1]]))
                entry[2] += len(mine)
                self._parameters.setdefault(owner, set()).update(moved)

    def finish(self) -> Iterator[Finding]:
        for owner, (first, last, count, cleared) in self._moved.items():
            parameters = self._parameters[owner]
            name = self.run.called(owner)
            site = self.run.site(first)
            which = self.run.names(parameters)
            many = f"{which[0]} and {len(which) - 1} more" if len(which) > 1 else which[0]
            where = self.run.line(self.run.site(cleared), site) if cleared >= 0 else "where they are cleared"
            yield self.run.finding(
                self,
                message=f"`{name}.step()` moved {many} with a gradient of zeros that no backward had added to: "
                "momentum or "
                "weight decay did it.",
                fix=f"Clear to None on {where}: zero_grad() without set_to_none=False, or p.grad = None.",
                seq=first,
                count=count,
                last=last,
                parameters=parameters,
                optimizers=[owner],
                evidence={"cleared_at": str(self.run.event(cleared).position) if cleared >= 0 else None},
            )
