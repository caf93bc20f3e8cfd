"""Charts in braille: several series over event numbers on a linear or logarithmic axis with real ticks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from optrace.tui.core.numerals import short
from optrace.tui.core.spans import Line, Span, left, right

Array = np.ndarray[Any, Any]
AXIS = 9
"""Columns that the labels of the vertical axis take, the axis itself included."""
STRETCHES = 2048
"""Parts of a long curve of which the extremes are drawn: several to each column of dots."""
_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]], np.uint8)


@dataclass(frozen=True, eq=False)
class Series:
    """One curve: values at ascending event numbers. Equal only to itself, so that pictures of it can be kept."""

    name: str
    numbers: Array
    values: Array
    role: str
    dashed: bool = False
    """Drawn with gaps, so that two curves are told apart without colour."""

    @cached_property
    def outline(self) -> tuple[Array, Array]:
        """Numbers and values of the finite points that are drawn: all, or the edges and extremes of each stretch.

        What is least above 0 is among them, for a log axis. A long curve takes a while: workers call `prepared`.
        """
        places = np.flatnonzero(np.isfinite(self.values))
        size = -(-len(places) // STRETCHES)
        if size > 5:
            blocks = np.pad(places, (0, -len(places) % size), "edge").reshape(-1, size)
            values = self.values[blocks]
            above = np.where(values > 0, values, np.inf)
            found = [values.argmin(axis=1), values.argmax(axis=1), above.argmin(axis=1)]
            extremes = [np.take_along_axis(blocks, place[:, None], axis=1)[:, 0] for place in found]
            places = np.unique(np.concatenate([blocks[:, 0], blocks[:, -1], *extremes]))
        return self.numbers[places], self.values[places]

    def prepared(self) -> Series:
        """Itself, with the outline worked out."""
        _ = self.outline
        return self


@dataclass(frozen=True)
class Chart:
    """What to draw: `first` and `last` are the events at the left and right edge."""

    series: tuple[Series, ...]
    first: int
    last: int
    log: bool = False
    cursor: int | None = None

    def column_of(self, seq: int, columns: int) -> int:
        """Where an event stands, in character columns."""
        span = max(1, self.last - self.first)
        return max(0, min(columns - 1, (seq - self.first) * (columns - 1) // span))

    def event_at(self, column: int, room: int) -> int | None:
        """The event under a column of the drawn chart; None left of the axis."""
        columns = room - AXIS
        place = column - AXIS
        if not 0 <= place < columns:
            return None
        return self.first + round(place / max(1, columns - 1) * (self.last - self.first))


def pointed_at(chart: Chart, room: int, height: int, x: int, y: int) -> tuple[int, int] | None:
    """The event under a place of a drawn chart, and the number of the series nearest to it; None left of the axis."""
    event, column = chart.event_at(x, room), x - AXIS
    if event is None:
        return None
    owner = _picture(chart.series, chart.first, chart.last, chart.log, *_size(room, height))[1]
    begin = max(0, column - 2)
    rows, columns = np.nonzero(owner[:, begin : column + 3] >= 0)  # a few columns, for a dashed curve has gaps
    if not len(rows):
        return event, 0
    nearest = (2 * np.abs(rows - y) + np.abs(columns + begin - column)).argmin()
    return event, int(owner[rows[nearest], columns[nearest] + begin])


def _size(room: int, height: int) -> tuple[int, int]:
    """Columns and rows of the picture in a chart of this size."""
    return max(4, room - AXIS), max(2, height - 2)


def draw(chart: Chart, room: int, height: int, label: Any) -> list[Line]:
    """The chart in `height` lines of `room` columns; `label` writes an event's position for the lower axis."""
    columns, rows = _size(room, height)
    cells, owner, scale, dropped = _picture(chart.series, chart.first, chart.last, chart.log, columns, rows)
    if scale is None:
        note = "no finite value above 0 to draw on a log axis" if chart.log and dropped else "nothing to draw"
        return [[Span(note, "dim")], *([[]] * (height - 1))]
    at = (
        chart.column_of(chart.cursor, columns)
        if chart.cursor is not None and chart.first <= chart.cursor <= chart.last
        else None
    )
    ticks = scale.ticks(rows)
    lines: list[Line] = []
    for row in range(rows):
        text = ticks.get(row)
        line: Line = [Span(right(text or "", AXIS - 1), "axis"), Span("┤" if text else "│", "axis")]
        for column in range(columns):
            bits, who = int(cells[row, column]), int(owner[row, column])
            role = chart.series[who].role if who >= 0 else ""
            glyph = chr(0x2800 + bits) if bits else " "
            if column == at:
                glyph, role = ("┃", "cursor-line") if not bits else (glyph, role + " cursor")
            if line[-1].role == role and len(line) > 2:
                line[-1] = Span(line[-1].text + glyph, role)
            else:
                line.append(Span(glyph, role))
        lines.append(line)
    lines.append([Span(" " * (AXIS - 1) + "└" + "─" * columns, "axis")])
    lines.append(_lower(chart, columns, label))
    return lines


@lru_cache(8)
def _picture(
    series: tuple[Series, ...], first: int, last: int, log: bool, columns: int, rows: int
) -> tuple[Array, Array, _Scale | None, int]:
    """All of a chart but the cursor: dots, whose each is, the axis, how many values a log axis leaves out."""
    chart = Chart(series, first, last, log)
    cells = np.zeros((rows, columns), np.uint8)
    owner = np.full((rows, columns), -1)
    low, high, dropped = _limits(chart)
    if low is None or high is None:
        return cells, owner, None, dropped
    scale = _Scale(low, high, log)
    for number, entry in enumerate(series):
        _plot(entry, chart, scale, cells, owner, number)
    return cells, owner, scale, dropped


