"""The screen of a lesson: the main screen of one of its runs, with the lesson's pane beside the code."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.events import ScreenResume
from textual.widgets import Input

from optrace.errors import LookupFailed, OptraceError
from optrace.lessons.model import Run, Stop
from optrace.tui.core.session import Session
from optrace.tui.core.spans import Line, Span
from optrace.tui.learn.guide import Guide
from optrace.tui.learn.helping import help_in_a_lesson, lesson_keys, printed
from optrace.tui.learn.pane import LessonPane
from optrace.tui.learn.runs import Runs
from optrace.tui.learn.words import Words
from optrace.tui.screens.listing import Listing, walking
from optrace.tui.screens.main import MainScreen
from optrace.tui.widgets.keybar import KeyBar
from optrace.tui.widgets.lines import Lines
from optrace.tui.widgets.panebar import PaneBar
from optrace.tui.widgets.topbar import TopBar

SMALL = 64
"""Elements up to which a value is shown as numbers rather than as a heat map."""


class LessonScreen(MainScreen):
    """Stepping through one run of a lesson, led or not."""

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
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "next_stop", "Next stop, or back to the stop"),
        Binding("backspace", "previous_stop", "Previous stop"),
        Binding("s", "skip", "Show the answer; save a picture"),
        Binding("r", "other_run", "The other script's run"),
        Binding("p", "printed", "What the script printed"),
        Binding("down", "choice(1)", "Next answer or parameter"),
        Binding("up", "choice(-1)", "Previous answer or parameter"),
        *[Binding(str(number), f"digit({number})", f"Answer or tab {number}") for number in range(1, 6)],
        Binding("pagedown", "page_of_text(1)", "Lesson's text down"),
        Binding("pageup", "page_of_text(-1)", "Lesson's text up"),
        Binding("q", "app.leave_lesson", "Back to the lessons"),
    ]

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

    # Being led

    async def lead(self) -> None:
        """Show the place where the lesson stands, in whichever run it is."""
        screen = self if self.guide.run == self.run else await self._visit(self.guide.run)
        if screen is not None:
            screen.arrive()

    def arrive(self) -> None:
        """The position of the stop, and what it shows."""
        guide, session = self.guide, self.session
        session.follow = False
        self.lesson.text.chosen, self.lesson.text.complaint = 0, ""
        if guide.target is not None:
            session.cursor.jump(guide.target)
        problem = self._select(guide.stop) if guide.stop is not None else ""
        if self.narrow:
            showing = guide.stop is not None and guide.stop.show is not None and not guide.asking
            self.show_pane("inspector" if showing else "source")
        self.moved(True)
        self.table.reveal()
        if problem:
            self.note(self.words("lesson is wrong", error=problem), "bad")

    def _select(self, stop: Stop) -> str:
        """Select what a stop shows; what of it does not exist."""
        view, session = self.session.view, self.session
        if stop.parameter is not None:
            try:
                parameter = session.trace.parameter(stop.parameter.text)
            except OptraceError as error:
                return f"{self.guide.lesson.path.name}:{stop.parameter.line}: {error}"
            if all(row.id != parameter.id for row in session.rows):
                self.set_filter("")
            session.choose(next(row for row, entry in enumerate(session.rows) if entry.id == parameter.id))
            view.place = stop.element or ()
            view.view = "numbers" if parameter.numel <= SMALL else "heat map"
            single = stop.element is not None or parameter.numel == 1
            view.statistic = "element" if single else "norm"
        if stop.value is not None:
            view.kind = {"parameter": "param"}.get(stop.value.text, stop.value.text)
        if stop.show is not None:
            view.tab = stop.show
        return ""

    async def action_next_stop(self) -> None:
        guide = self.guide
        if self.away:
            await self.lead()
        elif guide.asking and guide.page.choices:
            await self.action_choose(self.lesson.text.chosen)
        elif guide.typing:
            self._complain(self.words("type a number"))
        elif guide.asking:
            await self.action_show_answer()
        elif guide.on():
            await self.lead()
        else:
            self._finish()

    async def action_previous_stop(self) -> None:
        if self.guide.back():
            await self.lead()
        else:
            self.note(self.words("beginning"), "dim")

    # Answering

    @on(Input.Submitted)
    async def _submitted(self, message: Input.Submitted) -> None:
        message.stop()
        said = message.value.strip()
        if not said or self.away:
            await self.action_next_stop()
        elif self.guide.typed(said):
            await self.lead()
        else:
            self._complain(self.words("not a number", said=said))

    @on(Input.Changed)
    def _changed(self, message: Input.Changed) -> None:
        message.stop()
        self._complain("")

    def _complain(self, words: str) -> None:
        self.lesson.text.complaint = words
        self.redraw()

    async def action_choose(self, number: int) -> None:
        """Give an answer, from 0."""
        if self.guide.asking and number < len(self.guide.page.choices):
            self.guide.chose(number)
            await self.lead()

    def action_choice(self, by: int) -> None:
        """Walk through the answers; where there are none, through the parameters."""
        choices = self.guide.page.choices
        if self.guide.asking and choices and not self.away:
            self.lesson.text.chosen = (self.lesson.text.chosen + by) % len(choices)
            self.redraw()
        else:
            self.action_row(by)

    async def action_digit(self, number: int) -> None:
        if self.guide.asking and number <= len(self.guide.page.choices):
            await self.action_choose(number - 1)
        else:
            self.action_tab(("gradient", "update", "state", "values", "history")[number - 1])

    async def action_skip(self) -> None:
        if self.guide.asking:
            await self.action_show_answer()
        else:
            self.action_picture()

    async def action_show_answer(self) -> None:
        """Show the stop without an answer."""
        self.guide.skip()
        await self.lead()

    def action_escape(self) -> None:
        busy = self.running or self.playing or self.session.view.filter
        if self.guide.asking and not busy:
            self.call_later(self.action_show_answer)
        else:
            super().action_escape()

    # Wandering

    async def action_other_run(self) -> None:
        """The same position in the other run, or the nearest there is."""
        here = self.session.position(self.session.seq)
        screen = await self._visit("repaired" if self.run == "script" else "script")
        if screen is None:
            self.note(self.words("one run"), "dim")
            return
        screen.take_view(self.session)
        screen.meet(here)

    def take_view(self, other: Session) -> None:
        """Look at the same parameter in the same way."""
        mine, view = self.session, other.view
        mine.view.tab, mine.view.kind, mine.view.view = view.tab, view.kind, view.view
        mine.view.statistic, mine.view.log, mine.view.place = view.statistic, view.log, view.place
        if other.selected is not None and other.selected.name in mine.trace.parameters:
            mine.selected = mine.trace.parameters[other.selected.name]

    def meet(self, position: str) -> None:
        """Go to a position of the other run."""
        session, script = self.session, self.runs.script(self.run).name
        try:
            seq, key = session.trace.seq(position), "other run"
        except LookupFailed:
            iteration = min(int(position.split(":")[0]), len(session.trace.iterations) - 1)
            seq, key = session.trace.iterations.bounds(iteration)[1] - 1, "no such position"
        session.cursor.jump(seq)
        self.moved(True)
        self.note(self.words(key, script=script, wanted=position, position=session.position(seq)), "mark")

    def action_printed(self) -> None:
        script = self.runs.script(self.run).name
        entries = printed(self.runs.output(self.run), self.words)
        bottom = walking(self.words("key scroll"), self.words("key close"), self.words.sign("↑ ↓"))
        title = self.words("printed by", script=script)
        self.app.push_screen(Listing.of(self.app, title, entries, bottom, choosing=False, verbs=()))

    def action_page_of_text(self, by: int) -> None:
        text = self.lesson.text
        if text.virtual_size.height > text.size.height:
            text.scroll_relative(y=by * max(1, text.size.height - 1), animate=False, force=True)
        else:
            self.action_page(by)

    def action_help(self) -> None:
        bottom = walking(self.words("key scroll"), self.words("key close"), self.words.sign("↑ ↓"))
        entries = help_in_a_lesson(self.words)
        self.app.push_screen(Listing.of(self.app, self.words("key help"), entries, bottom, choosing=False, verbs=()))
