"""The *History* tab: any statistic of a value over the run, as a chart."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from optrace.trace.format import ONE_PASS, Flag, Op, Storage
from optrace.trace.model import Parameter
from optrace.tui.core.canvas import Chart, Series, draw
from optrace.tui.core.grid import Place
from optrace.tui.core.machine import Machine
from optrace.tui.core.numerals import index, short
from optrace.tui.core.readings import Stats
from optrace.tui.core.spans import Line, Span

Array = np.ndarray[Any, Any]
STATISTICS = ("norm", "min mean max", "element", "nonfinite", "zeros", "loss")
RATIO = "Δ/param"
"""The norm of the last update over the parameter's."""
OF_UPDATES = (RATIO, "element", "loss")
STRETCH = 30_000
"""Events between two looks at whether to stop."""
MOST_ELEMENTS = 20_000
"""Writes that are read one by one; of more, one of every so many."""


@dataclass(frozen=True)
class Wanted:
    """What a chart is of."""

    parameter: int
    kind: str
    statistic: str
    place: Place
    count: int
    """Events in the trace, so that a growing one is read anew."""


Report = Callable[[tuple[Series, ...], float], bool]
"""Takes what there is so far and how much of the whole that is; False stops."""


def choices(kind: str) -> tuple[str, ...]:
    """What can be drawn of a value."""
    return OF_UPDATES if kind == "update" else STATISTICS


def chosen(kind: str, statistic: str) -> str:
    """What is drawn of a value: the statistic, where it can be, else the first of those that can."""
    return statistic if statistic in choices(kind) else choices(kind)[0]


def title(parameter: Parameter, kind: str, statistic: str) -> str:
    """What a chart is called."""
    if statistic == "loss":
        return statistic
    names = {"param": parameter.name, "grad": f"{parameter.name}.grad", "update": "last update"}
    return f"{statistic} of {parameter.name if statistic == RATIO else names.get(kind, kind)}"


def wanted(machine: Machine, parameter: Parameter, kind: str, statistic: str, place: Place) -> Wanted:
    """What the tab wants to draw."""
    statistic = chosen(kind, statistic)
    place = place if statistic == "element" else ()
    return Wanted(parameter.id, kind, statistic, place, len(machine.trace.events))


def collect(machine: Machine, want: Wanted, report: Report | None = None) -> tuple[Series, ...] | None:
    """Read the series of a chart, in stretches; None where `report` said to stop."""
    parameter = machine.trace.parameters.by_id(want.parameter)
    if want.statistic == "loss":
        return (_loss(machine),)
    if want.statistic == "element":
        return _element(machine, parameter, want, report)
    if want.kind == "update":
        return _updates(machine, parameter, want, report)
    names = ("min", "mean", "max") if want.statistic == "min mean max" else (want.statistic,)
    pieces: dict[str, list[tuple[Array, Array]]] = {name: [] for name in names}
    series: tuple[Series, ...] = ()
    for first in range(0, want.count, STRETCH):
        for name in names:
            pieces[name].append(
                machine.trace.statistics(parameter, want.kind, name, first, min(want.count, first + STRETCH))
            )
        last = first + STRETCH >= want.count
        if last or report is not None:
            series = tuple(_joined(name, pieces[name], f"series{number}") for number, name in enumerate(names))
        if report is not None and not last and not report(series, (first + STRETCH) / want.count):
            return None
    return series


def _joined(name: str, pieces: list[tuple[Array, Array]], role: str) -> Series:
    numbers, values = np.concatenate([n for n, _ in pieces]), np.concatenate([v for _, v in pieces])
    return Series(name, numbers, values, role).prepared()


def _loss(machine: Machine) -> Series:
    numbers = np.flatnonzero(machine.trace.column("flags") & Flag.LOSS)
    return Series("loss", numbers, machine.trace.column("loss")[numbers], "series0").prepared()


def _element(machine: Machine, parameter: Parameter, want: Wanted, report: Report | None) -> tuple[Series, ...] | None:
    def read(number: int) -> float:
        value = machine.readings.element(parameter, want.kind, number, want.place)
        return float("nan") if value is None else float(abs(value) if np.iscomplexobj(value) else value)

    return _one_by_one(machine, parameter, want, read, index(want.place), report)


def _updates(machine: Machine, parameter: Parameter, want: Wanted, report: Report | None) -> tuple[Series, ...] | None:
    def read(number: int) -> float:
        ratio = machine.readings.ratio(parameter, number)
        return ratio if isinstance(ratio, float) else float("nan")

    return _one_by_one(machine, parameter, want, read, RATIO, report)


