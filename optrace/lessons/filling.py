"""`{expression}` in a lesson's texts: finding them, and writing numbers as the screen does."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from optrace.lessons.expressions import ExpressionError, parse
from optrace.tui.core.numerals import element

_FENCE = re.compile(r"^\s*(```|~~~)")
_PIECE = re.compile(r"\{\{|\}\}|\{[^{}]*\}|[{}]")
FEW = 12
"""Elements up to which an array is written out."""


def fill(text: str, value: Callable[[str, int], Any]) -> str:
    """The text with each `{expression}` replaced by what `value(expression, line)` gives; lines count from 0."""
    return "\n".join(
        line if code else _PIECE.sub(lambda found, n=number: _replaced(found[0], n, value), line)  # type: ignore[misc]
        for number, line, code in _lines(text)
    )


def _lines(text: str) -> Iterator[tuple[int, str, bool]]:
    """Every line, its number, and whether it is inside a fenced code block."""
    inside = ""
    for number, line in enumerate(text.splitlines()):
        fence = _FENCE.match(line)
        yield number, line, bool(inside or fence)
        if fence and not inside:
            inside = fence[1]
        elif fence and fence[1] == inside:
            inside = ""


def _replaced(piece: str, line: int, value: Callable[[str, int], Any]) -> str:
    if piece in ("{{", "}}"):
        return piece[0]
    if len(piece) == 1:
        raise ExpressionError(f"a lone {piece} in the text; a literal brace is written twice")
    expression, form = split(piece[1:-1])
    return shown(value(expression, line), form)


def split(inside: str) -> tuple[str, str]:
    """An expression and the format after its last colon, if there is one."""
    try:
        parse(inside)
    except ExpressionError:
        expression, colon, form = inside.rpartition(":")
        if not colon:
            raise
        parse(expression)
        return expression, form
    return inside, ""


def shown(value: Any, form: str = "") -> str:
    """A value as text: a number in the format given, or as the screen shows it."""
    if value is None or isinstance(value, (str, bool)):
        return str(value)
    array = np.asarray(value)
    if array.size > FEW:
        raise ExpressionError(f"{array.size} numbers, which is too many for a text; take one element, or their norm")
    if array.ndim:
        return "[" + ", ".join(shown(part, form) for part in array) + "]"
    if not form:
        return element(array.item())
    try:
        return format(array.item(), form).replace("-", "−", 1)
    except ValueError:
        raise ExpressionError(f"{form!r} is not a format for a number, such as .3f") from None
