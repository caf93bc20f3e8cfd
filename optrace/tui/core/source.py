"""Source code with the current line, the lines that made events, and findings in the gutter."""

from __future__ import annotations

import keyword
import re
from functools import lru_cache

from optrace.tui.core.findings import Findings
from optrace.tui.core.spans import Line, Span, clean, fit, going, right, tinted, width

SLIDE = 8
"""Columns by which long lines are looked at further right."""
_TOKEN = re.compile(
    r"(?P<comment>\#.*)"
    r"|(?P<string>[rRbBfFuU]{0,2}(?:\"\"\".*?(?:\"\"\"|$)|'''.*?(?:'''|$)|\"(?:\\.|[^\"\\])*\"?|'(?:\\.|[^'\\])*'?))"
    r"|(?P<number>\b\d[\d_.]*(?:[eE][+-]?\d+)?\b)"
    r"|(?P<word>[^\W\d]\w*)"
    r"|(?P<other>.)"
)


@lru_cache(2048)
def highlighted(text: str) -> tuple[Span, ...]:
    """One line of Python with roles."""
    spans: list[Span] = []
    for match in _TOKEN.finditer(text[:2000]):
        role = {"comment": "code-comment", "string": "code-string", "number": "code-number"}.get(
            match.lastgroup or "", ""
        )
        if match.lastgroup == "word" and (keyword.iskeyword(match[0]) or match[0] in ("self", "cls")):
            role = "code-keyword"
        if spans and spans[-1].role == role:
            spans[-1] = Span(spans[-1].text + match[0], role)
        else:
            spans.append(Span(match[0], role))
    return tuple(spans)


@lru_cache(64)
def lines_of(text: str) -> tuple[str, ...]:
    """The lines of a file, safe for a terminal."""
    return tuple(clean(line.expandtabs(4)) for line in text.splitlines())


def top_line(count: int, height: int, current: int, others: tuple[int, ...]) -> int:
    """The first line to show (from 0), from where the file's lines are looked at and not from what was shown before.

    All lines that this iteration's events came from are in view where they fit, so that stepping moves the marker
    and not the text.
    """
    low, high = min((current, *others)), max((current, *others))
    if high - low + 5 > height:
        low = high = current
    top = (low + high) // 2 - height // 2
    return max(0, min(top, count - height))


def code_line(
    lines: tuple[str, ...],
    number: int,
    file: str,
    current: int,
    visited: frozenset[int],
    findings: Findings,
    room: int,
    shift: int = 0,
) -> Line:
    """Line `number` (from 1) in exactly `room` columns."""
    if number > len(lines):
        return [Span(" " * room)]
    digits = max(3, len(str(len(lines))))
    found = findings.at_line(file, number)
    worst = min(found, key=lambda finding: ("error", "warning", "hint").index(finding.severity), default=None)
    here = number == current
    gutter: Line = [
        Span("▶" if here else " ", "cursor-line"),
        going(worst.glyph, worst.role, worst.seq) if worst else Span(" "),
        Span(right(str(number), digits), "bold" if here else "" if number in visited else "dim"),
        Span("…", "", f"slide({-SLIDE})") if shift else Span(" "),
    ]
    code = list(highlighted(lines[number - 1]))
    if shift:
        code = _shifted(code, shift)
    line = fit([*gutter, *code], room)
    if width([*gutter, *code]) > room > 0:  # there is more to the right
        line[-1:] = [Span(line[-1].text[:-1], line[-1].role), Span(line[-1].text[-1:], "", f"slide({SLIDE})")]
    return tinted(line, "current-line") if here else line


def _shifted(code: list[Span], by: int) -> list[Span]:
    result = []
    for span in code:
        if by >= len(span.text):
            by -= len(span.text)
            continue
        result.append(Span(span.text[by:], span.role))
        by = 0
    return result
