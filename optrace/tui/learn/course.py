"""The list of lessons: chapters, titles, summaries, what has been finished; beside it the lesson that is chosen."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.events import Click, MouseScrollDown, MouseScrollUp, Resize
from textual.message import Message
from textual.screen import Screen

from optrace.lessons.model import Lesson
from optrace.tui.core.source import highlighted, lines_of
from optrace.tui.core.spans import Line, Span, cells, cut, ends, fit, left, wrap
from optrace.tui.learn.words import Words
from optrace.tui.messages import Act, RowChosen
from optrace.tui.screens.prompt import Prompt
from optrace.tui.widgets.keybar import KeyBar
from optrace.tui.widgets.lines import Lines

SIDE_BY_SIDE = 110
"""Columns from which the chosen lesson stands beside the list, with its script."""


SUMMARY = 50
"""Columns beside the titles from which the summaries stand there; else only the chosen lesson's is told, below."""


@dataclass(frozen=True)
class Finished:
    """A lesson that was led through to its end: questions answered rightly, and how many there are."""

    right: int
    asked: int


class CourseHead(Lines):
    """The first line."""

    DEFAULT_CSS = "CourseHead { height: 1; background: $panel; }"

    def __init__(self, course: CourseScreen) -> None:
        super().__init__(id="head")
        self._course = course

    def prepare(self, width: int, height: int) -> int:
        return 1

    def line(self, y: int, width_: int) -> Line:
        course = self._course
        done = sum(lesson.name in course.finished for lesson in course.lessons)
        start: Line = [Span(" optrace learn ", "title"), Span(f" {course.words('motto')}", "")]
        end = course.words("finished", done=done, all=len(course.lessons))
        return ends(start, [Span(f"{end} ", "good" if done else "dim")], width_)


class LessonList(Lines):
    """A line for each lesson, under its chapter."""

    DEFAULT_CSS = "LessonList { height: 1fr; overflow-y: auto; scrollbar-gutter: stable; }"

    def __init__(self, course: CourseScreen) -> None:
        super().__init__(id="lessons")
        self._course = course
        self._rows: list[tuple[int, Line]] = []
        """For each line the lesson's place among those shown, -1 for a chapter; and what stands there."""

    def prepare(self, width: int, height: int) -> int:
        course = self._course
        shown = course.shown
        self._rows = []
        if not shown:
            words = course.words("nothing matches", text=course.filter)
            self._rows = [(-1, []), *((-1, line) for line in wrap([Span(words, "dim")], width - 2))]
        titles = max((cells(lesson.title) for lesson in shown), default=0)
        titles = min(titles, width - 10)
        chapters = sum(one.chapter != other.chapter for one, other in pairwise(shown))
        airy = len(shown) + 2 * chapters + 1 <= height
        chapter: str | None = None
        for place, lesson in enumerate(shown):
            if lesson.chapter != chapter:
                chapter = lesson.chapter
                if place and airy:
                    self._rows.append((-1, []))
                self._rows.append((-1, [Span(" " + cut(chapter, width - 2), "heading")]))
            self._rows.append((place, self._entry(place, lesson, titles, width)))
        return len(self._rows)

    def _entry(self, place: int, lesson: Lesson, titles: int, width: int) -> Line:
        course = self._course
        done = course.finished.get(lesson.name)
        number = course.lessons.index(lesson) + 1
        on = place == course.chosen
        line: Line = [
            Span(" ▸ " if on else "   ", "selected-mark"),
            Span("✓ " if done else "  ", "good"),
            Span(f"{number:>2} ", "dim"),
            Span(left(lesson.title, titles), "bold" if on else ""),
            *([Span("  "), Span(lesson.summary, "" if on else "dim")] if width - titles > SUMMARY else []),
        ]
        line = fit(line, width - 1)
        return [Span(span.text, f"{span.role} selected-row") for span in line] if on else line

    def line(self, y: int, width: int) -> Line:
        return self._rows[y][1] if y < len(self._rows) else []

    def reveal(self) -> None:
        """Scroll so that the chosen lesson is in view, with its chapter where that is the line above."""
        row = next((y for y, (place, _) in enumerate(self._rows) if place == self._course.chosen), None)
        if row is None:
            return
        first = row - 1 if row and self._rows[row - 1][0] < 0 else row
        top, height = int(self.scroll_offset.y), self.size.height
        if first < top or row == 1:
            self.scroll_to(y=0 if row <= 2 else first, animate=False, force=True)
        elif row >= top + height:
            self.scroll_to(y=row - height + 1, animate=False, force=True)

    def on_click(self, event: Click) -> None:
        y = event.y + int(self.scroll_offset.y)
        if y < len(self._rows) and self._rows[y][0] >= 0:
            self.post_message(RowChosen(self._rows[y][0]))

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        event.stop()
        self.post_message(Act("walk(1)"))

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        event.stop()
        self.post_message(Act("walk(-1)"))