def _one_by_one(
    machine: Machine, parameter: Parameter, want: Wanted, read: Callable[[int], float], name: str, report: Report | None
) -> tuple[Series, ...] | None:
    numbers, every = _spread(*_writes(machine, parameter, want))
    values = np.full(len(numbers), np.nan)
    label = name if every == 1 else f"{name} (one of {every} writes)"
    for place, number in enumerate(numbers.tolist()):
        values[place] = read(int(number))
        if report is not None and place % 1000 == 999:
            so_far = Series(label, numbers[: place + 1], values[: place + 1].copy(), "series0").prepared()
            if not report((so_far,), place / len(numbers)):
                return None
    return (Series(label, numbers, values, "series0").prepared(),)


def _writes(machine: Machine, parameter: Parameter, want: Wanted) -> tuple[Array, Array]:
    """Numbers of the events that wrote what is drawn, and whether it was there after each.

    A keyframe updates nothing.
    """
    kind = "param" if want.kind == "update" else want.kind
    numbers = machine.trace.writes(parameter, kind)
    numbers = numbers[: np.searchsorted(numbers, want.count)]
    _, places, inverse = np.unique(machine.trace.column("effect")[numbers], return_index=True, return_inverse=True)
    ops = [found[1].op for n in numbers[places].tolist() if (found := machine.readings.last(parameter, kind, n))]
    there = np.array([op not in (Op.CLEAR, Op.GONE) for op in ops], bool)[inverse]
    if want.kind == "update":
        moved = np.array([op is not Op.RESTATED for op in ops], bool)[inverse]
        numbers, there = numbers[moved], there[moved]
    return numbers, there


def _spread(numbers: Array, there: Array) -> tuple[Array, int]:
    """Not more writes than can be read, and of how many one.

    They are drawn by lot, always the same: every so many could be one call of each turn alone, a clearing perhaps.
    """
    if len(numbers) <= MOST_ELEMENTS:
        return numbers, 1
    numbers = numbers[there]
    every = -(-len(numbers) // MOST_ELEMENTS)
    begins = np.arange(0, len(numbers), every)
    drawn = begins + np.random.default_rng(0).integers(every, size=len(begins))
    return numbers[np.minimum(drawn, len(numbers) - 1)], every


def chart(series: tuple[Series, ...], count: int, seq: int, log: bool) -> Chart:
    """The chart of a whole run."""
    return Chart(series, 0, max(1, count - 1), log, seq)


def missing(machine: Machine, want: Wanted, seq: int) -> str:
    """Why there is no number just after event `seq`; empty where there is one, be it a nan of the training's own."""
    if want.statistic == "loss":
        return ""
    parameter, readings = machine.trace.parameters.by_id(want.parameter), machine.readings
    found = readings.written(parameter, want.kind, seq)
    kept = None if found is None else machine.trace.exactness_of(*found)
    if found is None or kept is None:
        return "none"
    number, change = found
    if kept == "not kept":
        return kept
    if want.kind == "update" and change.op is not Op.CHANGE:
        return "none"
    sampled = change.storage is Storage.SAMPLE
    if want.statistic == "element":
        which = (parameter, want.kind, number, want.place)
        there = readings.compute(("element", *which), change.nbytes, partial(readings.element, *which)) is not None
    elif want.kind == "update":
        there = readings.ratio(parameter, number) is not None
    else:
        stats = readings.stats_of(parameter, want.kind, number, change) if sampled else None
        untaken = isinstance(stats, Stats) and math.isnan(stats.zeros) and want.statistic not in ONE_PASS
        return "not taken" if untaken else ""
    return "" if there else "not kept" if sampled else "none"


def lines(what: Chart, title: str, here: str, done: float, room: int, height: int, label: Any) -> list[Line]:
    """The tab below its line of choices: a legend, and the chart. `here` stands for the number that is missing."""
    head: Line = [Span(title, "bold")]
    for series in what.series if len(what.series) > 1 or (what.series and what.series[0].name not in title) else ():
        head += [Span("   ━ ", series.role), Span(series.name, series.role)]
    if here:
        head.append(Span(f"   {here}", "dim"))
    elif what.cursor is not None:
        for series in what.series:
            place = int(np.searchsorted(series.numbers, what.cursor, "right")) - 1
            if place >= 0:
                head.append(Span(f"   {short(float(series.values[place]), 4)}", f"{series.role} bold"))
    head.append(Span("   log" if what.log else "   linear", "dim"))
    if done < 1:
        head.append(Span(f"   reading {done:.0%}", "fresh"))
    return [head, *draw(what, room, height - 1, label)]
