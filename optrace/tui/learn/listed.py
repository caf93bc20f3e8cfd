"""The panes of the list of lessons: its head, a line for each lesson, the chosen one's card."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from textual.events import MouseScrollDown, MouseScrollUp

from optrace.lessons.model import Lesson
from optrace.tui.core.source import highlighted, lines_of
from optrace.tui.core.spans import Line, Span, cells, cut, ends, fit, left, tinted, wrap
from optrace.tui.messages import Act, RowChosen
from optrace.tui.widgets.lines import Lines

if TYPE_CHECKING:
    from optrace.tui.learn.course import CourseScreen

SUMMARY = 50
"""Columns beside the titles from which the summaries stand there; else only the chosen lesson's is told, below."""


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
        return tinted(line, "selected-row") if on else line

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

    def clicked(self, x: int, y: int) -> None:
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

    def clicked(self, x: int, y: int) -> None:
        """It is what would be started."""
        self.post_message(Act("take"))
