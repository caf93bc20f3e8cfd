"""Bars and strips of block characters, with ASCII in their place on terminals that lack them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

EIGHTHS = " ▏▎▍▌▋▊▉█"
LEVELS = " ▁▂▃▄▅▆▇█"

_ASCII = str.maketrans(
    {
        **dict.fromkeys("█▓", "#"), "▒": "%", "░": ":", "·": ".", "…": "~", "│": "|", "┃": "|", "─": "-", "━": "=",
        **dict.fromkeys("├┤┼┴┬└┘┌┐╭╮╰╯", "+"), "▶": ">", "▸": ">", "◂": "<", "●": "*", "○": "o", "▲": "^", "▼": "v",
        "→": ">", "←": "<", "↑": "^", "↓": "v", "−": "-", "×": "x", "‖": "|", "Δ": "d", "√": "V", "✓": "=", "✗": "!",
        "–": "-", "≈": "~", "≤": "<", "≥": ">", "∞": "8", "“": '"', "”": '"', "’": "'", "β": "b", "ε": "e",
        "\u2009": " ", "\u00a0": " ", "\u202f": " ", "°": "d", "◆": "#", "⏵": ">", "⇥": ">", "∅": "0", "§": "S",
        "╌": "~", "•": "+", "‹": "[", "›": "]", "θ": "p", "μ": "u", "ρ": "r", "α": "a", "η": "h", "τ": "t", "λ": "l",
        "Π": "P", "δ": "d", "γ": "g", "ψ": "y", "σ": "s", "Σ": "S", "₀": "0", "₁": "1", "₂": "2", "₊": "+", "₋": "-",
        "ā": "A", "ḡ": "G", "′": "'", "‘": "'", "—": "-", "∠": "<", "⋯": ".", "╎": ":", "≀": "~", "╍": "=",
        **dict(zip(LEVELS[1:8], "_..--~=", strict=True)), **dict.fromkeys("▏▎▍▐", "|"), **dict.fromkeys("▌▋▊▉▆", "="),
    }
)  # fmt: skip
_HATTED = re.compile("(.)\u0302")
_TIMES = re.compile(r"([\d)]|[ −(][^\W\d_]) · (?=[−(\d√]|[^\W\d_](?!\w))")
_RAISED = re.compile("([⁰¹²³⁴⁵⁶⁷⁸⁹⁻ᵗᵀ]+)([^ ]*) ")
_LOWERED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻ᵗᵀ", "0123456789-tT")


def ascii_only(text: str) -> str:
    """The same picture in ASCII, as wide; a formula too. What is raised gets its sign from the next space: `0.9²¹ =` is
    `0.9^21=`."""
    if text.isascii():
        return text
    text = _HATTED.sub(lambda found: found[1].upper(), text)
    text = _RAISED.sub(lambda found: f"^{found[1].translate(_LOWERED)}{found[2]}", text.replace("½ · ", "0.5*"))
    text = _TIMES.sub(r"\1 * ", text).translate(_ASCII)
    if text.isascii():
        return text
    return "".join(c if c.isascii() else ("." if c == "⠀" else "*") if "⠀" <= c <= "⣿" else "?" for c in text)


def named(signs: str) -> str:
    """Keys by their names, for a terminal without signs for them: `Left Right`."""
    for sign, name in (("←", "Left"), ("→", "Right"), ("↑", "Up"), ("↓", "Down")):
        signs = signs.replace(sign, name)
    return signs


def bar(share: float, room: int) -> str:
    """A bar of `share` of `room` columns, to an eighth of a column."""
    if not math.isfinite(share):
        return ""
    whole, rest = divmod(round(max(0.0, min(1.0, share)) * room * 8), 8)
    return "█" * whole + (EIGHTHS[rest] if rest else "")


def spread(sizes: Sequence[float], room: int) -> list[int]:
    """`room` columns shared out by size; what is there at all gets at least one while there is room."""
    usable = [size if math.isfinite(size) and size > 0 else 0.0 for size in sizes]
    total = sum(usable)
    if room <= 0 or not usable:
        return [0] * len(usable)
    if total == 0:
        usable = [1.0] * len(usable)
        total = float(len(usable))
    room = max(room, 0)
    shares = [size / total * room for size in usable]
    given = [max(1, int(share)) for share in shares]
    while sum(given) > room:
        largest = max(range(len(given)), key=lambda place: (given[place], -place))
        if given[largest] == 0:
            break
        given[largest] -= 1
    order = sorted(range(len(given)), key=lambda place: shares[place] - given[place], reverse=True)
    for place in order[: room - sum(given)]:
        given[place] += 1
    if (left := room - sum(given)) > 0:
        given[order[0]] += left
    return given


def strip(values: Any, height: int = 1) -> list[str]:
    """A column chart of values [columns] in `height` lines, top line first; nan leaves a gap, inf shows `∞`."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return [
            ("".join("∞" if np.isinf(v) else " " for v in values)) if row == height - 1 else " " * len(values)
            for row in range(height)
        ]
    low, high = float(finite.min()), float(finite.max())
    if low > 0 and high / low > 1000:
        with np.errstate(invalid="ignore", divide="ignore"):
            values = np.log(values)
        low, high = math.log(low), math.log(high)
    span = high - low
    steps = height * 8
    rows = [[" "] * len(values) for _ in range(height)]
    for column, value in enumerate(values.tolist()):
        if math.isnan(value):
            continue
        if math.isinf(value):
            rows[0 if value > 0 else height - 1][column] = "∞"
            continue
        level = 1 + round((value - low) / span * (steps - 1)) if span else steps // 2
        for row in range(height):
            filled = level - (height - 1 - row) * 8
            rows[row][column] = LEVELS[max(0, min(8, filled))]
    return ["".join(row) for row in rows]
