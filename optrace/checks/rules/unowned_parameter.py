"""OT107: a parameter gets gradients and no optimizer has it."""

from __future__ import annotations

from collections.abc import Iterable

from optrace.checks.finding import Finding
from optrace.checks.rule import Rule
from optrace.checks.run import Piece, Run
from optrace.checks.unowned import Unowned, UnownedDeposits
from optrace.trace.format import KIND_CODES

_STEP, _LOAD = KIND_CODES["step"], KIND_CODES["load_state"]


class UnownedParameter(Rule):
    code = "OT107"
    name = "unowned-parameter"
    severity = "error"
    bug = "A model's parameters receive gradients, and no optimizer holds them."
    why = (
        "They are never trained. Where that is meant (only the head is tuned), the gradients still cost time and "
        "memory, and they pile up, for zero_grad() of an optimizer does not clear them."
    )
    broken = """\
optimizer = torch.optim.Adam(encoder.parameters())   # and the decoder?
loss_function(decoder(encoder(x)), y).backward()
optimizer.step()
"""
    fixed = """\
optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()])
loss_function(decoder(encoder(x)), y).backward()
optimizer.step()
"""

    def start(self, run: Run) -> None:
        super().start(run)
        self._deposits = UnownedDeposits(run)
        self._loaded: set[int] = set()

    def piece(self, piece: Piece) -> None:
        self._deposits.add(piece)
        for place in piece.view.of_kind("load_state").tolist():
            detail = piece.view.details.get(piece.view.first + place, {})
            if detail.get("of") == "module":
                self._loaded.update(detail.get("parameters", ()))

    def finish(self) -> Iterable[Finding]:
        run = self.run
        if not run.calls.of(_STEP):
            return []  # trained by hand, or not at all
        applied = {p for c in run.cohorts.all if run.flows.carry[c.index].applied for p in c.parameters}
        owners = {b.model for b in run.trace.bindings if b.parameter in applied}
        return [self._found(unowned, unowned.model in owners) for unowned in self._deposits.by_model()]

    def _found(self, unowned: Unowned, partly: bool) -> Finding:
        run, seen = self.run, unowned.seen
        optimizer = min(run.trace.optimizers, key=lambda o: (not run.calls.of(_STEP, o.id), o.id))
        site = optimizer.site or run.site(seen.first)
        names = run.names(unowned.parameters)
        shown = run.listed(unowned.parameters)
        called = run.called(optimizer.id)
        model = run.trace.model_by_id(unowned.model) if unowned.model >= 0 else None
        whose = f"`{model.variable}`" if model and model.variable else f"a {model.class_name}" if model else "no model"
        on_purpose = partly or unowned.parameters <= self._loaded
        if on_purpose:
            fix = f"Freeze them (`requires_grad_(False)`) if they are to stay as is; else give them to `{called}`."
        else:
            fix = f"Give the parameters of {whose} to `{called}` on {run.line(site, site)} too, or freeze them."
        return run.finding(
            self,
            message=(
                f"{len(names)} parameter{'s' if len(names) > 1 else ''} of {whose} ({shown}) "
                f"received {seen.count:,} contributions, and no optimizer holds "
                f"{'them' if len(names) > 1 else 'it'}."
            ),
            fix=fix,
            seq=seen.first,
            site=site,
            count=seen.count,
            last=seen.last,
            severity="hint" if on_purpose else "error",
            parameters=unowned.parameters,
            evidence={
                "contributions": seen.count,
                "parameters": len(names),
                "elements": sum(run.parameter(p).numel for p in unowned.parameters),
            },
        )
