"""The two runs of a lesson side by side: the repair, what `optrace check` says, numbers over the iterations."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from optrace.errors import OptraceError
from optrace.lessons.expressions import Evaluator
from optrace.lessons.model import Lesson, Run, Series

if TYPE_CHECKING:
    from optrace.checks.finding import Finding
    from optrace.trace.reader import Trace


@dataclass(frozen=True)
class DiffLine:
    """A line of both scripts (` `), only of the broken one (`-`), or only of the repaired one (`+`)."""

    sign: str
    text: str


@dataclass(frozen=True, eq=False)
class Curve:
    """One number of both runs at the end of each iteration; None where it does not exist."""

    label: str
    points: Mapping[Run, tuple[float | None, ...]]


@dataclass(frozen=True)
class Comparison:
    """The two runs side by side."""

    diff: tuple[DiffLine, ...]
    findings: Mapping[Run, tuple[Finding, ...]]
    curves: tuple[Curve, ...]


def compare(lesson: Lesson, traces: Mapping[Run, Trace], evaluator: Evaluator) -> Comparison:
    """Compare the runs of a lesson. With only one there is no diff, and each curve has one line."""
    return Comparison(
        diff=diff(lesson),
        findings={run: trace.findings for run, trace in traces.items()},
        curves=tuple(
            Curve(series.label, {run: points(series, run, trace, evaluator) for run, trace in traces.items()})
            for series in lesson.compare
        ),
    )


def diff(lesson: Lesson) -> tuple[DiffLine, ...]:
    """What the repair changes, line by line."""
    if lesson.repaired is None:
        return ()
    before, after = (path.read_text(encoding="utf-8").splitlines() for path in (lesson.script, lesson.repaired))
    return tuple(DiffLine(line[0], line[2:]) for line in difflib.ndiff(before, after) if line[0] != "?")


def points(series: Series, run: Run, trace: Trace, evaluator: Evaluator) -> tuple[float | None, ...]:
    """A series at the last event of each iteration, or at the last before it in the iteration where it exists."""
    found = []
    for iteration in range(len(trace.iterations)):
        first, after = trace.iterations.bounds(iteration)
        found.append(_latest(series, run, range(after - 1, first - 1, -1), evaluator))
    return tuple(found)


def _latest(series: Series, run: Run, events: range, evaluator: Evaluator) -> float | None:
    for seq in events:
        try:
            number = _number(evaluator.value(series.expression.text, run, seq))
        except OptraceError:
            number = None
        if number is not None:
            return number
    return None


def _number(value: Any) -> float | None:
    if value is None or isinstance(value, str) or np.size(value) != 1 or isinstance(value, complex):
        return None
    return float(value)
