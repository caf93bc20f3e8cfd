"""OT503: an optimizer's state shares the gradient's memory."""

from __future__ import annotations

from collections.abc import Iterator

from optrace.checks.finding import Finding
from optrace.checks.rule import Rule


class StateAliasesGradient(Rule):
    code = "OT503"
    name = "state-aliases-gradient"
    severity = "error"
    bug = "An optimizer keeps the gradient tensor itself as its state, not a copy."
    why = (
        "The next backward adds to the state, clearing in place erases it, and the state's own decay scales the "
        "gradient: each writes where the other reads."
    )
    broken = """\
if "momentum" not in state:
    state["momentum"] = p.grad
"""
    fixed = """\
if "momentum" not in state:
    state["momentum"] = p.grad.clone()
"""

    def finish(self) -> Iterator[Finding]:
        run = self.run
        found: dict[int, list[int]] = {}
        shared: dict[int, dict[int, str]] = {}
        for seq, detail in run.trace.details_with("aliases_gradient"):
            if seq >= run.count or not detail["aliases_gradient"]:
                continue
            owner = int(run.trace.records["optimizer"][seq])
            found.setdefault(owner, []).append(seq)
            for parameter, kind in detail["aliases_gradient"]:
                shared.setdefault(owner, {})[int(parameter)] = str(kind)
        for owner, seqs in found.items():
            kinds = sorted(set(shared[owner].values()))
            names = run.names(shared[owner])
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            name = run.optimizer(owner).class_name
            yield run.finding(
                self,
                message=f"The {', '.join(kinds)} of {names[0]}{more} is the gradient tensor itself: what is added to "
                "or cleared from the gradient changes the state too.",
                fix=f"In {name}.step(), keep a copy: p.grad.clone() where the state is first set.",
                seq=seqs[0],
                count=len(seqs),
                last=seqs[-1],
                parameters=shared[owner],
                optimizers=[owner],
                evidence={"state": kinds},
            )
