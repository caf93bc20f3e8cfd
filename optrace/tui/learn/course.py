"""The list of lessons: chapters, titles, summaries, what has been finished; beside it the lesson that is chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.events import Resize
from textual.message import Message

from optrace.lessons.model import Lesson
from optrace.tui.core.spans import Span
from optrace.tui.learn.listed import CourseHead, LessonCard, LessonList
from optrace.tui.learn.words import Words
from optrace.tui.messages import Act, RowChosen
from optrace.tui.screens.at_once import AtOnce
from optrace.tui.screens.prompt import Prompt
from optrace.tui.widgets.keybar import Key, KeyBar, Keys

SIDE_BY_SIDE = 110
"""Columns from which the chosen lesson stands beside the list, with its script."""


@dataclass(frozen=True)
class Finished:
    """A lesson that was led through to its end: questions answered rightly, and how many there are."""

    right: int
    asked: int


class CourseScreen(AtOnce[None]):
    """Choosing a lesson."""

    class Chosen(Message):
        """A lesson was chosen."""

        def __init__(self, lesson: Lesson) -> None:
            super().__init__()
            self.lesson = lesson

    class OtherLanguage(Message):
        """The lessons in the next language, please."""

    CSS = """
    CourseScreen { layout: vertical; background: $background; }
    CourseScreen #both { layout: vertical; height: 1fr; }
    CourseScreen #card { height: 5; }
    CourseScreen.-wide #both { layout: horizontal; }
    CourseScreen.-wide #lessons { width: 3fr; height: 100%; margin: 1 0 0 0; }
    CourseScreen.-wide #card { width: 2fr; height: 100%; }
    .-poor LessonCard { border: ascii $border; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "walk(1)", "Next"),
        Binding("up,k", "walk(-1)", "Previous"),
        Binding("pagedown", "walk(8)", "Page down"),
        Binding("pageup", "walk(-8)", "Page up"),
        Binding("home", "walk(-100000)", "First"),
        Binding("end,G", "walk(100000)", "Last"),
        Binding("enter,right", "take", "Start"),
        Binding("slash", "filter", "Filter"),
        Binding("escape", "clear", "All lessons"),
        Binding("l", "language", "Other language"),
        Binding("t", "theme", "Dark or light"),
        Binding("q", "app.quit", "Quit"),
    ]

    def __init__(self, lessons: list[Lesson], finished: dict[str, Finished], words: Words, languages: int) -> None:
        super().__init__()
        self.lessons, self.finished, self.words = lessons, finished, words
        self._languages = languages
        self.filter = ""
        self.chosen = 0
        self.head, self.list, self.card = CourseHead(self), LessonList(self), LessonCard(self)
        self.keybar = KeyBar(*self._keys())

    def compose(self) -> ComposeResult:
        yield self.head
        with Container(id="both"):
            yield self.list
            yield self.card
        yield self.keybar

    def _keys(self) -> tuple[Keys, tuple[str, ...]]:
        names: list[tuple[str, str, tuple[str, ...]]] = [
            ("↑ ↓", "choose", ("walk(-1)", "walk(1)")),
            ("⏎", "start", ("take",)),
            ("/", "filter", ("filter",)),
        ]
        if self._languages > 1:
            names.append(("l", "language", ("language",)))
        names += [("t", "theme", ("theme",)), ("q", "quit", ("app.quit",))]
        keys = tuple(Key(self.words.sign(signs), self.words(f"key {name}"), acts) for signs, name, acts in names)
        return keys, tuple(key.word for key in keys)

    @property
    def shown(self) -> list[Lesson]:
        """The lessons that the filter lets through: each of its words is somewhere in the lesson."""
        words = self.filter.lower().split()
        return [lesson for lesson in self.lessons if all(word in _searched(lesson) for word in words)]

    @property
    def lesson(self) -> Lesson | None:
        """The chosen lesson."""
        shown = self.shown
        return shown[min(self.chosen, len(shown) - 1)] if shown else None

    def on_resize(self, event: Resize) -> None:
        self.set_class(event.size.width >= SIDE_BY_SIDE, "-wide")
        self.call_after_refresh(self.redraw)

    def on_screen_resume(self) -> None:
        self.call_after_refresh(self.redraw)

    def redraw(self) -> None:
        for pane in (self.head, self.list, self.card, self.keybar):
            pane.show()
        self.list.reveal()

    def show_lessons(self, lessons: list[Lesson], words: Words) -> None:
        """The same lessons in another language."""
        self.lessons, self.words = lessons, words
        self.keybar.keys, self.keybar.least = self._keys()
        self.filter = ""
        self.keybar.note = []
        self.redraw()
        self.keybar.repaint()

    def tell(self, words: str) -> None:
        """Say what is wrong in the last line, until the next lesson is looked at."""
        self.keybar.say([Span(words, "bad")])

    def choose(self, name: str) -> None:
        """Mark a lesson."""
        self.filter = ""
        self.chosen = next((place for place, lesson in enumerate(self.shown) if lesson.name == name), 0)
        self.redraw()

    def action_quiet(self) -> None:
        """Take back what was said in the last line."""
        self.keybar.say([])

    def action_walk(self, by: int) -> None:
        self.chosen = max(0, min(self.chosen + by, len(self.shown) - 1))
        self.keybar.say([])
        self.redraw()

    def action_take(self) -> None:
        if self.lesson is not None:
            self.post_message(self.Chosen(self.lesson))

    @on(RowChosen)
    def _row_chosen(self, message: RowChosen) -> None:
        message.stop()
        if message.row == self.chosen:
            self.action_take()
        self.chosen = message.row
        self.redraw()

    @on(Act)
    async def _act(self, message: Act) -> None:
        message.stop()
        await self.run_action(message.action)

    def action_filter(self) -> None:
        before = self.filter

        def done(text: str | None) -> None:
            self._filtered(before if text is None else text.strip())

        said = (self.words("key ok"), "", self.words("key cancel"))
        prompt = Prompt.of(
            self.app, self.words("filter"), "", lambda text: None, text=before, changed=self._filtered, words=said
        )
        self.app.push_screen(prompt, done)

    def _filtered(self, text: str) -> None:
        lesson = self.lesson
        self.filter = text.strip()
        shown = self.shown
        self.chosen = shown.index(lesson) if lesson in shown else 0
        self.redraw()

    def action_clear(self) -> None:
        self._filtered("")

    def action_language(self) -> None:
        if self._languages > 1:
            self.post_message(self.OtherLanguage())

    def action_theme(self) -> None:
        self.app.theme = "optrace-light" if self.app.current_theme.dark else "optrace-dark"


def _searched(lesson: Lesson) -> str:
    codes = " ".join(source.text for source in lesson.findings)
    return f"{lesson.title} {lesson.name} {lesson.summary} {lesson.chapter} {codes}".lower()
