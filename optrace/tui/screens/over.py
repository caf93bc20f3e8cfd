"""A window over another screen, which is seen through it, dimmed."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeVar

from rich.segment import Segment
from rich.style import Style
from textual import on
from textual.color import Color
from textual.containers import Vertical
from textual.css.styles import RulesMap
from textual.events import Click
from textual.renderables.background_screen import BackgroundScreen
from textual.screen import ModalScreen, Screen
from textual.strip import Strip
from textual.visual import RenderOptions, Visual

from optrace.tui.messages import Act
from optrace.tui.screens.at_once import AtOnce

Result = TypeVar("Result")


class Box(Vertical):
    """The frame of a window."""


class Over(AtOnce[Result], ModalScreen[Result]):
    """A modal screen that opens at once: it is kept and used again, and drawn a single time.

    What is behind is dimmed style by style, not piece by piece. A click outside of it closes it.
    """

    def on_screen_resume(self) -> None:
        for behind in self.app.screen_stack[:-1]:  # Textual has it drawn anew; it is drawn with this one
            behind._repaint_required = False

    def render(self) -> Any:
        found = super().render()
        return _Behind(found.screen, found.color) if isinstance(found, BackgroundScreen) else found

    def action_leave(self) -> None:
        """Close it, with nothing to give back."""
        self.dismiss(None)

    def action_below(self, action: str) -> None:
        """Close it, and have the screen below do something."""
        below = self.app.screen_stack[-2]
        self.action_leave()
        self.app.call_later(below.run_action, action)  # from there: this screen hears of nothing any more

    def on_click(self, event: Click) -> None:
        if self.is_current and self.get_widget_at(event.screen_x, event.screen_y)[0] is self:
            self.action_leave()

    @on(Act)
    async def _act(self, message: Act) -> None:
        message.stop()
        await self.run_action(message.action)


class _Behind(Visual):
    """Another screen's lines under a veil of colour."""

    def __init__(self, screen: Screen[Any], veil: Color) -> None:
        self._screen = screen
        self._veil = veil

    def render_strips(self, width: int, height: int | None, style: Any, options: RenderOptions) -> list[Strip]:
        lines = self._screen._compositor.render_strips()
        veil = self._veil
        return [Strip([Segment(text, _dimmed(look, veil)) for text, look, _ in line]) for line in lines[:height]]

    def get_optimal_width(self, rules: RulesMap, container_width: int) -> int:
        return container_width

    def get_height(self, rules: RulesMap, width: int) -> int:
        return self._screen.size.height


@lru_cache(1024)
def _dimmed(style: Style | None, veil: Color) -> Style:
    if style is None:
        return Style()
    colours = [
        None if colour is None else (Color.from_rich_color(colour) + veil).rich_color
        for colour in (style.color, style.bgcolor)
    ]
    return style.clear_meta_and_links() + Style.from_color(*colours)
