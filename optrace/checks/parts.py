"""How much of a gradient is old and how much is new, from the recorded values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from optrace.ledger.book import kept

if TYPE_CHECKING:
    from optrace.checks.run import Run

    Array = np.ndarray[Any, Any]

_LOOKED_AT = 64  # parameters


@dataclass(frozen=True)
class Parts:
    """A gradient as old + new. Norms are over all the parameters looked at, in float64."""

    parameter: str | None
    """The one that `single` is about: that with the most in it."""
    single: tuple[float, float, float] | None
    """Whole, old, new, where all elements of the parameter's gradient are one number."""
    norms: tuple[float, float, float] | None
    """Norms of whole, old, new; None where no values were kept."""

    @property
    def stale_share(self) -> float:
        """‖old‖ / (‖old‖ + ‖new‖)."""
        if self.norms is None:
            return float("nan")
        _, old, new = self.norms
        return old / (old + new) if old + new else 0.0

    def evidence(self) -> dict[str, Any]:
        """As numbers by name."""
        found: dict[str, Any] = {}
        if self.single is not None:
            found |= {"parameter": self.parameter}
            found |= dict(zip(("gradient", "stale", "should_be"), self.single, strict=True))
        if self.norms is not None:
            found |= dict(zip(("gradient_norm", "stale_norm", "should_be_norm"), self.norms, strict=True))
            found["stale_share"] = self.stale_share
        return found


def split_gradients(run: Run, parameters: Iterable[int], step: int, old_at: int, whole_at: int) -> Parts:
    """What was in the gradients just after event `old_at`, and what had come on top by event `whole_at`."""
    squares = np.zeros(3)
    most = -1.0
    named: str | None = None
    single: tuple[float, float, float] | None = None
    looked = False
    for number in sorted(parameters)[:_LOOKED_AT]:
        parameter = run.parameter(number)
        whole = kept(run.trace, parameter, whole_at, late=True)
        if whole is None:
            continue
        old = kept(run.trace, parameter, old_at, late=True)
        if old is not None and old.shape != whole.shape:
            continue  # one is a sample, the other whole
        old = np.zeros_like(whole) if old is None else old
        looked = True
        run.from_sample = run.from_sample or whole.size != parameter.numel
        triple = (whole, old, whole - old)
        with np.errstate(over="ignore", invalid="ignore"):
            mine = np.array([float(np.sum(np.abs(value) ** 2)) for value in triple])
        squares += mine
        if mine[0] > most:
            most, named = mine[0], parameter.name
            single = _single(triple)
    if not looked:
        return Parts(None, None, None)
    whole_norm, old_norm, new_norm = np.sqrt(squares).tolist()
    return Parts(named, single, (whole_norm, old_norm, new_norm))


def _single(values: tuple[Array, ...]) -> tuple[float, float, float] | None:
    if any(np.iscomplexobj(v) or not v.size or not np.allclose(v, v.flat[0], rtol=1e-6, atol=0) for v in values):
        return None
    whole, old, new = (float(v.flat[0]) for v in values)
    return whole, old, new
