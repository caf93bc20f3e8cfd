"""Numbers as a person wants to read them: few digits that tell the most, in little room."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

_SUPERSCRIPT = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def short(value: float | None, digits: int = 3) -> str:
    """About `digits` significant digits in at most 7 columns: `1.83`, `300`, `2.1e-5`, `nan`."""
    if value is None:
        return "–"
    value = float(value)
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "−inf"
    if value == 0:
        return "0"
    size = abs(value)
    if 1e-3 <= size < 10 ** max(digits + 2, 5):
        rounded = float(f"{size:.{digits - 1}e}")  # 0.99999 is written as 1.00
        places = max(0, digits - 1 - math.floor(math.log10(rounded)))
        text = f"{size:.{places}f}"
        if "." in text and float(text) == round(size):
            text = text.rstrip("0").rstrip(".")
    else:
        mantissa, _, exponent = f"{size:.{max(0, digits - 2)}e}".partition("e")
        text = f"{mantissa}e{int(exponent)}"
    return ("−" if value < 0 else "") + text


def setting(value: Any) -> str:
    """A hyperparameter as somebody would type it: `0.001`, `1e-8`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    text = f"{value:g}" if real(value) is not None else f"{Decimal(value):.6g}"
    text = text.replace("e-0", "e-").replace("e+0", "e")
    return text.replace("-", "−", 1) if value < 0 else text


def real(value: Any) -> float | None:
    """A hyperparameter as a float; None where it is no number, or one that no float holds."""
    try:
        return float(value) if isinstance(value, (int, float)) else None
    except OverflowError:
        return None


def exact(value: Any, dtype: str = "float64") -> str:
    """As many digits as the dtype holds, up to nine."""
    from optrace.arithmetic.text import number

    try:
        return number(value, dtype)
    except (TypeError, ValueError):
        return short(float(value), 6)


def element(value: Any, digits: int = 5) -> str:
    """One element of a tensor of any dtype."""
    if isinstance(value, complex) or getattr(getattr(value, "dtype", None), "kind", "") == "c":
        imaginary = float(value.imag)
        return f"{short(value.real, digits)}{'−' if imaginary < 0 else '+'}{short(abs(imaginary), digits)}i"
    if isinstance(value, (bool, int)) or getattr(getattr(value, "dtype", None), "kind", "f") in "iub":
        return str(int(value)).replace("-", "−")
    return short(float(value), digits)


def percent(share: float) -> str:
    """`78 %`."""
    if not math.isfinite(share):
        return "? %"
    hundred = 100 * share
    return f"{hundred:.0f} %" if hundred >= 1 or hundred == 0 else "<1 %"


def count(number: int, word: str, plural: str = "") -> str:
    """`1 event`, `3 events`."""
    return f"{number:,} {word if number == 1 else plural or word + 's'}".replace(",", " ")


def times(number: int) -> str:
    """`once`, `twice`, `3 times`."""
    return {0: "never", 1: "once", 2: "twice"}.get(number, f"{number} times")


def shape(lengths: tuple[int, ...]) -> str:
    """`24×12`; a scalar is `()`."""
    return "×".join(map(str, lengths)) or "()"


def index(place: tuple[int, ...]) -> str:
    """`[3, 7]`."""
    return f"[{', '.join(map(str, place))}]"


def listed(items: list[str], limit: int = 3) -> str:
    """`a, b and c`; with more than `limit`, `a, b, … and z`."""
    if len(items) > limit:
        items = [*items[: limit - 1], "…", items[-1]]
    if len(items) < 2:
        return "".join(items)
    return ", ".join(items[:-1]).replace("…,", "…") + (" " if items[-2] == "…" else " and ") + items[-1]


def power(base: str, exponent: int) -> str:
    """`0.9⁴`."""
    return base + str(exponent).translate(_SUPERSCRIPT)
