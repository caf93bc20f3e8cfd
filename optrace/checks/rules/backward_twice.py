"""OT603: one loss is run backward twice, and both are applied."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from optrace.checks.effects import effects
from optrace.checks.finding import Finding
from optrace.checks.rule import Rule
from optrace.ledger.view import STEP
from optrace.trace.format import Flag


class BackwardTwice(Rule):
    code = "OT603"
    name = "backward-twice"
    severity = "hint"
    bug = "The same loss is run backward twice before one step."
    why = "Both add to .grad, so the step is twice as long as the learning rate says."
    broken = """\
loss.backward(retain_graph=True)
loss.backward()
optimizer.step()
"""
    fixed = """\
loss.backward()
optimizer.step()
"""

    def finish(self) -> Iterator[Finding]:
        run, known = self.run, effects(self.run)
        records = run.trace.records
        found: dict[int, list[int]] = {}  # by chain of calls: first, last, how many, the earlier backward
        parameters: dict[int, set[int]] = {}
        for seq, detail in run.trace.details_with("same_graph_as"):
            earlier = int(detail["same_graph_as"])
            if not 0 <= earlier < seq < run.count:
                continue
            between = records[earlier + 1 : seq]
            mine = known.deposits.get(int(records["effect"][seq]), {})
            both = mine.keys() & known.deposits.get(int(records["effect"][earlier]), {}).keys()
            cleared = np.any(known.empties_any[between["effect"]])
            applied = np.any((between["kind"] == STEP) & (between["flags"] & Flag.SKIPPED == 0))
            if both and not cleared and not applied:
                stack = int(records["stack"][seq])
                entry = found.setdefault(stack, [seq, 0, 0, earlier])
                entry[1] = seq
                entry[2] += 1
                parameters.setdefault(stack, set()).update(both)
        for stack, (seq, last, count, earlier) in found.items():
            site, before = run.site(seq), run.site(earlier)
            where = run.line(before, site)
            yield run.finding(
                self,
                message=f"This loss had already been run backward on {where}, and its gradients are still there: "
                "they count twice.",
                fix=f"Take out one of the two backwards, on {where} or {run.line(site)}, or clear the gradients "
                "between them.",
                seq=seq,
                count=count,
                last=last,
                parameters=parameters[stack],
                evidence={"first_backward": str(run.event(earlier).position)},
            )
