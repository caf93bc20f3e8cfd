"""The *Values* tab: a tensor as a heat map, as numbers, or as a histogram, with a cursor on one element."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from optrace.errors import LookupFailed
from optrace.trace.model import Parameter
from optrace.tui.core.blocks import bar
from optrace.tui.core.grid import Grid, Place, fitting
from optrace.tui.core.machine import Machine
from optrace.tui.core.numerals import count, element, index, shape, short
from optrace.tui.core.readings import Pending, Stats, wide
from optrace.tui.core.spans import Line, Span, acting, left, right, width, wrap
from optrace.tui.core.tiles import Tiles, tiled

VIEWS = ("heat map", "numbers", "histogram")
HEAD = 2
"""Lines above the grid: what is shown, and the chosen element."""
_DENSITY = " ░▒▓█"
STEPS = 6
"""Shades on each side of zero."""


@dataclass(frozen=True)
class Look:
    """How a value is looked at."""

    kind: str = "param"
    view: str = "heat map"
    place: Place = ()

    @property
    def cell(self) -> int:
        """Columns of one cell."""
        return 2 if self.view == "heat map" else 11


def shown_kinds(machine: Machine, parameter: Parameter) -> list[str]:
    """What can be looked at: the parameter, its gradient, state entries, and the last update."""
    kinds = machine.kinds(parameter)
    return ["param", "grad", *[kind for kind in kinds if kind not in ("param", "grad")], "update"]


def grid_of(parameter: Parameter, look: Look, room: int, lengths: Place | None = None) -> Grid:
    """The grid of a value in `room` columns."""
    lengths = parameter.shape if lengths is None else lengths
    if look.view != "histogram":  # of numbers, kernels one under another are more to see than one alone
        tiles = tiled(lengths, room - margin_of(lengths), look.cell, 2 if look.view == "heat map" else 1)
        if tiles is not None:
            return tiles
    fold = max(1, (room - margin_of(lengths)) // look.cell)
    if look.view == "heat map" and fold > 10:
        fold -= fold % 10
    return Grid(lengths, fold)


def margin_of(lengths: Place) -> int:
    """Columns left of the grid, for the rows' numbers."""
    rows = lengths[-2] if len(lengths) >= 2 else lengths[0] if lengths else 1
    if len(lengths) > 2:
        rows = max(rows, *lengths[:-2])
    return max(4, len(str(max(0, rows - 1))) + 2)


def shape_of(machine: Machine, parameter: Parameter, kind: str, seq: int) -> Place:
    """The shape of a value, which a state entry may have of its own."""
    found = machine.readings.written(parameter, kind, seq)
    return found[1].shape if found is not None else parameter.shape


