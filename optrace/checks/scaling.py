"""Which gradients carry a GradScaler's scale, column by column."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from optrace.checks.columns import latest
from optrace.ledger.view import BACKWARD, STEP
from optrace.trace.format import KIND_CODES, Flag

if TYPE_CHECKING:
    from optrace.checks.run import Piece

Array = np.ndarray[Any, Any]
_UNSCALE, _MUTATION, _GAP = KIND_CODES["unscale"], KIND_CODES["mutation"], KIND_CODES["gap"]


@dataclass
class State:
    """For each place of a view, what came last before it: event numbers, -1 for none."""

    scaled: Array
    """The last backward of a scaled loss."""
    by_hand: Array
    """The last change by hand, or gap: somebody may unscale on their own."""
    _piece: Piece
    _carried: dict[tuple[int, int], int]
    _made: dict[tuple[int, int], Array] = field(default_factory=dict)

    def settled(self, optimizer: int) -> Array:
        """The last event that took the scale out of an optimizer's gradients, or used them up."""
        found: Array = np.maximum(np.maximum(self.unscaled(optimizer), self._of(optimizer, STEP)), self.by_hand)
        return found

    def unscaled(self, optimizer: int) -> Array:
        """The last `unscale_` of an optimizer."""
        return self._of(optimizer, _UNSCALE)

    def _of(self, optimizer: int, kind: int) -> Array:
        key = (optimizer, kind)
        if key not in self._made:
            view = self._piece.view
            mask = (view.kind == kind) & (view.column("optimizer") == optimizer)
            self._made[key] = latest(mask, view.first, self._carried.get(key, -1))
        return self._made[key]


class Scaling:
    """Follows a run, piece by piece; does nothing until a scaled loss appears."""

    def __init__(self) -> None:
        self._scaled = self._by_hand = -1
        self._carried: dict[tuple[int, int], int] = {}

    def feed(self, piece: Piece) -> State | None:
        """The state in a piece; None while nothing was ever scaled."""
        view = piece.view
        scaled = (view.flags & Flag.SCALED != 0) & (view.kind == BACKWARD)
        if self._scaled < 0 and not scaled.any():
            return None
        state = State(
            latest(scaled, view.first, self._scaled),
            latest((view.kind == _MUTATION) | (view.kind == _GAP), view.first, self._by_hand),
            piece,
            dict(self._carried),
        )
        self._scaled, self._by_hand = int(state.scaled[-1]), int(state.by_hand[-1])
        owner = view.column("optimizer")
        for kind in (STEP, _UNSCALE):
            places = np.flatnonzero(view.kind == kind)
            for optimizer in np.unique(owner[places]).tolist():
                self._carried[optimizer, kind] = view.first + int(places[owner[places] == optimizer][-1])
        return state
