"""A lesson together with its recorded runs: its texts with their numbers, its questions and its claims."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from optrace.errors import OptraceError
from optrace.lessons.answer import Verdict, judge
from optrace.lessons.comparison import Comparison, compare
from optrace.lessons.errors import LessonError
from optrace.lessons.expressions import Evaluator, ExpressionError
from optrace.lessons.filling import fill
from optrace.lessons.model import Lesson, Question, Run, Source, Stop

if TYPE_CHECKING:
    from optrace.trace.reader import Trace


class Played:
    """A lesson whose scripts were run. What its text says of them is worked out from the traces."""

    def __init__(self, lesson: Lesson, traces: Mapping[Run, Trace]) -> None:
        """`traces` has one for `script`, and one for `repaired` if the lesson has that."""
        self.lesson = lesson
        self.traces = traces
        self._evaluator = Evaluator(traces)

    def close(self) -> None:
        """Let go of the files."""
        for trace in self.traces.values():
            trace.close()

    def seq(self, stop: Stop) -> int:
        """The number of the event that a stop is at. Raises `LessonError` where its run has none there."""
        try:
            return self._evaluator.seq(stop.run, stop.at.text)
        except OptraceError as error:
            raise self._error(f"{error}; {self._extent(stop.run)}", stop.at.line) from None

    def text(self, source: Source, stop: Stop | None = None) -> str:
        """A text with its numbers: those at the stop, or at the end of the script. Raises `LessonError`."""
        run, seq = self._place(stop)
        at = source.line

        def value(expression: str, line: int) -> Any:
            nonlocal at
            at = source.line + line
            return self._evaluator.value(expression, run, seq)

        try:
            return fill(source.text, value)
        except OptraceError as error:
            raise self._error(str(error), at) from None

    def answer(self, stop: Stop) -> Any:
        """The recorded number (or None) that answers a typed question. Raises `LessonError`."""
        question = _question(stop)
        assert question.answer is not None
        found = self._value(question.answer, stop)
        if isinstance(found, (str, complex)) or (found is not None and np.size(found) != 1):
            raise self._error("the answer is not one number", question.answer.line)
        return found

    def judge(self, stop: Stop, typed: str) -> Verdict:
        """Compare what was typed with what was recorded."""
        return judge(typed, self.answer(stop), _question(stop).tolerance)

    def choices(self, stop: Stop) -> tuple[tuple[str, bool], ...]:
        """The answers to choose from: the text of each, and whether it is right. Raises `LessonError`."""
        return tuple(
            (self.text(choice.text, stop), self._holds(choice.holds, stop)) for choice in _question(stop).choices
        )

    def untrue(self, stop: Stop) -> tuple[Source, ...]:
        """The stop's claims that are not true of this run."""
        return tuple(claim for claim in stop.claims if not self._holds(claim, stop))

    @cached_property
    def comparison(self) -> Comparison:
        """The two runs side by side."""
        return compare(self.lesson, self.traces, self._evaluator)

    def _place(self, stop: Stop | None) -> tuple[Run, int]:
        return ("script", self._evaluator.seq("script", "end")) if stop is None else (stop.run, self.seq(stop))

    def _value(self, source: Source, stop: Stop) -> Any:
        try:
            return self._evaluator.value(source.text, *self._place(stop))
        except LessonError:
            raise
        except OptraceError as error:
            raise self._error(str(error), source.line) from None

    def _holds(self, source: Source, stop: Stop) -> bool:
        try:
            return self._evaluator.holds(source.text, *self._place(stop))
        except LessonError:
            raise
        except OptraceError as error:
            raise self._error(str(error), source.line) from None

    def _extent(self, run: Run) -> str:
        script = self.lesson.script if run == "script" else self.lesson.repaired
        events = self.traces[run].events
        return f"{script.name if script else run} recorded {events[0].position} to {events[-1].position}"

    def _error(self, message: str, line: int) -> LessonError:
        return LessonError(message, self.lesson.path, line)


def _question(stop: Stop) -> Question:
    if stop.question is None:
        raise ExpressionError("nothing is asked here")
    return stop.question
