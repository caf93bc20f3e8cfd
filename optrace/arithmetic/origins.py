"""Where momentum comes from: how much of a buffer each past step still makes up.

A buffer that is b ← decay·b + gain·g at every step is a sum over its steps, in which the gradient of step k
has the weight gain_k times all decays since.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Deposit:
    """What one step did to a buffer: b ← decay·b + gain·gradient."""

    gradient: Array | float
    """After maximize and weight decay; a number, or the whole parameter's."""
    decay: float
    gain: float


@dataclass(frozen=True)
class Origin:
    """What one past step still contributes."""

    step: int
    """Which of the deposits, counted from 0."""
    gradient: float
    """The number that went in; of whole parameters, its norm."""
    weight: float
    """What it is multiplied by today."""
    amount: float
    """Its part of the buffer's number; of a whole parameter, of the buffer's norm (the contribution's
    projection on the buffer). Amounts add up to the buffer."""
    share: float
    """Its part of all amounts by size, from 0 to 1, whichever way they pull."""


def weights(deposits: Sequence[Deposit]) -> list[float]:
    """The factor that each deposit's gradient has in the buffer after the last."""
    factors: list[float] = []
    later = 1.0
    for deposit in reversed(deposits):
        factors.append(deposit.gain * later)
        later *= deposit.decay
    return factors[::-1]


def origins(deposits: Sequence[Deposit]) -> list[Origin]:
    """What each deposit makes up of the buffer now, oldest first."""
    factors = weights(deposits)
    parts = [factor * np.asarray(deposit.gradient) for factor, deposit in zip(factors, deposits, strict=True)]
    if not parts:
        return []
    total = sum(parts[1:], parts[0])
    length = float(np.linalg.norm(total.ravel()))
    amounts = []
    for part in parts:
        if part.ndim == 0:
            amounts.append(float(part.real))
        else:
            amounts.append(float(np.vdot(total.ravel(), part.ravel()).real) / length if length else 0.0)
    sizes = sum(abs(amount) for amount in amounts)
    return [
        Origin(
            number,
            float(np.linalg.norm(np.asarray(deposit.gradient).ravel())) if part.ndim else float(np.real(deposit.gradient)),
            factor,
            amount,
            abs(amount) / sizes if sizes else 0.0,
        )
        for number, (deposit, part, factor, amount) in enumerate(zip(deposits, parts, factors, amounts, strict=True))
    ]
