"""Panes along which one can drag with the mouse, from event to event."""

from __future__ import annotations

from typing import NamedTuple

from textual.events import MouseDown, MouseMove, MouseUp

from optrace.tui.messages import GoTo
from optrace.tui.widgets.lines import Lines


class Held(NamedTuple):
    """Where the mouse was pressed, and which event was there."""

    x: int
    y: int
    seq: int


class Dragging(Lines, can_focus=False):
    """Subclasses say which event stands where. One drag is one jump."""

    def __init__(self, **settings: str) -> None:
        super().__init__(**settings)
        self._held: Held | None = None
        self._column = -1
        """Where it was last."""

    def grabbed(self, x: int, y: int) -> int | None:
        """The event at a column and a line of what is shown; None where there is nothing to take hold of."""
        raise NotImplementedError

    def dragged(self, x: int, held: Held) -> int | None:
        """The event at a column now that it is dragged."""
        raise NotImplementedError

    def on_mouse_down(self, event: MouseDown) -> None:
        inner = event.get_content_offset(self)
        target = self.grabbed(*inner) if inner is not None else None
        if target is not None and inner is not None:
            self._held, self._column = Held(inner.x, inner.y, target), inner.x
            self.capture_mouse()
            self.post_message(GoTo(target))

    def on_mouse_move(self, event: MouseMove) -> None:
        if self._held is None:
            return
        x = event.get_content_offset_capture(self).x
        if x == self._column:
            return
        self._column = x
        target = self.dragged(x, self._held)
        if target is not None:
            self.post_message(GoTo(target, dragging=True))

    def on_mouse_up(self, event: MouseUp) -> None:
        if self._held is not None:
            self._held = None
            self.release_mouse()
