"""The panes of a lesson: those of the main screen of one of its runs, with the lesson's own beside the code."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.events import ScreenResume

from optrace.lessons.model import Run
from optrace.tui.core.session import Session
from optrace.tui.core.spans import Line, Span
from optrace.tui.learn.guide import Guide
from optrace.tui.learn.helping import lesson_keys
from optrace.tui.learn.pane import LessonPane
from optrace.tui.learn.runs import Runs
from optrace.tui.learn.words import Words
from optrace.tui.screens.main import MainScreen
from optrace.tui.widgets.keybar import KeyBar
from optrace.tui.widgets.lines import Lines
from optrace.tui.widgets.panebar import PaneBar
from optrace.tui.widgets.topbar import TopBar

if TYPE_CHECKING:
    from optrace.tui.learn.lesson import LessonScreen


class LessonPanes(MainScreen):
    """A part of the lesson's screen: where everything stands, and where one is in the lesson."""

    CSS = """
    LessonScreen #body { layout: horizontal; height: 1fr; }
    LessonScreen #left { width: 5fr; }
    LessonScreen #right { width: 6fr; }
    LessonScreen #story, LessonScreen #source, LessonScreen #inspector { height: 1fr; }
    LessonScreen.-wide #left { width: 3fr; }
    LessonScreen.-wide #right { width: 7fr; layout: horizontal; }
    LessonScreen.-wide #source { width: 3fr; height: 100%; }
    LessonScreen.-wide #inspector { width: 4fr; height: 100%; }
    LessonScreen.-narrow #body { layout: vertical; }
    LessonScreen.-narrow #left { width: 100%; height: auto; }
    LessonScreen.-narrow #right { width: 100%; height: 1fr; }
    LessonScreen.-narrow.-left-pane #left { height: 1fr; }
    LessonScreen.-narrow.-left-pane #right { display: none; }
    LessonScreen.-narrow #table, LessonScreen.-narrow #story { dock: none; display: none; height: 1fr; }
    .-poor LessonPane, .-poor LessonPane.-away { border: ascii $primary; }
    """

    def __init__(
        self,
        session: Session,
        guide: Guide,
        run: Run,
        runs: Runs,
        words: Words,
        visit: Callable[[Run], Awaitable[LessonScreen | None]],
        finish: Callable[[], None],
    ) -> None:
        """`visit` brings the screen of a run to the front, None if there is no such run; `finish` ends the lesson."""
        super().__init__(session)
        self.guide, self.run, self.runs, self.words = guide, run, runs, words
        self._visit, self._finish = visit, finish
        self.lesson = LessonPane(guide, words)
        self.topbar = TopBar(session, f"{guide.lesson.name}/{runs.script(run).name}")
        self.panebar = PaneBar(
            tuple((name, words(f"pane {name}")) for name in ("source", "inspector", "story", "table")),
            "source",
            f"Tab {words('key turn')}",
        )
        self.keybar = KeyBar(*lesson_keys(words, False))

    def compose(self) -> ComposeResult:
        yield self.topbar
        yield self.timeline
        with Container(id="body"):
            with Vertical(id="left"):
                yield self.lesson
                yield self.panebar
                yield self.story
                yield self.table
            with Vertical(id="right"):
                yield self.source
                yield self.inspector
        yield self.keybar

    @property
    def panes(self) -> tuple[Lines, ...]:
        return (*super().panes, self.lesson.text)

    def on_screen_resume(self, event: ScreenResume) -> None:
        self._arrange(self.app.size.width, self.app.size.height)
        self.call_after_refresh(self.redraw)

    def redraw(self) -> None:
        self._share()
        self.keybar.keys, self.keybar.least = lesson_keys(self.words, self.guide.asking)
        self.lesson.follow(self.away, self._where(), self._title())
        super().redraw()

    def _share(self) -> None:
        """The rows of the left column: the text gets what it needs, the table what its few rows take."""
        height = self.app.size.height - self.timeline.outer_size.height - 2
        self.lesson.text.compact = self.narrow
        needed = self.lesson.needed(self.lesson.outer_size.width)
        if self.narrow:
            self.lesson.styles.height = max(6, min(needed, height * 11 // 20))
            self.table.styles.height = "1fr"
        else:
            rows = max(4, min(len(self.session.rows) + 3, height // 4))
            self.table.styles.height = rows
            self.lesson.styles.height = max(height // 2, min(needed, height - rows - 6))

    def show_pane(self, name: str) -> None:
        self.set_class(name in ("story", "table"), "-left-pane")
        super().show_pane(name)

    # Where one is

    @property
    def away(self) -> bool:
        """The learner has wandered from where the lesson stands."""
        target = self.guide.target
        return self.run != self.guide.run or (target is not None and self.session.seq != target)

    def _where(self) -> Line:
        """Which stop this is, and the ways from here."""
        guide, words = self.guide, self.words
        number, every = guide.number + 1, len(guide.lesson.stops)
        if self.away:
            away = words("away", number=number) if number else words("away first")
            return [Span(away, "", "next_stop")]
        line: Line = [Span(words("stop of", number=number, all=every) if number else words("introduction"))]
        if guide.asking:
            return [*line, Span(f" · {words('asked')} · "), Span(f"s {words('key skip')}", "", "skip")]
        line += [Span(" · "), Span(words.sign(f"⏎ {words('key next')}"), "", "next_stop")]
        if number:
            line += [Span(" · "), Span(words.sign(f"⌫ {words('key back')}"), "", "previous_stop")]
        return line

    def _title(self) -> str:
        number = self.guide.number + 1
        return f"{number} · {self.guide.page.title}" if number else self.guide.page.title