def lines(machine: Machine, parameter: Parameter, seq: int, look: Look, room: int, height: int) -> list[Line]:
    """The tab below its line of choices."""
    lengths = shape_of(machine, parameter, look.kind, seq)
    place = fitting(look.place, lengths)
    found = machine.readings.written(parameter, look.kind, seq)
    if found is None:
        return [[Span(f"There is no {look.kind} yet.", "dim")]]
    grid = grid_of(parameter, look, room, lengths)
    rows, columns = max(1, height - HEAD - 1), max(1, (room - margin_of(lengths)) // look.cell)
    first = grid.window(place, rows, columns)
    key = (
        "window",
        parameter.id,
        look.kind,
        found[0],
        place[:-2] if len(lengths) > 2 and not isinstance(grid, Tiles) else (),
        first,
        rows,
        columns,
        grid.fold,
        look.view,
    )

    def work() -> Any:
        try:
            value = machine.readings.array(parameter, look.kind, seq)
        except LookupFailed as reason:
            sample = machine.trace.sample(parameter, look.kind, seq) if look.kind != "update" else None
            return sample if sample is not None else str(reason)
        if value is None:
            return None
        if look.view == "histogram":
            return _histogram(value)
        work = wide(value)
        finite = np.abs(work[np.isfinite(work)]) if work.size else work
        limit = float(finite.max()) if finite.size else 0.0
        return limit, grid.take(value, place, first, rows, columns)

    got = machine.readings.compute(key, found[1].nbytes, work)
    if isinstance(got, Pending):
        return [[Span("reading …", "dim")]]
    if got is None:
        return [
            [
                Span(
                    "The gradient is None: there is nothing here." if look.kind == "grad" else "There is nothing here.",
                    "dim",
                )
            ]
        ]
    if isinstance(got, str):
        return wrap([Span(got, "dim")], room)
    if hasattr(got, "indices"):
        return _sampled(got, parameter, room, height)
    head = _head(machine, parameter, seq, look, place, lengths, isinstance(grid, Tiles), room)
    if 0 in lengths:
        return [*head, [Span(f"Its shape is {shape(lengths)}: it has no elements.", "dim")]]
    if look.view == "histogram":
        return [*head, *_histogram_lines(got, room, height - HEAD)]
    limit, cells = got
    if look.view == "heat map" and limit:
        legend = _legend(limit)
        if width([*head[1], *legend]) <= room:
            head[1] += legend
    return [*head, *_cells(cells, limit, grid, look, place, first, room)]


def _legend(limit: float) -> Line:
    """What the shades stand for."""
    levels = range(STEPS, 0, -1)
    shades = [*(("−", level) for level in levels), *(("+", level) for level in reversed(levels))]
    return [
        Span("   −" + short(limit) + " ", "dim"),
        *(Span(sign + _glyph(level / STEPS), f"heat{sign.replace('−', '-')}{level}") for sign, level in shades),
        Span(" +" + short(limit), "dim"),
    ]


def _head(
    machine: Machine, parameter: Parameter, seq: int, look: Look, place: Place, lengths: Place, tiles: bool, room: int
) -> list[Line]:
    value = machine.readings.element(parameter, look.kind, seq, place) if 0 not in lengths else None
    stats = machine.readings.stats(parameter, look.kind, seq) if look.kind != "update" else None
    line: Line = [
        Span("element ", "dim"),
        Span(index(place), "bold"),
        Span(" = ", "dim"),
        Span(element(value, 7) if value is not None else "–", "bold"),
    ]
    if look.kind not in ("update",) and seq and (parameter.id, look.kind) in machine.effects.of(seq).changes:
        before = machine.readings.element(parameter, look.kind, seq - 1, place)
        line[3:3] = [Span(element(before, 7) if before is not None else "none"), Span(" → ", "changed")]
    if isinstance(stats, Stats):
        if stats.nonfinite:
            line.append(Span(f"   {count(int(stats.nonfinite), 'element')} not finite", "bad"))
        facts = [f"norm {short(stats.norm)}"]  # all that one pass gives of a sampled value
        if not math.isnan(stats.zeros):
            facts = [f"min {short(stats.min)}", f"max {short(stats.max)}", f"zeros {int(stats.zeros)}"]
        for text in facts:
            told = Span(f"   {text}", "dim")
            line += [told] if width([*line, told]) <= room else []
    where: Line = [Span(f"{shape(lengths)}", "dim")]
    if len(lengths) > 2:
        part = ", ".join(map(str, place[:-2]))
        where.append(Span(f"   slice [{part}, :, :] of {math.prod(lengths[:-2])}", "bold"))
        words = " slices" if tiles else " other slices"
        where += [Span("   "), Span(",", "key", "slice(-1)"), Span(" "), Span(".", "key", "slice(1)")]
        where.append(Span(words, "dim", "slice(1)"))
    return [line, where]


def _cells(
    cells: list[list[Any]], limit: float, grid: Grid, look: Look, place: Place, first: tuple[int, int], room: int
) -> list[Line]:
    margin = margin_of(grid.shape)
    chosen = grid.cell(place)
    top, begin = first
    columns = max((len(row) for row in cells), default=0)
    marks = [" "] * (margin + columns * look.cell + 8)
    for column in range(columns):
        number = begin + column
        text = grid.column_label(number)
        if look.view == "numbers":
            text = right(text if isinstance(grid, Tiles) else str(number), look.cell - 1) + " "
        if text:
            at = margin + column * look.cell
            marks[at : at + len(text)] = text
    found: list[Line] = [[Span("".join(marks)[:room].rstrip(), "axis")]]
    for offset, row in enumerate(cells):
        line: Line = [Span(right(grid.row_label(top + offset), margin - 1) + " ", "axis")]
        for column, value in enumerate(row):
            if value is None:  # between two tiles
                line.append(Span(" " * look.cell))
                continue
            here = (top + offset, begin + column) == chosen
            line.append(
                heat(value, limit, here) if look.view == "heat map" else number_cell(value, limit, here, look.cell)
            )
        found.append(line)
    return found


def heat(value: Any, limit: float, here: bool) -> Span:
    """One element as two columns: its sign, and its size as a density; the colour says the same."""
    real = abs(value) if getattr(value, "imag", 0) else value.real
    real = float(real)
    cursor = " heat-cursor" if here else ""
    if math.isnan(real):
        return Span("NN", "nan" + cursor)
    if math.isinf(real):
        return Span("+∞" if real > 0 else "−∞", "inf" + cursor)
    share = abs(real) / limit if limit else 0.0
    level = min(STEPS, math.ceil(share * STEPS - 1e-12))
    glyph = _glyph(share)
    if level == 0:
        return Span(" ·", "heat-0" + cursor)
    return Span(("+" if real > 0 else "−") + glyph, f"heat{'+' if real > 0 else '-'}{level}{cursor}")


def _glyph(share: float) -> str:
    """A density for a share of the largest."""
    return _DENSITY[min(4, math.ceil(share * 4 - 1e-12))]


def number_cell(value: Any, limit: float, here: bool, room: int) -> Span:
    """One element as a number."""
    role = heat(value, limit, False).role
    role = role if role in ("nan", "inf") else "dim" if role == "heat-0" else ""
    return Span(right(element(value, 4), room - 1) + " ", role + (" heat-cursor" if here else ""))


def _histogram(value: Any) -> tuple[Any, Any, int, int]:
    """Counts, edges, zeros and non-finite elements."""
    work = np.abs(wide(value)).ravel() if np.iscomplexobj(value) else wide(value).ravel()
    finite = work[np.isfinite(work)]
    zeros = int(np.count_nonzero(finite == 0))
    if not len(finite):
        return None, None, zeros, int(work.size)
    low, high = float(finite.min()), float(finite.max())
    if not math.isfinite(high - low):
        finite = finite / 4
        low, high = low / 4, high / 4
    if high - low <= 1e-15 * max(abs(low), abs(high)):
        return np.array([len(finite)]), np.array([low, high]), zeros, int(work.size - len(finite))
    counts, edges = np.histogram(finite, 48, (low, high))
    return counts, edges, zeros, int(work.size - len(finite))


def _histogram_lines(found: tuple[Any, Any, int, int], room: int, height: int) -> list[Line]:
    counts, edges, zeros, bad = found
    lines: list[Line] = []
    if counts is None:
        return [
            [Span(f"No finite element: all {bad} are NaN or Inf." if bad else "No elements.", "bad" if bad else "dim")]
        ]
    if len(counts) == 1:
        lines.append(
            [Span(f"All {int(counts[0])} finite elements are "), Span(short(float(edges[0]), 6), "bold"), Span(".")]
        )
    else:
        rows = max(3, min(16, height - 2))
        while 48 % rows:
            rows -= 1
        merged = counts.reshape(rows, -1).sum(axis=1)
        limits = edges[:: 48 // rows]
        most = int(merged.max())
        for row in range(rows):
            low, high = float(limits[row]), float(limits[row + 1])
            inside = low <= 0 <= high
            wide_bar = max(4, room - 32)
            role = "heat+4 flat" if low >= 0 else "heat-4 flat" if high <= 0 else "axis"
            lines.append(
                [
                    Span(right(short(low), 8) + " … " + left(short(high), 8), "bold" if inside else "axis"),
                    Span(left(bar(merged[row] / most, wide_bar) or ("▏" if merged[row] else ""), wide_bar + 1), role),
                    Span(str(int(merged[row])), "dim"),
                ]
            )
    note: Line = [Span(f"{zeros} exactly 0", "dim")]
    if bad:
        note.append(Span(f"   {bad} not finite (left out)", "bad"))
    return [*lines, note]


def _sampled(sample: Any, parameter: Parameter, room: int, height: int) -> list[Line]:
    """What was kept of a value that was not kept whole."""
    kept = len(sample.indices)
    words = f"≈ Sampled: {kept} of {parameter.numel} elements were kept, and" if kept else "≈ Not whole: only"
    which = "statistics" if "mean" in sample.statistics else "norm and count of non-finite ones"
    found = wrap([Span(f"{words} {which} of all.", "finding-hint")], room)
    found += wrap(
        [Span("   ".join(f"{name} {short(value)}" for name, value in sample.statistics.items()), "dim")], room
    )
    for flat, value in list(zip(sample.indices, sample.values, strict=True))[: max(1, height - len(found))]:
        place = tuple(int(i) for i in np.unravel_index(int(flat), parameter.shape)) if parameter.shape else ()
        found.append(acting([Span(left(index(place), 20), "dim"), Span(element(value))], f"pick({place})"))
    return found
