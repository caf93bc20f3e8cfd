"""OT404: a parameter's gradient is exactly zero, every time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from optrace.checks.effects import effects, is_zero
from optrace.checks.finding import Finding
from optrace.checks.rule import Rule
from optrace.checks.run import Piece, Run
from optrace.checks.values import norm, stored
from optrace.trace.format import Storage
from optrace.trace.model import Change

ENOUGH = 100  # backwards before the first gap that say something
LEAST = 5
"""Backwards: a gate that starts at zero blocks what lies behind it for the first one or two."""


LOOKS = 256
"""Backwards of one effect that are looked at for a gradient that is not 0: events share effects, not values."""


class ZeroGradient(Rule):
    code = "OT404"
    name = "zero-gradient"
    severity = "warning"
    bug = "A parameter's gradient is exactly 0 in all its elements at every backward."
    why = (
        "It is connected to the loss but learns nothing: a ReLU that is dead for all inputs, rounding or argmax in the "
        "graph, a saturated activation, a loss weight of 0."
    )
    broken = """\
prediction = torch.round(model(x))     # has derivative 0 everywhere
loss_function(prediction, y).backward()
"""
    fixed = """\
prediction = model(x)
loss_function(prediction, y).backward()
"""

    def start(self, run: Run) -> None:
        super().start(run)
        self._first: dict[int, int] = {}  # by effect: the first event that has it
        self._last: dict[int, int] = {}
        self._count: dict[int, int] = {}
        self._early: dict[int, int] = {}  # of these, how many before anything was left out
        self._nothing_lost = True  # all losses so far were 0, or there was none

    def piece(self, piece: Piece) -> None:
        view = piece.view
        brings = effects(self.run).deposits_any
        places = np.flatnonzero(brings[view.effect])
        found, first, count = np.unique(view.effect[places], return_index=True, return_counts=True)
        for effect, at, many in zip(found.tolist(), first.tolist(), count.tolist(), strict=True):
            self._first.setdefault(effect, view.first + int(places[at]))
            self._count[effect] = self._count.get(effect, 0) + many
        early = places[places + view.first < self.run.unbroken]
        for effect, many in zip(*(a.tolist() for a in np.unique(view.effect[early], return_counts=True)), strict=True):
            self._early[effect] = self._early.get(effect, 0) + many
        found, backs = np.unique(view.effect[places][::-1], return_index=True)
        for effect, back in zip(found.tolist(), backs.tolist(), strict=True):
            self._last[effect] = view.first + int(places[len(places) - 1 - back])
        if self._nothing_lost:
            self._nothing_lost = not np.any(view.column("loss")[places] != 0)

    def finish(self) -> Iterator[Finding]:
        if self._nothing_lost:
            return
        run, known = self.run, effects(self.run)
        zero: dict[int, list[int]] = {}  # by parameter: its effects
        alive: set[int] = set()
        doubtful: dict[int, list[int]] = {}
        for effect in self._first:
            for parameter, change in known.deposits[effect].items():
                if is_zero(change):
                    zero.setdefault(parameter, []).append(effect)
                elif change.nbytes and parameter not in alive:
                    # A gradient of -0 is zero too, and its bytes are not: it takes one look to know.
                    if self._any(effect, change):
                        alive.add(parameter)
                    else:
                        doubtful.setdefault(parameter, []).append(effect)
                elif not change.nbytes:
                    alive.add(parameter)
        found: dict[tuple[int, ...], list[int]] = {}
        for parameter in sorted({*zero, *doubtful} - alive):
            mine = (*zero.get(parameter, ()), *doubtful.get(parameter, ()))
            if len(run.gaps) and sum(self._early.get(effect, 0) for effect in mine) < ENOUGH:
                continue  # a gap may hide the backward that brings another
            if sum(self._count[effect] for effect in mine) >= LEAST and run.parameter(parameter).numel:
                found.setdefault(tuple(sorted(mine)), []).append(parameter)
        if not found:
            return
        parameters = sorted({p for group in found.values() for p in group})
        effects_of = max(found, key=lambda mine: sum(self._count[effect] for effect in mine))
        first = min(self._first[effect] for effect in effects_of)
        count = sum(self._count[effect] for effect in effects_of)
        names, site = run.names(parameters), run.site(first)
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        yield run.finding(
            self,
            message=f"The gradient of {names[0]}{more} was exactly 0 at every one of {count:,} backwards.",
            fix=f"Look at the forward before {run.line(site)}: what stands between these parameters and the loss has "
            "derivative 0 (a dead ReLU, round, argmax, a saturated or detached path).",
            seq=first,
            count=count,
            last=max(self._last[effect] for effect in effects_of),
            parameters=parameters,
            evidence={"backwards": count},
        )

    def _any(self, effect: int, change: Change) -> bool:
        """Whether one of the gradients that events with this effect brought is not 0, as far as it was looked."""
        first, trace = self._first[effect], self.run.trace
        events = first + np.flatnonzero(trace.column("effect")[first : self._last[effect] + 1] == effect)
        for seq in events[np.linspace(0, len(events) - 1, min(LOOKS, len(events))).astype(int)].tolist():
            if change.storage is Storage.SAMPLE:  # its norm is of all elements
                if norm(trace, seq, change) != 0:
                    return True
                continue
            values = stored(trace, seq, change)
            if values is None or values.any():
                return True
        return False
