"""How far a value on one rank is from the same value on another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from optrace.errors import LookupFailed

if TYPE_CHECKING:
    from optrace.trace.model import Parameter
    from optrace.trace.reader import Trace

    Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Difference:
    """Two values that are not the same, bit for bit."""

    largest: float
    """The largest difference of two elements; nan where one of the values is not there at all."""
    share: float
    """The norm of the difference, as a share of the larger norm."""
    sampled: bool
    """Only a sample of the elements was kept and compared."""


@dataclass(frozen=True)
class Spot:
    """A value of one trace, just after an event or as its call found it."""

    trace: Trace
    parameter: Parameter
    kind: str
    seq: int
    before: bool = False


def difference(one: Spot, other: Spot) -> Difference | None:
    """What differs between two values; None where they are equal, or where nothing was kept to tell."""
    here, there = elements(one), elements(other)
    if here is None or there is None:
        return None
    (mine, my_places), (theirs, their_places) = here, there
    sampled = my_places is not None or their_places is not None
    if mine is None or theirs is None:
        return None if mine is theirs else Difference(float("nan"), 1.0, sampled)
    if sampled:
        mine, theirs = _common(mine, my_places, theirs, their_places)
    if mine.dtype != theirs.dtype or mine.shape != theirs.shape:
        return Difference(float("nan"), 1.0, sampled)
    if mine.tobytes() == theirs.tobytes():
        return None
    wide = np.complex128 if mine.dtype.kind == "c" else np.float64
    a, b = mine.astype(wide), theirs.astype(wide)
    with np.errstate(all="ignore"):
        apart = np.abs(a - b)
        apart = apart[np.isfinite(apart)]
        whole = max(float(np.linalg.norm(a)), float(np.linalg.norm(b)))
        share = float(np.linalg.norm(apart)) / whole if whole > 0 and np.isfinite(whole) else 1.0
    return Difference(float(apart.max(initial=0.0)), share, sampled)


def elements(spot: Spot) -> tuple[Array | None, Array | None] | None:
    """The elements, flat (None: there is no value), and which they are (None: all); None where nothing was kept."""
    trace, entry = spot.trace, spot.parameter
    try:
        value = (trace.before if spot.before else trace.value)(entry, spot.kind, spot.seq)
        return (None if value is None else value.reshape(-1)), None
    except LookupFailed:
        if spot.before and not spot.seq:
            return None
        try:
            sample = trace.sample(entry, spot.kind, spot.seq - spot.before)
        except LookupFailed:
            return None
    return None if sample is None else (sample.values, sample.indices)


def _common(one: Array, places: Array | None, other: Array, others: Array | None) -> tuple[Array, Array]:
    """The elements that both have."""
    if places is None:
        return one[others], other
    if others is None:
        return one, other[places]
    _, mine, theirs = np.intersect1d(places, others, return_indices=True)
    return one[mine], other[theirs]
