"""Leaving the path of a lesson: the other run, what was printed, the text, the help."""

from __future__ import annotations

from optrace.errors import LookupFailed
from optrace.tui.core.session import Session
from optrace.tui.learn.helping import help_in_a_lesson, printed
from optrace.tui.learn.laid import LessonPanes
from optrace.tui.screens.listing import Listing, walking


class Wandering(LessonPanes):
    """A part of the lesson's screen."""

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
