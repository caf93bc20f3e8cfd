"""OT402: a gradient is the first thing that is NaN or Inf."""

from __future__ import annotations

from optrace.checks.finding import Finding
from optrace.checks.non_finite import NonFinite
from optrace.checks.origin import Origin, evidence


class NonFiniteGradient(NonFinite):
    code = "OT402"
    name = "non-finite-gradient"
    severity = "error"
    bug = "A backward gives NaN or Inf gradients though its loss is finite, and a step applies them."
    why = (
        "Some operation has a value where it has no finite derivative (sqrt or norm at 0, a masked log), and one step "
        "carries the NaN into the parameters."
    )
    broken = """\
loss = (output - target).pow(2).sum(dim=1).sqrt().mean()   # the derivative of sqrt at 0 is infinite
loss.backward()
optimizer.step()
"""
    fixed = """\
loss = ((output - target).pow(2).sum(dim=1) + 1e-8).sqrt().mean()
loss.backward()
optimizer.step()
"""

    def found(self, origin: Origin) -> Finding:
        run, event = self.run, self.run.event(origin.seq)
        names = run.names(origin.parameters)
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        loss = f"the loss was {event.loss:.4g}" if event.loss is not None else "the parameters were finite"
        return run.finding(
            self,
            message=f"The gradient of {names[0]}{more} holds NaN or Inf at {event.position}, where {loss}.",
            fix=f"Look before {run.line(event.site)} for an operation without a finite derivative at its input: "
            "sqrt, norm, log or a division at 0, also where its result is masked out.",
            seq=origin.seq,
            last=max(origin.last, run.count - 1),
            parameters=origin.parameters,
            evidence={"loss": event.loss, **evidence(run, origin)},
        )
