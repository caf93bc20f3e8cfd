"""The table of parameters: one row each, its gradient drawn as a bar of contributions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from optrace.trace.format import Op
from optrace.trace.model import Parameter
from optrace.tui.core.abbreviate import Abbreviations
from optrace.tui.core.blocks import spread
from optrace.tui.core.effects import Effects, Summary
from optrace.tui.core.numerals import shape, short
from optrace.tui.core.parts import FOUND, FRESH, STALE, USED, Gradient, Part, Parts
from optrace.tui.core.readings import Pending, Readings, Stats
from optrace.tui.core.spans import Line, Span, left, right, tinted

if TYPE_CHECKING:
    from optrace.trace.reader import Trace

PATTERN = {FRESH: "▆", FOUND: "▃", USED: "░", STALE: "▓▒"}
"""What each fate is drawn with, so that the bar reads without colour; stale ones alternate."""


@dataclass(frozen=True)
class Column:
    """A column of the table."""

    key: str
    title: str
    width: int
    numeric: bool = True


SORTS = ("order", "name", "size", "norm", "grad", "stale", "ratio")
SORT_NAMES = {
    "order": "as in the model", "name": "name", "size": "size", "norm": "‖param‖", "grad": "‖grad‖",
    "stale": "stale share", "ratio": "Δ/param",
}  # fmt: skip

SORTED_BY = {key: key for key in SORT_NAMES} | {"shape": "size", "bar": "stale"}
"""What a click on a column's title sorts by."""


