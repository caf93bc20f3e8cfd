"""Small tools for rules that work on columns of events."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


class Thinned:
    """Event numbers spread evenly over all that were added: at least `size` where there were as many, at most twice."""

    def __init__(self, size: int) -> None:
        self.kept: list[int] = []
        self.seen = 0
        self._size = size
        self._stride = 1

    def add(self, numbers: Array) -> None:
        """More of them, ascending."""
        self.kept += numbers[-self.seen % self._stride :: self._stride].tolist()
        self.seen += len(numbers)
        while len(self.kept) > 2 * self._size:
            self.kept = self.kept[::2]
            self._stride *= 2


def latest(mask: Array, first: int, carried: int) -> Array:
    """For each place of a view, the number of the last masked event before it.

    `mask` [n] bool, `first` is the number of the view's first event, `carried` the answer of the view
    before (-1 for none). [n + 1] int64: the last element is what the next view carries.
    """
    found = np.full(len(mask) + 1, carried, np.int64)
    places = np.flatnonzero(mask)
    found[places + 1] = places + first
    np.maximum.accumulate(found, out=found)
    return found
