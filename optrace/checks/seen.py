"""Counting what a rule sees, without remembering every event."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from optrace.ledger.view import View

Array = np.ndarray[Any, Any]


@dataclass
class Seen:
    """How often something was seen, where first and last, and in what."""

    count: int = 0
    first: int = -1
    last: int = -1
    parameters: set[int] = field(default_factory=set)
    optimizers: set[int] = field(default_factory=set)

    def add(self, seqs: Array, parameters: Iterable[int] = (), optimizers: Iterable[int] = ()) -> None:
        """Events by number, ascending."""
        if not len(seqs):
            return
        self.count += len(seqs)
        self.first = int(seqs[0]) if self.first < 0 else min(self.first, int(seqs[0]))
        self.last = max(self.last, int(seqs[-1]))
        self.parameters.update(parameters)
        self.optimizers.update(optimizers)


class Calls:
    """Which lines called what: events by kind, optimizer and chain of call sites."""

    def __init__(self) -> None:
        self.seen: dict[tuple[int, int, int], Seen] = {}

    def add(self, view: View) -> None:
        """Count a view's events."""
        if not len(view):
            return
        columns = (view.kind, view.column("optimizer"), view.column("stack"))
        packed = columns[0].astype(np.int64) << 58
        packed |= (columns[1].astype(np.int64) + 1) << 32
        packed |= columns[2].astype(np.int64) + 1
        _, firsts, inverse, counts = np.unique(packed, return_index=True, return_inverse=True, return_counts=True)
        lasts = np.zeros(len(firsts), np.int64)
        np.maximum.at(lasts, inverse, np.arange(len(view)))
        for first, final, count in zip(firsts.tolist(), lasts.tolist(), counts.tolist(), strict=True):
            key = (int(columns[0][first]), int(columns[1][first]), int(columns[2][first]))
            seen = self.seen.setdefault(key, Seen())
            seen.add(np.array([first, final]) + view.first)
            seen.count += count - 2

    def of(self, kind: int, optimizer: int | None = None) -> dict[int, Seen]:
        """Call chains of a kind of event (of one optimizer), the most frequent first."""
        found: dict[int, Seen] = {}
        for (code, whose, stack), seen in self.seen.items():
            if code == kind and (optimizer is None or whose == optimizer):
                found[stack] = seen
        return dict(sorted(found.items(), key=lambda item: -item[1].count))