def columns(room: int, states: list[str], longest: int) -> list[Column]:
    """The columns that fit into `room`, the most telling first."""
    name = max(8, min(longest + 1, 28, max(20, room // 4)) if room >= 70 else min(longest + 1, 14, room // 4))
    left_over = room - name - 2
    wanted = [
        Column("grad", "‖grad‖", 9),
        Column("bar", "gradient is made of", 18, False),
        Column("ratio", "Δ/param", 9),
        Column("norm", "‖param‖", 9),
        Column("shape", "shape", 10),
        *[
            Column(f"state:{state}", f"‖{state}‖", max(10, min(len(state) + 3, 17)))
            for state in states
            if state != "step"
        ],
    ]
    taken: list[Column] = []
    for column in wanted:
        if column.width > left_over:
            break
        taken.append(column)
        left_over -= column.width
    order = ["shape", "norm", "grad", "bar", "ratio"]
    taken.sort(key=lambda column: order.index(column.key) if column.key in order else len(order))
    more = max(0, min(left_over, min(longest + 1, 28) - name))  # a whole name tells more than a longer bar
    grow = min(left_over - more, 24)
    return [
        Column("name", "name", name + more, False),
        *(
            Column(c.key, c.title if grow > 2 else "grad is made of", c.width + grow, c.numeric)
            if c.key == "bar"
            else c
            for c in taken
        ),
    ]


class Table:
    """Rows of the table at any position."""

    def __init__(self, trace: Trace, readings: Readings, effects: Effects, parts: Parts) -> None:
        self._trace = trace
        self._readings = readings
        self._effects = effects
        self._parts = parts
        self._short = Abbreviations(())
        self._named = 0
        """How many parameters there were when their names were abbreviated."""

    def _name(self, parameter: Parameter, room: int) -> str:
        if len(parameter.name) <= room and parameter.name.isascii():
            return parameter.name
        if self._named != len(self._trace.parameters):
            self._named, self._short = len(self._trace.parameters), Abbreviations(self._trace.parameters)
        return self._short.of(parameter.name, room)

    def head(self, layout: list[Column], sort: str) -> Line:
        """Titles; the one sorted by has an arrow."""
        line: Line = [Span("  ")]
        for column in layout:
            chosen = (
                column.key == sort
                or (column.key == "bar" and sort == "stale")
                or (column.key == "shape" and sort == "size")
            )
            title = column.title + ("▼" if chosen else "")
            line.append(
                Span(
                    right(title, column.width)
                    if column.numeric
                    else left(" " * (column.key == "bar") * 2 + title, column.width),
                    "heading",
                    f"sort_by({SORTED_BY[column.key]!r})" if column.key in SORTED_BY else "",
                )
            )
        return line

    def row(self, parameter: Parameter, seq: int, layout: list[Column], selected: bool) -> Line:
        """One parameter's row."""
        summary = self._effects.of(seq)
        gradient = self._parts.at(parameter, seq)
        line: Line = [Span("▸ " if selected else "  ", "selected-mark" if selected else "")]
        for column in layout:
            line += self._cell(parameter, seq, column, summary, gradient)
        return tinted(line, "selected-row") if selected else line

    def _cell(self, parameter: Parameter, seq: int, column: Column, summary: Summary, gradient: Gradient) -> Line:
        if column.key == "name":
            role = "" if parameter.requires_grad else "dim"
            return [Span(left(self._name(parameter, column.width - 1), column.width), role)]
        if column.key == "shape":
            return [Span(right(shape(parameter.shape), column.width), "dim")]
        if column.key == "norm":
            return self._number(parameter, "param", seq, column.width, summary)
        if column.key == "grad":
            return self._number(parameter, "grad", seq, column.width, summary)
        if column.key == "bar":
            return self._bar(gradient, column.width, summary, parameter)
        if column.key == "ratio":
            ratio = self._readings.ratio(parameter, seq)
            text = "…" if isinstance(ratio, Pending) else short(ratio, 2) if ratio is not None else ""
            if isinstance(ratio, float) and self._readings.sampled(parameter, "update", seq):
                text = "≈" + text
            fresh = (parameter.id, "param") in summary.changes
            return [Span(right(text, column.width), "changed" if fresh else "dim")]
        return self._number(parameter, column.key.removeprefix("state:"), seq, column.width, summary)

    def _number(self, parameter: Parameter, kind: str, seq: int, room: int, summary: Summary) -> Line:
        change = summary.changes.get((parameter.id, kind))
        wrote = change is not None
        stats = self._readings.stats(parameter, kind, seq)
        if isinstance(stats, Pending):
            text = "…"
        elif isinstance(stats, Stats):
            text = ("≈" if self._readings.sampled(parameter, kind, seq) else "") + short(stats.norm)
        else:
            last = self._readings.last(parameter, kind, seq)
            text = "–" if last is None or last[1].op in (Op.CLEAR, Op.GONE) else "not kept"
        role = "changed" if wrote else "" if text not in ("–", "not kept") else "dim"
        if isinstance(stats, Stats) and stats.nonfinite:
            role = "bad"
            text = "nan" if stats.norm != stats.norm else "inf"
        return [Span(right(("◆ " if wrote else "") + text, room), role)]

    def _bar(self, gradient: Gradient, room: int, summary: Summary, parameter: Parameter) -> Line:
        words = describe(gradient)
        beside = 10 if room >= 18 else 0
        inner = room - 2 - beside
        if gradient.waiting:
            return [Span(left("  …", room), "dim")]
        if gradient.just_cleared:
            ghost = "·" * min(inner, 12)
            return [Span("  "), Span(left(ghost, inner), "cleared"), Span(left(" cleared", beside), "changed")]
        if not gradient.present or not gradient.parts:
            return [Span(left("  " + words, room), "dim")]
        line: Line = [Span("  "), *draw(gradient.parts, inner)]
        role = STALE if gradient.stale else FOUND if gradient.found else FRESH if gradient.fresh else USED
        about = "≈" if any(part.norm is None for part in gradient.parts) else " "  # how long each part is, is not known
        line.append(Span(left(about + words, beside), role))
        return line


def draw(parts: tuple[Part, ...], room: int) -> Line:
    """The parts side by side, oldest first, in `room` columns."""
    widths = spread([part.norm or 0.0 for part in parts], room)
    line: Line = []
    stale = 0
    for part, wide in zip(parts, widths, strict=True):
        pattern = PATTERN[part.fate]
        glyph = pattern[stale % len(pattern)]
        stale += part.fate == STALE
        if line and part.fate == FRESH and line[-1].role.startswith(FRESH) and wide > 1:
            line.append(Span("▌" + glyph * (wide - 1), "fresh seam"))
        else:
            line.append(Span(glyph * wide, part.fate))
    return line


def describe(gradient: Gradient) -> str:
    """A few words: `3 stale`, `fresh`, `4 fresh`, `found`, `used`, `zeros`, `none`."""
    if not gradient.present:
        return "not kept" if gradient.unknown else "none"
    if gradient.zeroed:
        return "zeros"
    if gradient.stale:
        return f"{gradient.stale} stale"
    if gradient.found:
        return f"found + {gradient.fresh}" if gradient.fresh else "found"
    if gradient.fresh:
        return "fresh" if gradient.fresh == 1 else f"{gradient.fresh} fresh"
    return "used" if gradient.parts else "set"


__all__ = ["SORTS", "SORT_NAMES", "Column", "Table", "columns", "describe", "draw"]
