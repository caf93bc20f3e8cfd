"""Where momentum comes from: how much of a buffer each past step still makes up.

A buffer that is b ← decay·b + gain·g at every step is a sum over its steps, in which the gradient of one step
has the weight gain times all decays since.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Deposit:
    """What one step did to a buffer: b ← decay·b + gain·gradient."""

    gradient: Array | float
    """What went in, after maximize and weight decay: a number, or the whole parameter's."""
    decay: float
    gain: float


@dataclass(frozen=True)
class Origin:
    """What one past step still contributes to a buffer."""

    gradient: float
    """The number that went in; of a whole parameter, its norm."""
    weight: float
    """What it is multiplied by today."""
    amount: float
    """Its part of the buffer's number; of a whole parameter, its part of the buffer's norm (the contribution's
    projection on the buffer). All amounts add up to the buffer."""


def origins(buffer: Array | float, deposits: Iterable[Deposit]) -> Iterator[Origin]:
    """What each deposit makes up of the buffer, newest first, as the deposits are given."""
    total = np.asarray(buffer)
    length = float(np.linalg.norm(total.ravel()))
    later = 1.0
    for deposit in deposits:
        weight = deposit.gain * later
        later *= deposit.decay
        gradient = np.asarray(deposit.gradient)
        if total.ndim == 0:
            yield Origin(float(gradient), weight, weight * float(gradient))
        else:
            along = float(np.vdot(total.ravel(), gradient.ravel()).real) / length if length else 0.0
            yield Origin(float(np.linalg.norm(gradient.ravel())), weight, weight * along)
