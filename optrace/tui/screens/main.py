"""The main screen: all its parts put together, and its keys."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.binding import BindingType

from optrace.tui.core.spans import Line, Span
from optrace.tui.messages import Act, Damaged
from optrace.tui.screens.asking import Asking
from optrace.tui.screens.following import Following
from optrace.tui.screens.inspecting import Inspecting
from optrace.tui.screens.keys import KEYS
from optrace.tui.screens.playing import Playing
from optrace.tui.screens.ranks import Ranks


class MainScreen(Following, Asking, Inspecting, Playing, Ranks):
    """Stepping through a trace."""

    BINDINGS: ClassVar[list[BindingType]] = [*KEYS]

    def on_mount(self) -> None:
        self.start_background()

    @on(Act)
    async def _act(self, message: Act) -> None:
        message.stop()
        await self.run_action(message.action)

    @on(Damaged)
    def _damaged(self, message: Damaged) -> None:
        message.stop()
        self.note(message.reason.replace(f"{self.session.trace.path.parent}/", ""), "bad")  # what is wrong must fit
        status: Line = [Span("✗ the trace cannot be read", "bad")]
        if self.topbar.status != status:  # else it would be drawn without end, where it is what cannot be drawn
            self.topbar.status = status
            self.topbar.show()

    def action_theme(self) -> None:
        self.app.theme = "optrace-light" if self.app.current_theme.dark else "optrace-dark"

    def action_escape(self) -> None:
        session = self.session
        if self.running:
            self.stop_search()
            self.note("Stopped.", "dim")
        elif self.playing:
            self.action_play()
        elif session.view.filter:
            self.set_filter("")
        else:
            self.quiet()
