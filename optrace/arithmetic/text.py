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
    decimal = Decimal(_shortest(real, dtype))
    cut = ""
    if digits is not None and len(decimal.normalize().as_tuple().digits) > digits:
        decimal, cut = Context(prec=digits, rounding=ROUND_DOWN).plus(decimal), "…"
    return _plain(decimal, cut)


def _shortest(real: float, dtype: str) -> str:
    """The fewest digits that read back as this number in its dtype, or in float64 where the dtype cannot hold it."""
    of = numpy_dtype(dtype).type
    with np.errstate(all="ignore"):
        if dtype != "float64" and float(of(real)) == real:
            for digits in range(1, 10):
                text = f"{real:.{digits}g}"
                if float(of(float(text))) == real:
                    return text
    return repr(real)


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
    rounded = float(f"{float(value):.15g}")  # 1 − 0.9 is 0.1 in all the decimal places that float64 warrants
    return number(rounded if math.isfinite(rounded) else value)


def power(base: Any, exponent: Any) -> str:
    """`0.9⁴`."""
    count = float(exponent)
    if not count.is_integer():
        return f"{scalar(base)}^{scalar(count)}"
    return f"{scalar(base)}{str(int(count)).translate(_SUPERSCRIPT)}"


def percent(share: float) -> str:
    """`28 %`; below one percent with a digit, below a tenth just that."""
    if not math.isfinite(share):
        return "? %"
    hundred = 100 * share
    if hundred == 0 or hundred >= 0.95:
        return f"{hundred:.0f} %"
    return f"{hundred:.1f} %" if hundred >= 0.05 else "<0.1 %"