def _limits(chart: Chart) -> tuple[float | None, float | None, int]:
    low, high, dropped = math.inf, -math.inf, 0
    for series in chart.series:
        usable = series.outline[1]
        if chart.log:
            dropped += int(np.count_nonzero(usable <= 0))
            usable = usable[usable > 0]
        if len(usable):
            low, high = min(low, float(usable.min())), max(high, float(usable.max()))
    return (low, high, dropped) if low <= high else (None, None, dropped)


class _Scale:
    """Values to dots, and the ticks that a person would choose."""

    def __init__(self, low: float, high: float, log: bool) -> None:
        self.log = log
        if log:
            low, high = math.log10(low), math.log10(high)
        if high - low < 1e-12 * max(abs(low), abs(high), 1e-300):
            pad = abs(low) * 0.1 or 0.5
            low, high = low - pad, high + pad
        self.low, self.high = low, high

    def dots(self, values: Array, count: int) -> Array:
        """Dot rows from the top; -1 where there is nothing to draw."""
        with np.errstate(all="ignore"):
            work = np.log10(values) if self.log else values
            place = (work - self.low) / (self.high - self.low) * (count - 1)
        good = np.isfinite(place)
        result = np.full(len(values), -1)
        result[good] = count - 1 - np.clip(np.round(place[good]), 0, count - 1).astype(np.int64)
        return result

    def ticks(self, rows: int) -> dict[int, str]:
        """Labels by row."""
        found: dict[int, str] = {}
        for value in self._values(rows):
            place = (value - self.low) / (self.high - self.low)
            row = rows - 1 - round(place * (rows - 1))
            if 0 <= row < rows and row not in found and row - 1 not in found:
                found[row] = _power(value) if self.log else short(value + 0.0)
        return found

    def _values(self, rows: int) -> list[float]:
        span = self.high - self.low
        if self.log and span >= 1:
            step = max(1, math.ceil(span / max(1, rows // 2)))
            return [float(power) for power in range(math.ceil(self.low), math.floor(self.high) + 1, step)]
        raw = span / max(1, min(6, rows // 2))
        magnitude = 10 ** math.floor(math.log10(raw))
        step = next(m * magnitude for m in (1, 2, 5, 10) if m * magnitude >= raw * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        values = [number * step for number in range(first, math.floor(self.high / step + 1e-9) + 1)]
        return [0.0 if abs(value) < step * 1e-9 else value for value in values]


def _power(exponent: float) -> str:
    return f"1e{round(exponent)}" if abs(exponent - round(exponent)) < 1e-9 else short(10**exponent)


def _plot(series: Series, chart: Chart, scale: _Scale, cells: Array, owner: Array, number: int) -> None:
    """Draw the span from least to greatest of every dot column, joined to the column before."""
    rows, columns = cells.shape
    width, height = columns * 2, rows * 4
    numbers, values = series.outline
    inside = (numbers >= chart.first) & (numbers <= chart.last)
    if chart.log:
        inside &= values > 0
    numbers, values = numbers[inside], values[inside]
    if not len(numbers):
        return
    places = (numbers - chart.first) * (width - 1) // max(1, chart.last - chart.first)
    starts = np.flatnonzero(np.diff(places, prepend=-1))
    tops = scale.dots(np.maximum.reduceat(values, starts), height)
    bottoms = scale.dots(np.minimum.reduceat(values, starts), height)
    ends = np.append(starts[1:], len(values)) - 1
    firsts, lasts = scale.dots(values[starts], height), scale.dots(values[ends], height)
    xs = places[starts]
    for place, (x, top, bottom) in enumerate(zip(xs.tolist(), tops.tolist(), bottoms.tolist(), strict=True)):
        if place and x - xs[place - 1] <= 1:  # next to each other: join them, half way each
            before = int(lasts[place - 1])
            top, bottom = min(top, max(before, top)), max(bottom, min(before, bottom))
            if before < top:
                top = before + 1
            elif before > bottom:
                bottom = before - 1
        elif place:
            _join(cells, owner, number, int(xs[place - 1]), int(lasts[place - 1]), x, int(firsts[place]), series.dashed)
        if series.dashed and bottom - top < 4 and x // 2 % 2 and place < len(xs) - 1 and xs[place + 1] - x <= 1:
            continue
        for y in range(top, bottom + 1):
            cells[y // 4, x // 2] |= _DOTS[y % 4, x % 2]
            owner[y // 4, x // 2] = number


def _join(cells: Array, owner: Array, number: int, x0: int, y0: int, x1: int, y1: int, dashed: bool) -> None:
    """A line between two dots."""
    count = max(abs(x1 - x0), abs(y1 - y0), 1)
    steep = abs(y1 - y0) > 2 * abs(x1 - x0)
    for step in range(1, count):
        x, y = x0 + round(step * (x1 - x0) / count), y0 + round(step * (y1 - y0) / count)
        if dashed and (y // 4 if steep else x // 2) % 2:
            continue
        cells[y // 4, x // 2] |= _DOTS[y % 4, x % 2]
        owner[y // 4, x // 2] = number


def _lower(chart: Chart, columns: int, label: Any) -> Line:
    """Positions under the axis: both ends and some between, and never over one another."""
    text = [" "] * (AXIS + columns)
    count = max(2, min(6, columns // 16))
    used = -1
    for place in range(count):
        event = chart.first + round(place / (count - 1) * (chart.last - chart.first))
        word = label(event)
        centre = AXIS + chart.column_of(event, columns)
        start = max(0, min(len(text) - len(word), centre - len(word) // 2))
        if start > used:
            text[start : start + len(word)] = word
            used = start + len(word)
    return [Span(left("".join(text), len(text)), "axis")]
