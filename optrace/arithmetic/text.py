"""Numbers as text: as many digits as the dtype holds, and a mark where digits were left out."""

from __future__ import annotations

import math
from decimal import ROUND_DOWN, Context, Decimal
from typing import Any

import numpy as np

from optrace.arithmetic.floating import numpy_dtype

FEWER = 9
"""Digits after which a number is cut and marked `…`: all that float32 needs, not all that float64 holds."""

_SUPERSCRIPT = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def number(value: Any, dtype: str = "float64", digits: int | None = FEWER) -> str:
    """The shortest decimal that reads back as the same number of this dtype.

    One that needs more than `digits` digits is cut there and ends in `…`; `digits=None` never cuts.
    """
    real = float(value)
    if math.isnan(real):
        return "nan"
    if math.isinf(real):
        return "inf" if real > 0 else "−inf"
    narrow = numpy_dtype(dtype).type(real)
    exact = float(narrow) == real
    text = str(narrow) if exact and dtype != "float64" else repr(real)
    decimal = Decimal(text)
    cut = ""
    if digits is not None and len(decimal.normalize().as_tuple().digits) > digits:
        decimal, cut = Context(prec=digits, rounding=ROUND_DOWN).plus(decimal), "…"
    return _plain(decimal, cut)


def _plain(decimal: Decimal, cut: str) -> str:
    if not decimal:
        return "0"
    decimal = decimal if cut else decimal.normalize()
    exponent = decimal.adjusted()
    if -5 <= exponent < 8:
        text = f"{decimal:f}" + cut
    else:
        mantissa = f"{decimal.scaleb(-exponent):f}"
        text = f"{mantissa}{cut}e{exponent}"
    return text.replace("-", "−", 1) if text.startswith("-") else text


def scalar(value: Any) -> str:
    """A hyperparameter, or a number computed from them: a tensor one in its own dtype's digits."""
    if isinstance(value, np.floating) and not isinstance(value, float):
        return number(value, value.dtype.name)
    return number(value)


def power(base: Any, exponent: Any) -> str:
    """`0.9⁴`."""
    count = float(exponent)
    raised = str(int(count)) if count.is_integer() else scalar(count)
    return f"{scalar(base)}{raised.translate(_SUPERSCRIPT)}"


def plus(value: Any, text: str) -> str:
    """` + text` or ` − text`, by the value's sign; the text is of its size and bears no sign."""
    return f"− {text}" if math.copysign(1.0, float(value)) < 0 else f"+ {text}"


def percent(share: float) -> str:
    """`28 %`; very small and very large shares keep a digit."""
    if not math.isfinite(share):
        return "? %"
    hundred = 100 * share
    if 0 < abs(hundred) < 1:
        return f"{hundred:.1g} %".replace("-", "−")
    return f"{hundred:.0f} %".replace("-", "−")


