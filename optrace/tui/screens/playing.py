"""Playing: one event after another, at a pace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optrace.tui.core.session import Session
from optrace.tui.core.spans import Line, Span
from optrace.tui.screens.panes import Panes
from optrace.tui.widgets.keybar import Key

if TYPE_CHECKING:
    from textual.timer import Timer


class Playing(Panes):
    """A part of the main screen."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._timer: Timer | None = None
        self.pace = 4.0

    @property
    def playing(self) -> bool:
        return self._timer is not None

    def action_play(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        else:
            self._timer = self.set_interval(1 / self.pace, self._play_on)
        self.quiet()

    def standing_note(self) -> Line:
        """What the last line says while playing."""
        if not self.playing:
            return []
        return [
            Span("⏵ playing ", "fresh bold"),
            Span(f"{self.pace:g} events a second   ", "dim"),
            *Key("Space", "stop", ("play",)).spans(),
            Span("   "),
            *Key("+ −", "faster, slower", ("speed(2)", "speed(0.5)")).spans(),
        ]

    def _play_on(self) -> None:
        if self.app.screen is not self:
            return
        if not self.session.cursor.move(1) and self.session.trace.complete:
            self.action_play()
        self.redraw()

    def action_speed(self, factor: float) -> None:
        self.pace = max(0.5, min(64.0, self.pace * factor))
        if self._timer is not None:
            self.action_play()
            self.action_play()
