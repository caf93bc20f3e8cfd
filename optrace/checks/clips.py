"""Clipping: which parameters a clip is about, and how their accounts stand when it comes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from optrace.errors import DamagedError
from optrace.ledger.entries import Entry
from optrace.ledger.flow import Flow, last
from optrace.trace.format import KIND_CODES

if TYPE_CHECKING:
    from optrace.checks.run import Piece, Run

Array = np.ndarray[Any, Any]
CLIP = KIND_CODES["clip"]


class Clips:
    """The clips of a run. Clips from one line by one chain of calls are about the same parameters."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._parameters: dict[int, frozenset[int]] = {}
        self._owners: dict[int, frozenset[int]] = {}

    def of(self, piece: Piece) -> list[tuple[int, Array]]:
        """The chains of calls that clip in a piece, and the places of their clips."""
        places = np.flatnonzero(piece.view.kind == CLIP)
        if not len(places):
            return []
        stacks = piece.view.column("stack")[places]
        found = []
        for stack in np.unique(stacks).tolist():
            mine = places[stacks == stack]
            if stack not in self._parameters:
                detail = piece.view.event(mine[0]).detail
                self._parameters[stack] = _ids(detail.get("parameters", ()))
            found.append((stack, mine))
        return found

    def parameters(self, stack: int) -> frozenset[int]:
        """Ids of the parameters that are clipped there."""
        return self._parameters.get(stack, frozenset())

    def owners(self, stack: int) -> frozenset[int]:
        """Ids of the optimizers that hold any of them."""
        known = self._owners.get(stack)
        if known is None:
            memberships = self._run.cohorts.memberships
            mine = self.parameters(stack)
            known = self._owners[stack] = frozenset(
                owner for held, owner in zip(memberships.sets, memberships.optimizer, strict=True) if held & mine
            )
        return known


@dataclass(frozen=True)
class Standing:
    """How one cohort's account stands just before events of its view; arrays are [events]."""

    deposits: Array
    """Contributions so far."""
    emptied: Array
    """Contributions so far when the gradient was last cleared."""
    applied: Array
    """Contributions so far when it was last applied."""
    following: Array
    """The code of the account's next entry after the event's own; -1 where the view has none."""

    @property
    def inside(self) -> Array:
        found: Array = self.deposits - self.emptied
        return found

    @property
    def fresh(self) -> Array:
        found: Array = self.deposits - np.maximum(self.emptied, self.applied)
        return found


def standing(flow: Flow, places: Array) -> Standing:
    """A cohort's account just before the events at these places."""
    start = flow.start
    applying = flow.code == Entry.APPLY
    first_applied = max(start.applied.values(), default=0)
    earlier = last(applying, flow.before, first_applied)
    deposits = np.append(flow.before + flow.deposit, start.deposits)
    emptied = np.append(np.where(flow.ending, flow.before, flow.emptied), start.emptied)
    applied = np.append(np.where(applying, flow.before, earlier), first_applied)
    at = np.searchsorted(flow.place, places, "left") - 1  # -1, the appended one, is how the view began
    after = np.searchsorted(flow.place, places, "right")
    following = np.append(flow.code, np.int8(-1))[after]
    return Standing(deposits[at], emptied[at], applied[at], following)


def _ids(found: Any) -> frozenset[int]:
    try:
        return frozenset(map(int, found))
    except (TypeError, ValueError, OverflowError) as error:
        raise DamagedError("the trace is damaged: the parameters of a clip cannot be read") from error
