"""The screen of a lesson: being led from stop to stop, and answering what is asked."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.widgets import Input

from optrace.errors import OptraceError
from optrace.lessons.model import Stop
from optrace.tui.learn.wandering import Wandering

SMALL = 64
"""Elements up to which a value is shown as numbers rather than as a heat map."""


class LessonScreen(Wandering):
    """Stepping through one run of a lesson, led or not."""

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
