"""Showing what a key changes in one picture, as soon as nothing else is to be done."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from textual.events import Idle
from textual.geometry import Size
from textual.screen import Screen
from textual.widget import Widget

Result = TypeVar("Result")

MOST_LAYOUTS = 4
"""One for what was asked for, others for the scroll bars that it brings or takes away."""


class AtOnce(Screen[Result]):
    """A screen that is laid out to the end, and then drawn, when it comes to rest.

    Textual's own draws after each layout, and waits for the next tick of a clock, up to a sixtieth of a second. Here
    it waits for that only while other messages do: keys that come faster than they can be drawn share a picture.
    """

    _laying_out = False
    _waiting = False

    async def _on_idle(self, event: Idle) -> None:
        if not self.app.message_queue_size:
            self._settle()
        elif not self._waiting:
            self._waiting = True
            self.app.call_later(self._app_caught_up)

    def _app_caught_up(self) -> None:
        self._waiting = False
        self.check_idle()

    def _on_timer_update(self) -> None:
        self._settle()
        super()._on_timer_update()

    def _refresh_layout(self, size: Size | None = None, scroll: bool = False) -> None:
        self._laying_out = True
        try:
            super()._refresh_layout(size, scroll)
        finally:
            self._laying_out = False
        self.check_idle()

    def _compositor_refresh(self) -> None:
        if not self._laying_out:
            super()._compositor_refresh()

    def _settle(self) -> None:
        if not self.is_current or self.app._batch_count:
            return
        for _ in range(MOST_LAYOUTS):
            unsettled = [widget for widget in self._widgets() if widget._layout_required]
            if not unsettled and not self._layout_required:
                break
            for widget in unsettled:
                widget._layout_required = False
                for ancestor in widget.ancestors:
                    if isinstance(ancestor, Widget):
                        ancestor._clear_arrangement_cache()
                        ancestor._layout_updates += 1
            self._refresh_layout()
            self._layout_required = self._scroll_required = False
        changed = {widget for widget in self._widgets() if widget._repaint_required} | self._dirty_widgets
        if self._compositor._dirty_regions or changed:
            for widget in changed:
                widget._repaint_required = False
            self._compositor.update_widgets(changed)
            self._compositor_refresh()

    def _widgets(self) -> Iterator[Widget]:
        """This screen and all in it, scroll bars too."""
        for widget in (self, *self.query(Widget)):
            yield widget
            for bar in (widget._vertical_scrollbar, widget._horizontal_scrollbar):
                if bar is not None:
                    yield bar
