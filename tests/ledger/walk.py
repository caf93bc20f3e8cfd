"""The counts of a cohort's account, one entry at a time, to compare the vectorised ones with."""

from __future__ import annotations

from typing import Any

from optrace.ledger.cohorts import Cohorts
from optrace.ledger.entries import Entry
from optrace.ledger.flows import Flows
from optrace.ledger.view import views


def check_counts(trace: Any, chunk: int) -> None:
    """Every count of every flow, over views of `chunk` events."""
    flows = Flows(Cohorts(trace))
    walkers = [Walker() for _ in flows.cohorts.all]
    for view in views(trace, chunk):
        for flow in flows.advance(view):
            walker = walkers[flow.cohort.index]
            for place in range(len(flow.code)):
                found = {name: int(getattr(flow, name)[place]) for name in walker.expected}
                walker.next(int(flow.code[place]), int(flow.source[place]) + view.first, int(flow.optimizer[place]))
                assert found == walker.expected, (place, flow.code)
                walker.settle(int(flow.seq[place]))
    for walker, carry in zip(walkers, flows.carry, strict=True):
        assert (carry.inside, carry.fresh) == (len(walker.inside), len(walker.fresh()))


class Walker:
    def __init__(self) -> None:
        self.inside: list[dict[str, Any]] = []
        self.windows = 0
        self.last = {"last_clear": -1, "last_apply": -1, "last_deposit": -1}
        self.expected: dict[str, int] = dict.fromkeys(
            ("inside", "fresh", "waiting", "again", "others", "window", *self.last), 0
        )

    def fresh(self) -> list[dict[str, Any]]:
        return [item for item in self.inside if not item["applied"]]

    def next(self, code: int, source: int, optimizer: int) -> None:
        """What the entry finds; it is carried out by `settle`."""
        self.entry = (code, source, optimizer)
        applying = code == Entry.APPLY
        self.expected = {
            "inside": len(self.inside),
            "fresh": len(self.fresh()),
            "waiting": sum(not item["skipped"] for item in self.fresh()),
            "again": sum(optimizer in item["applied"] for item in self.inside) if applying else 0,
            "others": sum(bool(item["applied"] - {optimizer}) for item in self.inside) if applying else 0,
            "window": self.windows,
            **self.last,
        }

    def settle(self, seq: int) -> None:
        code, source, optimizer = self.entry
        if code in (Entry.CLEAR, Entry.ZERO, Entry.SET):
            self.inside = []
            self.windows += 1
            self.last["last_clear"] = seq
        if code in (Entry.DEPOSIT, Entry.FOUND, Entry.SET):
            self.inside.append({"applied": set(), "skipped": False})
            self.last["last_deposit"] = source
        if code == Entry.APPLY:
            self.last["last_apply"] = seq
        for item in self.inside:
            if code == Entry.APPLY:
                item["applied"].add(optimizer)
            if code == Entry.SKIP:
                item["skipped"] = True
