"""What the end of a lesson shows: the repair, what the checks say, the curves of both runs, the conclusion."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from optrace.lessons.comparison import Curve, DiffLine
from optrace.lessons.model import Run
from optrace.tui.core.canvas import Chart, Series, draw, pointed_at
from optrace.tui.core.findings import GLYPHS
from optrace.tui.core.numerals import short
from optrace.tui.core.source import highlighted
from optrace.tui.core.spans import Line, Span, clean, cut, wrap
from optrace.tui.learn.guide import Guide
from optrace.tui.learn.prose import prose
from optrace.tui.learn.words import Words

if TYPE_CHECKING:
    from optrace.checks.finding import Finding

Names = Mapping[Run, str]
"""What each run's script is called."""
CONTEXT = 3
"""Unchanged lines that are kept around a change."""
LEAST_ROWS = 7
"""Rows of a chart below which the pane scrolls rather than squeeze it."""
_STROKES: dict[Run, tuple[str, str]] = {"script": ("━━━", "series1"), "repaired": ("╍ ╍", "series0")}


def repair_lines(diff: tuple[DiffLine, ...], words: Words, room: int) -> list[Line]:
    """The scripts' difference; long unchanged stretches are left out."""
    if not diff:
        return [[Span(words("no repair"), "dim")]]
    near = {place + by for place, line in enumerate(diff) if line.sign != " " for by in range(-CONTEXT, CONTEXT + 1)}
    lines: list[Line] = []
    skipping = False
    for place, entry in enumerate(diff):
        if place not in near:
            if not skipping:
                lines.append([Span("  ⋯", "dim")])
            skipping = True
            continue
        skipping = False
        text = clean(entry.text.expandtabs(4))
        if entry.sign == " ":
            lines.append([Span("  "), *highlighted(text)])
        else:
            role = "stale" if entry.sign == "-" else "changed"
            lines.append([Span(f"{entry.sign} ", f"{role} bold"), Span(cut(text, room - 2), role)])
    return lines


def finding_lines(found: Mapping[Run, tuple[Finding, ...]], names: Names, words: Words, room: int) -> list[Line]:
    """What the checks say of each run. Findings that another one causes are left to the list of findings."""
    lines: list[Line] = []
    for run, findings in found.items():
        if lines:
            lines.append([])
        own = [finding for finding in findings if finding.caused_by is None]
        if not own:
            lines.append([Span(names[run], "bold"), Span("   ✓ " + words("no findings"), "good")])
            continue
        lines.append([Span(names[run], "bold")])
        for finding in own:
            role = f"finding-{finding.severity}"
            head = f"{GLYPHS[finding.severity]} {finding.code} {finding.name.replace('-', ' ')}"
            lines += wrap([Span(head, role), Span(f"  {finding.position or ''}", "dim")], room)
            lines += prose(finding.message, room)
            lines += prose(f"**{finding.fix}**", room)
    return lines


def curve_lines(
    curves: tuple[Curve, ...], names: Names, words: Words, room: int, height: int, flip: bool
) -> list[Line]:
    """A chart of each number over the iterations: the script solid, the repaired one dashed."""
    if not curves:
        return [[Span(words("nothing to draw"), "dim")]]
    each = _rows(curves, height)
    lines: list[Line] = [_legend(names)]
    for curve in curves:
        chart = _chart(curve, flip)
        lines.append(_title(curve, chart.log))
        lines += draw(chart, room, each - 1, str)
    return lines


def curve_at(curves: tuple[Curve, ...], room: int, height: int, flip: bool, x: int, y: int) -> tuple[Run, int] | None:
    """Of `curve_lines`, the run whose curve is nearest to a place, and the iteration there."""
    each = _rows(curves, height) if curves else 1
    number, row = divmod(y - 1, each)
    if not 0 <= number < len(curves) or not row:
        return None
    curve = curves[number]
    found = pointed_at(_chart(curve, flip), room, each - 1, x, row - 1)
    if found is None:
        return None
    iteration, series = found
    run = tuple(curve.points)[series]
    return run, min(iteration, len(curve.points[run]) - 1)


def _rows(curves: tuple[Curve, ...], height: int) -> int:
    """Of each curve, its title among them."""
    return max(LEAST_ROWS, (height - 1) // len(curves))


@lru_cache(32)
def _chart(curve: Curve, flip: bool) -> Chart:
    series = tuple(
        Series(
            run,
            np.arange(len(points)),
            np.array([np.nan if point is None else point for point in points], np.float64),
            _STROKES[run][1],
            dashed=run == "repaired",
        )
        for run, points in curve.points.items()
    )
    last = max((len(entry.values) for entry in series), default=1) - 1
    return Chart(series, 0, max(1, last), _spread(series) != flip)


def _legend(names: Names) -> Line:
    """Which stroke is whose."""
    line: Line = []
    for run, name in names.items():
        stroke, role = _STROKES[run]
        line += [Span(f"{stroke} ", role), Span(f"{name}    ", role)]
    return line


def _title(curve: Curve, log: bool) -> Line:
    """What is drawn, with each run's first and last value."""
    line: Line = [Span(curve.label, "bold")]
    for run, points in curve.points.items():
        known = [point for point in points if point is not None]
        reached = f"{short(known[0], 3)} → {short(known[-1], 3)}" if known else "–"
        stroke, role = _STROKES[run]
        line += [Span("    "), Span(f"{stroke[0]} {reached}", role)]
    return [*line, Span("    log" if log else "", "dim")]


def _spread(series: tuple[Series, ...]) -> bool:
    """Whether the values lie so far apart, and all above 0, that a log axis shows more."""
    values = np.concatenate([entry.values[np.isfinite(entry.values)] for entry in series])
    return bool(len(values) and values.min() > 0 and values.max() / values.min() > 100)


def closing_lines(guide: Guide, words: Words, room: int) -> list[Line]:
    """The conclusion, and how the questions were answered."""
    page = guide.end
    lines = [*prose(page.text, room)]
    if guide.asked:
        line: Line = [Span(words("your answers") + "  ", "heading")]
        for number in range(len(guide.lesson.stops)):
            if guide.lesson.stops[number].question is None:
                continue
            given = guide.given.get(number)
            answered = given is not None and given.said != ""
            line.append(
                Span("✓ ", "good")
                if given is not None and given.right
                else Span("✗ ", "stale")
                if answered
                else Span("– ", "dim")
            )
        line.append(Span(" " + words("right answers", right=guide.right, asked=guide.asked)))
        lines += [[], line] if lines else [line]
    for error in page.errors:
        lines += [[], *wrap([Span("▲ " + words("lesson is wrong", error=error), "bad")], room)]
    return lines
