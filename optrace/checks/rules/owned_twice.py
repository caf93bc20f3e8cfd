"""OT111: two optimizers step the same parameter on the same gradient."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from optrace.checks.finding import Finding
from optrace.checks.rule import Rule
from optrace.checks.run import Piece, Run
from optrace.checks.seen import Seen
from optrace.ledger.entries import Entry


class OwnedTwice(Rule):
    code = "OT111"
    name = "parameter-owned-twice"
    severity = "warning"
    bug = "Two optimizers hold the same parameter, and both apply the same gradient to it."
    why = "The parameter moves twice per batch, once by each optimizer, with two learning rates and two momenta."
    broken = """\
first = torch.optim.SGD(encoder.parameters(), lr=0.1)
second = torch.optim.SGD(model.parameters(), lr=0.1)   # model.encoder is in both
loss.backward()
first.step()
second.step()
"""
    fixed = """\
first = torch.optim.SGD(model.encoder.parameters(), lr=0.1)
second = torch.optim.SGD(model.head.parameters(), lr=0.1)
loss.backward()
first.step()
second.step()
"""

    def start(self, run: Run) -> None:
        super().start(run)
        self._seen: dict[tuple[int, ...], Seen] = {}

    def piece(self, piece: Piece) -> None:
        steps: dict[tuple[int, ...], list[np.ndarray[Any, Any]]] = {}
        for flow in piece.flows:
            at = np.flatnonzero((flow.code == Entry.APPLY) & (flow.others > 0) & (flow.again == 0))
            if not len(at):
                continue
            owners = tuple(sorted({self.run.cohorts.memberships.optimizer[m] for m in flow.cohort.memberships}))
            seen = self._seen.setdefault(owners, Seen(optimizers=set(owners)))
            seen.parameters.update(flow.cohort.parameters)
            steps.setdefault(owners, []).append(flow.source[at] + piece.view.first)
        for owners, found in steps.items():
            self._seen[owners].add(np.unique(np.concatenate(found)))

    def finish(self) -> Iterable[Finding]:
        run = self.run
        for owners, seen in self._seen.items():
            event = run.event(seen.first)
            second = event.optimizer.id if event.optimizer is not None else owners[-1]
            first = next((o for o in owners if o != second), second)
            made = run.optimizer(second).site
            site = made or event.site
            shown = run.listed(seen.parameters)
            yield run.finding(
                self,
                message=(
                    f"`{run.called(first)}` and `{run.called(second)}` both hold {shown}: at {seen.count:,} "
                    f"step{'s' if seen.count > 1 else ''} `{run.called(second)}` applied gradients that "
                    f"`{run.called(first)}` had just applied."
                ),
                fix=(
                    f"Give every parameter to one optimizer: leave these out of `{run.called(second)}` on "
                    f"{run.line(site, site)} or of `{run.called(first)}` on "
                    f"{run.line(run.optimizer(first).site, site)}."
                ),
                seq=seen.first,
                site=site,
                count=seen.count,
                last=seen.last,
                parameters=seen.parameters,
                optimizers=owners,
                evidence={"steps": seen.count, "parameters": len(seen.parameters)},
            )
