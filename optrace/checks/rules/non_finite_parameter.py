"""OT403: a parameter is the first thing that is NaN or Inf."""

from __future__ import annotations

from optrace.checks.finding import Finding
from optrace.checks.non_finite import NonFinite
from optrace.checks.origin import Origin, evidence


class NonFiniteParameter(NonFinite):
    code = "OT403"
    name = "non-finite-parameter"
    severity = "error"
    bug = "A parameter becomes NaN or Inf though its gradient was finite."
    why = (
        "The update itself overflowed or divided by zero: a learning rate that is infinite, an epsilon of 0, or a "
        "weight beyond what its dtype can hold. Every loss after it is NaN."
    )
    broken = """\
optimizer = Adam(model.parameters(), eps=0)   # 0 / 0 where a gradient is 0
"""
    fixed = """\
optimizer = Adam(model.parameters())
"""

    def found(self, origin: Origin) -> Finding:
        run, event = self.run, self.run.event(origin.seq)
        names = run.names(origin.parameters)
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        hyper = [dict(group.hyper) for group in run.trace.groups(event)]
        rates = [group.get("lr") for group in hyper]
        message = "{what} made {names} NaN or Inf at {position}, with finite gradients."
        if origin.found:
            message = "{names} held NaN or Inf already when first seen, at {position}."
            what, fix = "", f"Check what it was made or loaded from, before {run.line(event.site)}."
        elif event.kind == "step":
            what = f"`{run.called(event.optimizer.id)}.step()`" if event.optimizer else "The step"
            eps = [group["eps"] for group in hyper if "eps" in group]
            shown = f" (lr {_listed(rates)}" + (f", eps {_listed(eps)})" if eps else ")")
            fix = f"Check the hyperparameters of the step on {run.line(event.site)}{shown}."
        else:
            message = message.removesuffix(", with finite gradients.") + "."
            what = _WHAT.get(event.kind, f"Something before the {event.kind.replace('_', ' ')}")
            fix = f"Check what is written to it on {run.line(event.site)}, or before."
        return run.finding(
            self,
            message=message.format(what=what, names=names[0] + more, position=event.position),
            fix=fix,
            seq=origin.seq,
            last=max(origin.last, run.count - 1),
            parameters=origin.parameters,
            optimizers=[event.optimizer.id] if event.optimizer else (),
            evidence={"lr": rates, **evidence(run, origin)},
        )


_WHAT = {"mutation": "A change by hand", "load_state": "`load_state_dict`"}
"""What wrote a parameter where it was no step."""


def _listed(values: list[object]) -> str:
    return ", ".join(dict.fromkeys(map(str, values)))
