"""An account as text, 80 columns wide."""

from __future__ import annotations

import math
import textwrap
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from optrace.arithmetic.account import AGREE_WITHIN, Account, Term
from optrace.arithmetic.conclude import distance
from optrace.arithmetic.explain import MomentumOrigins
from optrace.arithmetic.floating import Floating
from optrace.arithmetic.text import number, percent

WIDTH = 80
_PARTS = {"": "", "real": "real part", "imaginary": "imaginary part"}


def render(account: Account, where: str = "", width: int = WIDTH) -> str:
    """The account's lines under a heading, ending in the comparison with the recorded value."""
    lines = list(_heading(account, where, width))
    for part, title in _PARTS.items():
        terms = [term for term in account.terms if term.part == part]
        if not terms:
            continue
        if title:
            lines += [f"  {title}"] if lines[-1] == "" else ["", f"  {title}"]
        lines += _rows(terms, account.dtype, width)
    if account.terms:
        lines.append("")
    if account.reason:
        lines += textwrap.wrap(account.reason, width - 2, initial_indent="  ", subsequent_indent="  ")
    lines += _verdict(account, width)
    if account.source:
        lines += [
            "",
            *textwrap.wrap(f"Formula: {account.source}", width - 2, initial_indent="  ", subsequent_indent="  "),
        ]
    return "\n".join(lines)


def render_origins(found: MomentumOrigins, width: int = WIDTH) -> str:
    """Which steps a momentum buffer is made of, newest first, with a bar for each share."""
    what = "" if found.element is None else f"[{', '.join(map(str, found.element))}]"
    name = f"{found.state}{what}" if found.element is not None else f"‖{found.state}‖"
    lines = [f"  {name} of {found.parameter} = {_six(found.total)}, made of", ""]
    bar = max(6, width - 66)
    lines.append(f"  {'step':>9}  {found.of:>13}  {'weight':>10}  {'amount':>13}  {'share':>6}")
    for step in found.steps:
        row = f"  {step.position!s:>9}  {_six(step.gradient):>13}  {step.weight:>10.4g}  {_six(step.amount):>13}"
        lines.append(f"{row}  {percent(step.share):>6}  {_bar(step.share, bar)}".rstrip())
    rest = "older" if found.reason else "rounding"
    lines.append(f"  {rest:>9}  {'':>13}  {'':>10}  {_six(found.older):>13}  {percent(found.older_share):>6}")
    if found.reason:
        lines += ["", *textwrap.wrap(f"The list ends there: {found.reason}.", width - 2, initial_indent="  ")]
    return "\n".join(lines)


def verdict(account: Account) -> str:
    """One sentence: does the formula give the recorded value?"""
    if account.predicted is None or account.ulps is None:
        return "no prediction to compare the recorded value with"
    if not account.terms:
        return "✓ unchanged" if account.ulps == 0 else "✗ yet its value changed during this step"
    if account.ulps == 0:
        return "✓ equals the recorded value"
    places = f"{account.ulps} ulp" + ("" if account.ulps == 1 else "s")
    if account.agrees:
        free = "" if account.ulps <= AGREE_WITHIN else ", within what torch's kernels leave open"
        return f"✓ equals the recorded value to rounding ({places}{free})"
    difference = account.difference
    size = f"{difference:.3g}" if difference is not None else "?"
    counted = f"{places}" if account.ulps < 10**6 else "far more than rounding"
    return f"✗ differs from the recorded value by {size.replace('-', '−')} ({counted})"


def first_departure(account: Account) -> Term | None:
    """The first line whose value is not what the optimizer's state holds after the step."""
    n = Floating(account.dtype)
    for term in account.terms:
        if term.recorded is None or isinstance(term.value, str):
            continue
        if distance(term.value, term.recorded, 0.0, n) > 64:
            return term
    return None


def _heading(account: Account, where: str, width: int) -> Iterator[str]:
    place = (
        f"element [{', '.join(map(str, account.element))}] of {account.parameter}"
        if account.element
        else account.parameter
    )
    left = f"  {place}" + (f" at {where}" if where else "")
    right = ", ".join([account.optimizer, *(f"{name} {value}".strip() for name, value in account.hyper)])
    if len(left) + len(right) + 2 <= width:
        yield left + right.rjust(width - len(left))
    else:
        yield left
        yield from textwrap.wrap(right, width - 2, initial_indent="  ", subsequent_indent="  ")
    yield ""


def _rows(terms: Sequence[Term], dtype: str, width: int) -> list[str]:
    label = max(_columns(term.label) for term in terms)
    symbol = max(_columns(term.symbol) for term in terms)
    indent = 2 + label + 2 + symbol + 1
    values = [_value(term, dtype) for term in terms]
    whole = max((_point(value) for value in values), default=0)
    # The values' column: as far right as leaves room for the longest of them.
    column = min(
        max(indent + 2 + _columns(term.formula) for term in terms) + 1,
        width - 2 - max(whole - _point(value) + _columns(value) for value in values),
    )
    rows: list[str] = []
    for term, value in zip(terms, values, strict=True):
        head = f"  {_pad(term.label, label)}  {_pad(term.symbol, symbol)}"
        formula = f" = {term.formula}" if term.formula else ""
        aligned = " " * (whole - _point(value)) + value
        if _columns(head + formula) >= column:
            wrapped = textwrap.wrap(term.formula, width - indent - 2)
            rows.append(f"{head} = {wrapped[0]}")
            rows += [" " * (indent + 2) + line for line in wrapped[1:]]
            row = " " * column + "= " + aligned
        else:
            row = _pad(head + formula, column) + "= " + aligned
        if term.note and _columns(row) + 2 + _columns(term.note) <= width:
            rows.append(f"{row}  {term.note}")
        else:
            rows.append(row)
            if term.note:
                rows.append(" " * (indent + 2) + term.note)
    return [row.rstrip() for row in rows]


def _value(term: Term, dtype: str) -> str:
    return term.value if isinstance(term.value, str) else number(term.value, dtype)


def _verdict(account: Account, width: int) -> Iterable[str]:
    recorded = account.recorded
    yield f"  recorded: {_exact(recorded, account.dtype)}"
    if account.predicted is None:
        return
    text = verdict(account)
    if account.agrees is False and account.terms:
        departed = first_departure(account)
        since = f", first in its {departed.label}" if departed is not None else ""
        text += f": this {account.rule} does not do what torch's {account.rule} does{since}"
    yield from textwrap.wrap(text, width - 2, initial_indent="  ", subsequent_indent="    ")


def _exact(value: float | complex | None, dtype: str) -> str:
    if value is None:
        return "none"
    if isinstance(value, complex):
        sign = "−" if value.imag < 0 else "+"
        return f"{number(value.real, dtype, None)} {sign} {number(abs(value.imag), dtype, None)}i"
    return number(value, dtype, None)


def _point(text: str) -> int:
    """Columns before the decimal point."""
    return _columns(text.split(".")[0]) if text[:1] in "−0123456789" else 0


def _columns(text: str) -> int:
    return sum(not unicodedata.combining(letter) for letter in text)


def _pad(text: str, columns: int) -> str:
    return text + " " * (columns - _columns(text))


def _six(value: float) -> str:
    return f"{value:.6g}".replace("-", "−", 1) if value < 0 else f"{value:.6g}"


def _bar(share: float, columns: int) -> str:
    eighths = round(share * columns * 8) if math.isfinite(share) else 0
    return "█" * (eighths // 8) + ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")[eighths % 8]