class LessonCard(Lines):
    """The chosen lesson: its summary, what it has, its script."""

    DEFAULT_CSS = """
    LessonCard { border: round $border; border-title-color: $foreground; border-title-style: bold;
                 border-subtitle-color: $secondary; }
    """

    def __init__(self, course: CourseScreen) -> None:
        super().__init__(id="card")
        self._course = course
        self._lines: list[Line] = []

    def prepare(self, width: int, height: int) -> int:
        lesson = self._course.lesson
        self._lines = []
        if lesson is None:
            self.entitle("")
            return 0
        self.entitle(lesson.title, lesson.name)
        room = width - 2
        self._lines = wrap([Span(lesson.summary)], room)
        self._lines += wrap(self._about(lesson), room)
        if height > len(self._lines) + 6:
            self._lines += [[], [Span(lesson.script.name, "heading")]]
            self._lines += self._script(lesson, height - len(self._lines))
        return len(self._lines)

    def _about(self, lesson: Lesson) -> Line:
        words = self._course.words
        asked = sum(stop.question is not None for stop in lesson.stops)
        line: Line = [Span(words.count(len(lesson.stops), "a stop", "stops"), "dim")]
        line.append(Span(" · " + words.count(asked, "a question", "questions", "no questions"), "dim"))
        if lesson.findings:
            codes = ", ".join(source.text for source in lesson.findings)
            line += [Span(" · ", "dim"), Span(words("teaches", codes=codes), "stale")]
        done = self._course.finished.get(lesson.name)
        if done is not None:
            right = words("right answers", right=done.right, asked=done.asked) if done.asked else ""
            line.append(Span("   ✓ " + right, "good"))
        return line

    def _script(self, lesson: Lesson, rows: int) -> list[Line]:
        try:
            text = lesson.script.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return []
        lines = lines_of(text)
        digits = len(str(len(lines)))
        return [
            [Span(f"{number:>{digits}} ", "dim"), *highlighted(line)] for number, line in enumerate(lines[:rows], 1)
        ]

    def line(self, y: int, width: int) -> Line:
        return [Span(" "), *self._lines[y]] if y < len(self._lines) else []


class CourseScreen(Screen[None]):
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

    def _keys(self) -> tuple[tuple[tuple[str, str, str], ...], tuple[str, ...]]:
        names = [("↑ ↓", "choose", "walk(1)"), ("⏎", "start", "take"), ("/", "filter", "filter")]
        if self._languages > 1:
            names.append(("l", "language", "language"))
        names += [("t", "theme", "theme"), ("q", "quit", "app.quit")]
        keys = tuple((self.words.sign(key), self.words(f"key {name}"), action) for key, name, action in names)
        return keys, tuple(word for _, word, _ in keys)

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

        prompt = Prompt(self.words("filter"), "", lambda text: None, text=before, changed=self._filtered)
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
