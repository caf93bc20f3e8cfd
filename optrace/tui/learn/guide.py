"""Where a learner is in a lesson: which stop, asked or shown, and what was answered. Headless."""

from __future__ import annotations

from dataclasses import dataclass

from optrace.errors import OptraceError
from optrace.lessons.filling import shown
from optrace.lessons.model import Lesson, Run, Source, Stop
from optrace.lessons.played import Played


@dataclass(frozen=True)
class Given:
    """What became of a question."""

    said: str
    """What was typed or chosen; empty where the learner let it be shown."""
    right: bool
    recorded: str


@dataclass(frozen=True)
class Page:
    """What stands in the lesson's pane at a place."""

    title: str
    text: str
    """Markdown, with the numbers of this run."""
    choices: tuple[tuple[str, bool], ...] = ()
    """Answers to choose from, and whether each is right."""
    untrue: tuple[str, ...] = ()
    """Claims that do not hold in this run."""
    errors: tuple[str, ...] = ()
    """What is wrong with the lesson here, each with its line."""


class Guide:
    """Leads through a lesson that has been run. Stops are counted from 0; before them is the introduction."""

    def __init__(self, played: Played) -> None:
        self.played = played
        self.number = -1
        self.given: dict[int, Given] = {}
        self.reached_end = False
        self._pages: dict[tuple[int, bool], Page] = {}

    @property
    def lesson(self) -> Lesson:
        return self.played.lesson

    @property
    def stop(self) -> Stop | None:
        """The stop one is led to; None at the introduction."""
        return self.lesson.stops[self.number] if self.number >= 0 else None

    @property
    def asking(self) -> bool:
        """A question stands open, and what the stop shows is not shown yet."""
        stop = self.stop
        return stop is not None and stop.question is not None and self.number not in self.given

    @property
    def typing(self) -> bool:
        """The open question is answered by typing."""
        stop = self.stop
        return self.asking and stop is not None and stop.question is not None and stop.question.answer is not None

    @property
    def verdict(self) -> Given | None:
        """What became of this stop's question."""
        return self.given.get(self.number)

    @property
    def run(self) -> Run:
        """The run that one is led through here."""
        return self.stop.run if self.stop is not None else "script"

    @property
    def target(self) -> int | None:
        """The event that the screen stands at: while something is asked, the one before; None where there is none."""
        if self.stop is None:
            return 0
        try:
            seq = self.played.seq(self.stop)
        except OptraceError:
            return None
        return max(0, seq - 1) if self.asking else seq

    @property
    def page(self) -> Page:
        """What is said here."""
        key = (self.number, self.asking)
        if key not in self._pages:
            self._pages[key] = _page(self.played, self.stop, self.asking)
        return self._pages[key]

    @property
    def end(self) -> Page:
        """What is said after the last stop; without a text where the lesson has no conclusion."""
        source = self.lesson.conclusion
        if source is None:
            return Page("", "")
        text, errors = _text(self.played, source, None)
        return Page("", text, errors=errors)

    @property
    def asked(self) -> int:
        """How many questions the lesson has."""
        return sum(stop.question is not None for stop in self.lesson.stops)

    @property
    def right(self) -> int:
        """How many of them were answered rightly."""
        return sum(given.right for given in self.given.values())

    # Moving

    def on(self) -> bool:
        """To the next stop; False behind the last."""
        if self.number + 1 >= len(self.lesson.stops):
            self.reached_end = True
            return False
        self.number += 1
        return True

    def back(self) -> bool:
        """To the stop before; False at the introduction."""
        if self.number < 0:
            return False
        self.number -= 1
        return True

    # Answering

    def typed(self, said: str) -> bool:
        """Take an answer that was typed; False where it is no number."""
        assert self.stop is not None
        try:
            verdict = self.played.judge(self.stop, said)
        except OptraceError:  # the page tells it
            self.given[self.number] = Given("", False, "")
            return True
        if verdict.understood:
            self.given[self.number] = Given(said.strip(), verdict.right, verdict.recorded)
        return verdict.understood

    def chose(self, number: int) -> None:
        """Take the answer of this number, from 0."""
        choices = self.page.choices
        said, right = choices[number]
        self.given[self.number] = Given(said, right, self._right_choice())

    def skip(self) -> None:
        """Let the answer be shown."""
        assert self.stop is not None
        recorded = self._right_choice()
        if self.typing:
            try:
                recorded = shown(self.played.answer(self.stop))
            except OptraceError:  # the page tells it
                recorded = ""
        self.given[self.number] = Given("", False, recorded)

    def _right_choice(self) -> str:
        return next((text for text, right in self.page.choices if right), "")


def _page(played: Played, stop: Stop | None, asking: bool) -> Page:
    lesson = played.lesson
    if stop is None:
        text, errors = _text(played, lesson.introduction, None)
        return Page(lesson.title, text, errors=errors)
    choices: tuple[tuple[str, bool], ...] = ()
    untrue: tuple[str, ...] = ()
    if asking and stop.question is not None:
        text, errors = _text(played, stop.question.text, stop)
        try:
            choices = played.choices(stop)
            if stop.question.answer is not None:
                played.answer(stop)
        except OptraceError as error:
            errors = (*errors, told(lesson, error))
        if choices and sum(right for _, right in choices) != 1:
            line = stop.question.choices[0].text.line
            errors = (*errors, f"{lesson.path.name}:{line}: not exactly one of the choices is true of this run")
    else:
        text, errors = _text(played, stop.text, stop)
        try:
            untrue = tuple(claim.text for claim in played.untrue(stop))
        except OptraceError as error:
            errors = (*errors, told(lesson, error))
    return Page(stop.title, text, choices, untrue, tuple(dict.fromkeys(errors)))


def _text(played: Played, source: Source, stop: Stop | None) -> tuple[str, tuple[str, ...]]:
    """A text with its numbers; where one of them cannot be had, the text as it is written, and why."""
    try:
        return played.text(source, stop), ()
    except OptraceError as error:
        return source.text, (told(played.lesson, error),)


def told(lesson: Lesson, error: OptraceError) -> str:
    """What is wrong with a lesson, without the folder that it is in."""
    return str(error).replace(f"{lesson.path.parent}/", "")
