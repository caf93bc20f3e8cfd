"""OT206: loaded optimizer state sits on a parameter it does not belong to."""

from __future__ import annotations

from collections.abc import Iterator

from optrace.checks.finding import Finding
from optrace.checks.lives import lives
from optrace.checks.rule import Rule
from optrace.checks.run import Piece, Run
from optrace.trace.format import Op, Storage
from optrace.trace.model import Change

ELEMENTWISE = frozenset(
    {"momentum_buffer", "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "exp_inf", "square_avg", "grad_avg"}
    | {"sum", "acc_delta", "ax", "prev", "step_size"}
)
"""State entries of torch.optim that have the shape of their parameter."""
_PREFIXES = ("module.", "_orig_mod.")


class StateOnWrongParameter(Rule):
    code = "OT206"
    name = "state-on-wrong-parameter"
    severity = "error"
    bug = "load_state_dict put one parameter's optimizer state on another parameter."
    why = (
        "An optimizer's state is kept by position, not by name: made over the parameters in another order, or of "
        "another model, every parameter is moved by somebody else's momentum and scaled by somebody else's moments."
    )
    broken = """\
optimizer = Adam([head.weight, body.weight])        # saved as [body.weight, head.weight]
optimizer.load_state_dict(checkpoint["optimizer"])
"""
    fixed = """\
optimizer = Adam([body.weight, head.weight])        # the order in which it was saved
optimizer.load_state_dict(checkpoint["optimizer"])
"""

    def start(self, run: Run) -> None:
        self.run = run
        self._lives = lives(run)

    def piece(self, piece: Piece) -> None:
        self._lives.feed(piece)

    def finish(self) -> Iterator[Finding]:
        for seq, owner in self._lives.optimizer_loads:
            wrong = self._shapes(seq) or self._names(seq) or self._contents(seq)
            if not wrong:
                continue
            site = self.run.site(seq)
            name = self.run.called(owner)
            parameter, why = next(iter(wrong.items()))
            made = self.run.optimizer(owner).site
            yield self.run.finding(
                self,
                message=f"The state that `{name}` loaded does not belong to its parameters: {why}.",
                fix=f"Make `{name}` on {self.run.line(made, site)} over the same parameters in the same order as the "
                "optimizer that was saved.",
                seq=seq,
                count=len(wrong),
                parameters=wrong,
                optimizers=[owner],
                evidence={"first": self.run.parameter(parameter).name, "why": why},
            )
            return

    def _state(self, seq: int) -> list[Change]:
        return [c for c in self.run.trace.effect(seq) if c.optimizer >= 0 and c.op is not Op.GONE]

    def _shapes(self, seq: int) -> dict[int, str]:
        """Entries that cannot fit their parameter."""
        wrong = {}
        for change in self._state(seq):
            parameter = self.run.parameter(change.parameter)
            base = change.kind.rsplit(".", 1)[-1]
            if base in ELEMENTWISE and change.shape != parameter.shape:
                wrong[parameter.id] = (
                    f"{parameter.name} has shape {_shape(parameter.shape)}, its {base} {_shape(change.shape)}"
                )
        return wrong

    def _names(self, seq: int) -> dict[int, str]:
        """Groups that say by name whose state they carry."""
        wrong = {}
        groups = self.run.trace.groups(seq)
        everybody = {name for group in groups for p in group.parameters for name in self.run.parameter(p).names}
        for group in groups:
            said = group.hyper.get("param_names")
            if not isinstance(said, list) or len(said) != len(group.parameters):
                continue
            for number, name in zip(group.parameters, map(_bare, said), strict=True):
                parameter = self.run.parameter(number)
                if name in everybody and name not in {_bare(known) for known in parameter.names}:
                    wrong[number] = f"{parameter.name} got the state of {name}"
        return wrong

    def _contents(self, seq: int) -> dict[int, str]:
        """State that is bit for bit what another parameter's was, in the same run."""
        paths: dict[int, set[str]] = {}
        for binding in self.run.trace.bindings:
            paths.setdefault(binding.parameter, set()).add(binding.name)
        loaded = {(c.parameter, c.kind): c for c in self._state(seq) if c.storage is Storage.FULL and c.nbytes > 4}
        if not loaded or seq == 0:
            return {}
        known: dict[tuple[str, bytes], set[int]] = {}
        for (number, kind), (event, change) in self.run.trace.written(seq - 1).items():
            if change.optimizer >= 0 and change.storage is Storage.FULL:
                content = self.run.trace.bytes_of(event, change)
                known.setdefault((kind.rsplit(".", 1)[-1], content), set()).add(number)
        wrong = {}
        for (number, kind), change in loaded.items():
            sources = known.get((kind.rsplit(".", 1)[-1], self.run.trace.bytes_of(seq, change)), set())
            mine = paths.get(number, set())
            if sources and mine and all(paths.get(s) and s != number and not paths[s] & mine for s in sources):
                theirs = min(paths[min(sources)])
                wrong[number] = f"{self.run.parameter(number).name} got the {kind} of {theirs}"
        return wrong


def _bare(name: object) -> str:
    text = str(name)
    for prefix in _PREFIXES:
        text = text.removeprefix(prefix)
    return text


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "scalar"
