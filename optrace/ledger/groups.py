"""Which parameters an optimizer held at each step."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from optrace.trace.reader import Trace

_BATCH = 8192
_NEVER = (1 << 63) - 1
_MEMBERS = re.compile(r'"members": ?(\d+)')


class Memberships:
    """The distinct sets of parameters that param groups ever held.

    A schedule makes a version of the groups per step; nearly all hold the same parameters.
    """

    def __init__(self, trace: Trace) -> None:
        self.sets: list[frozenset[int]] = []
        self.optimizer: list[int] = []
        """Whose each set is."""
        known: dict[tuple[int, tuple[str, ...]], int] = {}
        versions: list[int] = []
        places: list[int] = []
        beyond = -1
        while rows := trace.group_rows(beyond, _BATCH):
            for number, optimizer, text in rows:
                key = (optimizer, tuple(_MEMBERS.findall(text)))
                found = known.get(key)
                if found is None:
                    found = known[key] = len(self.sets)
                    self.sets.append(frozenset(p for group in trace.groups_by_id(number) for p in group.parameters))
                    self.optimizer.append(optimizer)
                versions.append(number)
                places.append(found)
            beyond = rows[-1][0]
        self._versions = np.array([*versions, _NEVER], np.int64)  # ascending, seldom with a number left out
        self._places = np.array([*places, -1], np.int32)

    def of(self, versions: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Indices into `sets` of param-group versions (an event's `groups`); -1 for none."""
        found = np.searchsorted(self._versions, versions)
        return np.where(self._versions[found] == versions, self._places[found], -1)

    def held_by(self, optimizer: int) -> frozenset[int]:
        """Every parameter the optimizer ever held."""
        return frozenset().union(*(s for s, o in zip(self.sets, self.optimizer, strict=True) if o == optimizer))
