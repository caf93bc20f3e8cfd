"""What in a lesson does not hold in its runs: for those who write lessons, and for the tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from optrace.errors import OptraceError, nearest
from optrace.lessons.errors import LessonError
from optrace.lessons.model import Lesson, Run, Source, Stop
from optrace.lessons.played import Played


def problems(played: Played) -> list[str]:
    """Everything in the text that is not so in the recorded runs, each with its file and line."""
    return [str(problem) for problem in _Check(played).all()]


def differences(lesson: Lesson, original: Lesson) -> list[str]:
    """Where a translation leads elsewhere, asks or claims other things than the original."""
    found = []
    for field in ("script", "repaired", "arguments", "order"):
        if getattr(lesson, field) != getattr(original, field):
            found.append(LessonError(f"{field} differs from {original.path.name}", lesson.path, 1))
    for field, mine, other in (
        ("finding", _texts(lesson.findings), _texts(original.findings)),
        ("compare", [s.expression.text for s in lesson.compare], [s.expression.text for s in original.compare]),
    ):
        if mine != other:
            found.append(LessonError(f"{field} differs from {original.path.name}", lesson.path, 1))
    if len(lesson.stops) != len(original.stops):
        message = f"{len(lesson.stops)} stops, {original.path.name} has {len(original.stops)}"
        found.append(LessonError(message, lesson.path, 1))
    for stop, first in zip(lesson.stops, original.stops, strict=False):
        for field, value in _skeleton(stop).items():
            if value != _skeleton(first)[field]:
                message = f"{field} differs from {original.path.name}:{first.line}"
                found.append(LessonError(message, lesson.path, stop.line))
    if (lesson.conclusion is None) != (original.conclusion is None):
        found.append(LessonError(f"only one of this and {original.path.name} has a conclusion", lesson.path, 1))
    return [str(problem) for problem in found]


def _skeleton(stop: Stop) -> dict[str, Any]:
    """What of a stop is the same in every language."""
    question = stop.question
    return {
        "at": stop.at.text,
        "run": stop.run,
        "show": stop.show,
        "parameter": stop.parameter and stop.parameter.text,
        "value": stop.value and stop.value.text,
        "element": stop.element,
        "claims": _texts(stop.claims),
        "ask": question is not None,
        "answer": question and question.answer and question.answer.text,
        "tolerance": question and question.tolerance,
        "choices": question and [choice.holds.text for choice in question.choices],
    }


def _texts(sources: tuple[Source, ...]) -> list[str]:
    return [source.text for source in sources]


class _Check:
    def __init__(self, played: Played) -> None:
        self._played = played
        self._lesson = played.lesson

    def all(self) -> Iterator[LessonError]:
        yield from self._text(self._lesson.introduction)
        for stop in self._lesson.stops:
            try:
                self._played.seq(stop)
            except LessonError as error:
                yield error
                continue
            yield from self._shown(stop)
            yield from self._asked(stop)
            yield from self._text(stop.text, stop)
            try:
                for claim in self._played.untrue(stop):
                    yield self._error(f"not true of this run: {claim.text}", claim.line)
            except LessonError as error:
                yield error
        if self._lesson.conclusion is not None:
            yield from self._text(self._lesson.conclusion)
        yield from self._findings()
        yield from self._curves()

    def _error(self, message: str, line: int) -> LessonError:
        return LessonError(message, self._lesson.path, line)

    def _text(self, source: Source, stop: Stop | None = None) -> Iterator[LessonError]:
        try:
            self._played.text(source, stop)
        except LessonError as error:
            yield error

    def _shown(self, stop: Stop) -> Iterator[LessonError]:
        """The parameter, the value and the element that the screen is to show."""
        if stop.parameter is None:
            return
        trace = self._played.traces[stop.run]
        try:
            parameter = trace.parameter(stop.parameter.text)
        except OptraceError as error:
            yield self._error(str(error), stop.parameter.line)
            return
        kinds = ["parameter", *trace.kinds(parameter)[1:]]
        if stop.value is not None and stop.value.text not in kinds:
            message = f"{parameter.name} has no value {stop.value.text!r}{nearest(stop.value.text, kinds, len(kinds))}"
            yield self._error(message, stop.value.line)
        if stop.element is not None and (
            len(stop.element) != len(parameter.shape)
            or any(place >= length for place, length in zip(stop.element, parameter.shape, strict=True))
        ):
            shape = "×".join(map(str, parameter.shape)) or "a single number"
            message = f"there is no element {list(stop.element)} in {parameter.name}, which is {shape}"
            yield self._error(message, stop.parameter.line)

    def _asked(self, stop: Stop) -> Iterator[LessonError]:
        if stop.question is None:
            return
        if self._played.seq(stop) == 0:
            message = "a question is asked at the event before its stop, and there is none"
            yield self._error(message, stop.question.text.line)
        yield from self._text(stop.question.text, stop)
        try:
            if stop.question.answer is not None:
                self._played.answer(stop)
            else:
                right = sum(right for _, right in self._played.choices(stop))
                if right != 1:
                    yield self._error(
                        f"{right} of the choices are true of this run; exactly one must be",
                        stop.question.choices[0].text.line,
                    )
        except LessonError as error:
            yield error

    def _findings(self) -> Iterator[LessonError]:
        wanted = {source.text: source for source in self._lesson.findings}
        for run, trace in self._played.traces.items():
            codes = {finding.code for finding in trace.findings}
            if run == "script":
                for code, source in wanted.items():
                    if code not in codes:
                        told = ", ".join(sorted(codes)) or "nothing"
                        yield self._error(f"{self._name(run)} gives no {code}; it gives {told}", source.line)
            for finding in trace.findings:
                loud = finding.severity != "hint" and finding.caused_by is None
                if (finding.code not in wanted and loud) if run == "script" else (finding.code in wanted or loud):
                    yield self._error(f"{self._name(run)} gives {finding.code} {finding.name} at {finding.position}", 1)

    def _curves(self) -> Iterator[LessonError]:
        for series, curve in zip(self._lesson.compare, self._played.comparison.curves, strict=True):
            for run, points in curve.points.items():
                if all(point is None for point in points):
                    message = f"{series.expression.text!r} is a number nowhere in {self._name(run)}"
                    yield self._error(message, series.expression.line)

    def _name(self, run: Run) -> str:
        script = self._lesson.script if run == "script" else self._lesson.repaired
        return script.name if script is not None else run
