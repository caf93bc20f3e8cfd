"""Whether what a learner typed is what was recorded."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from optrace.lessons.filling import shown

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_FRACTION = re.compile(r"\s*(\S+)\s*/\s*(\S+)\s*")


@dataclass(frozen=True)
class Verdict:
    """Whether an answer is right, and what was recorded, as the screen shows it."""

    understood: bool
    """What was typed is a number, or None."""
    right: bool
    recorded: str


def judge(typed: str, recorded: Any, tolerance: float | None) -> Verdict:
    """Compare what was typed with the recorded number, or with None."""
    text = shown(recorded)
    cleaned = typed.strip().replace("−", "-").replace("\N{FULLWIDTH FULL STOP}", ".")
    if cleaned.lower() in ("none", "没有", "无"):
        return Verdict(True, recorded is None, text)
    said = _number(cleaned)
    if said is None:
        return Verdict(False, False, text)
    if recorded is None or isinstance(recorded, complex):
        return Verdict(True, False, text)
    return Verdict(True, _agree(said, cleaned, float(recorded), tolerance), text)


def _number(text: str) -> float | None:
    if fraction := _FRACTION.fullmatch(text):
        upper, lower = _number(fraction[1]), _number(fraction[2])
        return upper / lower if upper is not None and lower else None
    if text.lower() in ("nan", "inf", "+inf", "-inf") or _NUMBER.fullmatch(text):
        return float(text)
    return None


def _agree(said: float, typed: str, recorded: float, tolerance: float | None) -> bool:
    if said == recorded or (math.isnan(said) and math.isnan(recorded)):
        return True
    if not (math.isfinite(said) and math.isfinite(recorded)):
        return False
    if tolerance is not None and abs(said - recorded) <= tolerance * abs(recorded):
        return True
    if "/" in typed:
        return math.isclose(said, recorded, rel_tol=1e-4)
    digits, unit = _written(typed)
    return digits >= 2 and abs(said - recorded) <= unit / 2 * (1 + 1e-9)


def _written(typed: str) -> tuple[int, float]:
    """How many significant digits were typed, and what one in the last of them is worth."""
    mantissa, _, exponent = typed.lower().partition("e")
    whole, _, fraction = mantissa.lstrip("+-").partition(".")
    unit = 10.0 ** (int(exponent or 0) - len(fraction))
    return len((whole + fraction).lstrip("0")), unit
