"""OT502: the tensor behind a parameter's name is no longer the one the optimizer took."""

from __future__ import annotations

import re
from collections.abc import Iterator

from optrace.checks.finding import Finding
from optrace.checks.lives import lives
from optrace.checks.rule import Rule
from optrace.checks.run import Piece, Run
from optrace.trace.model import Binding

_PARAMETRIZED = re.compile(r"parametrizations\.(\w+)\.original\d*$")


class ParameterReplaced(Rule):
    code = "OT502"
    name = "parameter-replaced"
    severity = "error"
    bug = "A layer or a parameter of the model is replaced after the optimizer took the old one."
    why = (
        "The optimizer goes on holding a tensor that the model no longer uses; the new one gets gradients and "
        "never moves."
    )
    broken = """\
optimizer = Adam(model.parameters())
model.head = nn.Linear(512, 10)
"""
    fixed = """\
model.head = nn.Linear(512, 10)
optimizer = Adam(model.parameters())
"""

    def start(self, run: Run) -> None:
        super().start(run)
        self._lives = lives(run)

    def piece(self, piece: Piece) -> None:
        self._lives.feed(piece)

    def finish(self) -> Iterator[Finding]:
        run = self.run
        held = {o: run.cohorts.memberships.held_by(o) for o in self._lives.steps if o >= 0}
        owned = frozenset().union(*held.values())
        strays = [b for b in run.trace.bindings if b.parameter not in owned and self._deposits(b.parameter)]
        if not strays:
            return
        for owner, mine in held.items():
            # Before its next step, another optimizer may be made that holds the new ones.
            missed = [b for b in strays if b.event <= self._lives.last_step[owner]]
            found = self._seen_to_change(missed, mine) or self._changed_before(missed, mine)
            if found:
                yield self._finding(owner, found)
                return

    def _deposits(self, parameter: int) -> int:
        return self.run.flows.carry[self.run.cohorts.of(parameter).index].deposits

    def _seen_to_change(self, strays: list[Binding], held: frozenset[int]) -> list[Binding]:
        """Names that stood for a parameter of the optimizer, and now stand for another."""
        found = []
        bindings = self.run.trace.bindings  # in the order they were made
        for stray in strays:
            former = [
                b.parameter
                for b in bindings[: bindings.index(stray)]
                if (b.model, b.name) == (stray.model, _name(stray))
            ]
            if former and former[-1] in held:
                found.append(stray)
        return found

    def _changed_before(self, strays: list[Binding], held: frozenset[int]) -> list[Binding]:
        """Replaced before the first event: the optimizer holds tensors that are in no model and get no gradient."""
        lost = [p for p in held if self.run.parameter(p).bare and not self._deposits(p)]
        if not lost:
            return []
        partly = {b.model for b in self.run.trace.bindings if b.parameter in held}
        return [stray for stray in strays if stray.model in partly]

    def _finding(self, owner: int, found: list[Binding]) -> Finding:
        run = self.run
        first = min(found, key=lambda b: b.event)
        flow = run.flows.carry[run.cohorts.of(first.parameter).index]
        name, made = run.called(owner), run.optimizer(owner).site
        others = len({_name(b) for b in found}) - 1
        more = f" and {others} more" if others else ""
        seq = self._first_step(owner, first.event)
        return run.finding(
            self,
            message=f"{_name(first)}{more} of the model was replaced after `{name}` was made: `{name}` holds the old "
            f"tensor, and the new one got {flow.deposits:,} gradients that nobody applied.",
            fix=f"Make `{name}` on {run.line(made)} after the replacement, or give it the new parameters with "
            "add_param_group().",
            seq=seq,
            site=made,
            count=flow.deposits,
            last=run.count - 1,
            parameters=sorted({b.parameter for b in found}),
            optimizers=[owner],
            evidence={"names": sorted({_name(b) for b in found}), "gradients": flow.deposits},
        )

    def _first_step(self, owner: int, event: int) -> int:
        """The optimizer's first step after the replacement."""
        for number in range(event, min(event + 256, self.run.count)):
            known = self.run.event(number)
            if known.kind == "step" and known.optimizer is not None and known.optimizer.id == owner:
                return number
        return self._lives.first_step[owner]


def _name(binding: Binding) -> str:
    """The name in the model; what a parametrization computes a parameter from goes by that parameter's name."""
    return _PARAMETRIZED.sub(r"\1", binding.name)
