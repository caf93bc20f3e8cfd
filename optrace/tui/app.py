"""The app of `optrace view`."""

from __future__ import annotations

import locale
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from textual.app import App, SystemCommand
from textual.message import Message
from textual.screen import Screen

from optrace.errors import TraceError
from optrace.trace.reader import Trace, load
from optrace.tui.core.session import Session
from optrace.tui.screens.main import MainScreen
from optrace.tui.theme import DARK, LIGHT


class _Later(Message):
    """Something for the screen's thread to do."""

    def __init__(self, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        super().__init__()
        self.work, self.arguments = work, arguments


class ViewApp(App[None]):
    """Steps through one trace."""

    TITLE = "optrace"
    ENABLE_COMMAND_PALETTE = True
    CSS = """
    .-poor SourcePane, .-poor TablePane, .-poor StoryPane, .-poor InspectorPane { border: ascii $border; }
    .-poor Listing > Vertical, .-poor Prompt > Vertical { border: ascii $primary; }
    .-poor Lines { scrollbar-size: 0 0; }
    """

    def __init__(self, trace: Trace, *, ascii_only: bool | None = None, light: bool | None = None) -> None:
        # Without colour, Textual's greys would still be colours.
        super().__init__(ansi_color="NO_COLOR" in os.environ)
        self.ascii_only = _poor() if ascii_only is None else ascii_only
        self.register_theme(DARK)
        self.register_theme(LIGHT)
        light = _light_background() if light is None else light
        self.theme = "optrace-light" if light else "optrace-dark"
        self.set_class(self.ascii_only, "-poor")
        self.session = Session(trace, self._computed)
        self.main = MainScreen(self.session)

    def on_mount(self) -> None:
        self.push_screen(self.main)

    def call_later_from_thread(self, work: Callable[..., Any], *arguments: Any) -> None:
        """Have the screen's thread do something, without waiting for it."""
        self.post_message(_Later(work, arguments))

    def on__later(self, message: _Later) -> None:
        if self.main.is_attached:
            message.work(*message.arguments)

    def _computed(self) -> None:
        self.call_later_from_thread(self.main.redraw)

    def watch_theme(self, name: str) -> None:
        if getattr(self, "main", None) is not None and self.main.is_attached:
            self.call_after_refresh(self.main.repaint)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Every key's action by its name."""
        if screen is not self.main:
            return
        for binding in MainScreen.BINDINGS:
            _, _, keys = binding.description, binding.action, binding.key  # type: ignore[union-attr]
            shown = keys.split(",")[0].replace("left_square_bracket", "[").replace("right_square_bracket", "]")
            action = binding.action  # type: ignore[union-attr]

            async def act(action: str = action) -> None:
                await self.main.run_action(action)

            yield SystemCommand(binding.description, f"key {shown}", act)  # type: ignore[union-attr]


def _poor() -> bool:
    """Whether the terminal can show little more than ASCII."""
    encoding = (getattr(sys.stdout, "encoding", None) or locale.getpreferredencoding(False) or "").lower()
    return (
        "utf" not in encoding or os.environ.get("TERM") in ("linux", "dumb", "vt100") or "OPTRACE_ASCII" in os.environ
    )


def _light_background() -> bool:
    """What the terminal says of its background in COLORFGBG, where it says anything: `0;15` is dark on light."""
    last = os.environ.get("COLORFGBG", "").rsplit(";", 1)[-1]
    return last in ("7", "15")


def run(path: str | os.PathLike[str], **settings: Any) -> None:
    """Show a trace until the user leaves. Raises `OptraceError` before anything is drawn."""
    trace = load(Path(path))
    try:
        if not len(trace.events):
            raise TraceError(f"{trace.path} has no events: nothing that optrace records took place")
        sys.setswitchinterval(0.001)  # workers give way to keys sooner
        app = ViewApp(trace, **settings)
        try:
            app.run()
        finally:
            app.session.close()
    finally:
        trace.close()
