"""Arithmetic rounded as torch rounds it: one operation of a tensor's dtype at a time.

torch computes float16 and bfloat16 in float32 and rounds each operation's result; a fused kernel
keeps float32 until it stores. Multiply-add is contracted to one rounding (`fma`) by torch's CPU
and CUDA kernels alike, but not for complex numbers. Values are carried as float64, which holds every
narrower float exactly and makes float32's +, −, ·, / and √ right after one more rounding (53 ≥ 2·24 + 2 bits).
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np

Real = Any
"""A float64 scalar or array; NumPy's stubs cannot say that an operation keeps which of them it got."""

_COMPONENT = {"complex32": "float16", "complex64": "float32", "complex128": "float64"}
_NARROW = {"float16", "bfloat16"}


def component(dtype: str) -> str:
    """The real dtype of a complex dtype's parts; any other dtype's own name."""
    name = dtype.removeprefix("torch.")
    return _COMPONENT.get(name, name)


def numpy_dtype(dtype: str) -> np.dtype[Any]:
    """NumPy's dtype of a torch dtype's name, ml_dtypes' among them."""
    name = dtype.removeprefix("torch.")
    return np.dtype(getattr(ml_dtypes, name)) if hasattr(ml_dtypes, name) else np.dtype(name)


class Floating:
    """The operations of one dtype. Every method takes and gives float64 scalars or arrays."""

    def __init__(
        self, dtype: str, *, fused: bool = False, foreach: bool = False, lane: str = "", contract: bool = True
    ) -> None:
        """Of torch's single-tensor implementation, unless `fused` or `foreach`.

        `lane` says which of torch's CPU loops for a narrow dtype's `add` the element falls into.

        Both first round `alpha` to the narrow dtype: the vectorised loop (`body`) goes on in float32, the
        loop over what the vectors leave (`tail`) rounds the product too. Empty where torch rounds once (CUDA).
        """
        self.name = component(dtype)
        self.narrow = self.name in _NARROW
        self._lane = lane if self.narrow and not fused else ""
        self._narrow_scale = foreach and bool(self._lane)
        self._contract = contract
        self.dtype = numpy_dtype(self.name)
        self._wide = np.dtype(np.float32) if self.narrow else self.dtype
        self._result = self._wide if fused else self.dtype
        info = ml_dtypes.finfo(self.dtype)  # type: ignore[no-untyped-call]
        self.eps = float(info.eps)
        self._tiny = float(info.smallest_normal)

    def _round(self, value: Real, dtype: np.dtype[Any]) -> Real:
        if isinstance(value, complex):
            raise ArithmeticError("the root of a negative number")
        if dtype == np.float64:
            return np.asarray(value, np.float64)[()]
        narrow = np.asarray(value, np.float64)
        if dtype != self._wide and self._wide == np.float32:
            narrow = narrow.astype(np.float32)
        return narrow.astype(dtype).astype(np.float64)[()]

    def wide(self, value: Real) -> Real:
        """Rounded to the dtype an operation computes in."""
        return self._round(value, self._wide)

    def result(self, value: Real) -> Real:
        """Rounded to the dtype an operation gives."""
        return self._round(value, self._result)

    def stored(self, value: Real) -> Real:
        """Rounded to the tensor's own dtype."""
        return self._round(value, self.dtype)

    def fma(self, a: Real, b: Real, c: Real) -> Real:
        """a · b + c with one rounding."""
        if not self._contract:
            return self.wide(self.wide(a * b) + c)
        if self._wide != np.float64 or np.ndim(a) or np.ndim(b) or np.ndim(c):
            return self.wide(np.asarray(a * b + c)[()])
        plain = a * b + c
        if not math.isfinite(plain) or not math.isfinite(a * b):
            return plain
        exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
        return np.float64(exact) if exact else np.float64(plain)

    def mul(self, a: Real, b: Real) -> Real:
        return self.result(a * self.wide(b))

    def scale(self, a: Real, b: Real) -> Real:
        """a · b in place by a number, which torch's `_foreach_mul_` on the CPU first rounds to a narrow dtype."""
        return self.mul(a, self.stored(b) if self._narrow_scale else b)

    def div(self, a: Real, b: Real) -> Real:
        return self.result(np.divide(a, self.wide(b)))

    def reciprocal(self, a: Real) -> Real:
        return self.result(np.divide(1.0, a))

    def sub(self, a: Real, b: Real) -> Real:
        return self.result(a - self.wide(b))

    def add(self, a: Real, b: Real, alpha: Real = 1.0) -> Real:
        """a + alpha · b."""
        if self._lane:
            product = self.wide(self.stored(alpha) * self.stored(b))
            return self.result(self.wide(a + (self.stored(product) if self._lane == "tail" else product)))
        return self.result(self.fma(self.wide(alpha), self.wide(b), a))

    def addcmul(self, a: Real, b: Real, c: Real, value: Real = 1.0) -> Real:
        """a + value · b · c."""
        return self.result(self.fma(self.wide(self.wide(value) * b), self.wide(c), a))

    def addcdiv(self, a: Real, b: Real, c: Real, value: Real = 1.0) -> Real:
        """a + value · b / c."""
        return self.result(a + self.wide(np.divide(self.wide(self.wide(value) * b), c)))

    def lerp(self, a: Real, b: Real, weight: Real) -> Real:
        """a + weight · (b − a), from whichever end is nearer."""
        difference, weight = self.wide(b - a), self.wide(weight)
        if abs(weight) < 0.5:
            return self.result(self.fma(weight, difference, a))
        return self.result(self.fma(self.wide(weight - 1), difference, b))

    def sqrt(self, a: Real) -> Real:
        return self.result(np.sqrt(a))

    def spacing(self, value: float) -> float:
        """The unit in the last place of a number of this size; of the smallest normal number below it."""
        size = abs(float(value))
        if not math.isfinite(size):
            return math.inf
        exponent = math.frexp(max(size, self._tiny))[1] - 1
        return math.ldexp(self.eps, exponent)
