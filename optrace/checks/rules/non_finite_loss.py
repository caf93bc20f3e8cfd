"""OT401: the loss is the first thing that is NaN or Inf."""

from __future__ import annotations

from optrace.checks.finding import Finding
from optrace.checks.non_finite import NonFinite
from optrace.checks.origin import Origin, evidence, ran_away


class NonFiniteLoss(NonFinite):
    code = "OT401"
    name = "non-finite-loss"
    severity = "error"
    bug = "The loss is NaN or Inf while the parameters were still finite, and a step applied what it gave."
    why = "Its gradients are NaN, one step spreads them to every parameter, and from there on nothing can be learnt."
    broken = """\
loss = -(target * torch.log(prediction)).mean()   # log(0) is -inf
loss.backward()
optimizer.step()
"""
    fixed = """\
loss = -(target * torch.log(prediction.clamp_min(1e-8))).mean()
loss.backward()
optimizer.step()
"""

    def found(self, origin: Origin) -> Finding:
        run, event = self.run, self.run.event(origin.seq)
        many = len(origin.parameters)
        reached = f" and reached {many} parameter{'s' * (many > 1)}" if many else ""
        if ran_away(origin):
            before = f"It had been growing without bound ({origin.losses[-2]:.3g}, {origin.losses[-1]:.3g} just before)"
            fix = (
                f"Lower the learning rate, or clip the gradients after the backward on {run.line(event.site)}: the "
                "training diverged until it overflowed."
            )
        else:
            before = "No loss came before it, and the parameters were finite"
            if origin.losses:
                before = f"It had been finite, {origin.losses[-1]:.4g} just before, and so were the parameters"
            fix = (
                f"Check this batch's inputs and targets for NaN, and the loss before {run.line(event.site)} for log, "
                "sqrt or a division that meets 0."
            )
        return run.finding(
            self,
            message=f"The loss is {event.loss} at {event.position}{reached}. {before}.",
            fix=fix,
            seq=origin.seq,
            count=max(origin.bad_losses, 1),
            last=max(origin.last, run.count - 1),
            parameters=origin.parameters,
            evidence={"loss": str(event.loss), **evidence(run, origin)},
        )
