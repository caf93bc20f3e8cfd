"""What the apps share: colours, terminals that can show little, reports from threads, commands by name."""

from __future__ import annotations

import asyncio
import gc
import locale
import os
import signal
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, ClassVar

from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.message_pump import MessagePump
from textual.screen import Screen

from optrace.tui.screens.keys import sign
from optrace.tui.screens.main import MainScreen
from optrace.tui.theme import DARK, LIGHT
from optrace.tui.widgets.lines import Lines


class _Later(Message):
    """Something for the screen's thread to do."""

    def __init__(self, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        super().__init__()
        self.work, self.arguments = work, arguments


class BaseApp(App[None]):
    """An app that draws with `Lines`."""

    TITLE = "optrace"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+z", "suspend_process", "Into the background", show=False)]
    ENABLE_COMMAND_PALETTE = True
    CSS = """
    .-poor SourcePane, .-poor TablePane, .-poor StoryPane, .-poor InspectorPane { border: ascii $border; }
    .-poor Listing > Vertical, .-poor Prompt > Vertical { border: ascii $primary; }
    .-poor Lines { scrollbar-size: 0 0; }
    """

    def __init__(self, *, ascii_only: bool | None = None, light: bool | None = None) -> None:
        # Without colour, Textual's greys would still be colours.
        super().__init__(ansi_color="NO_COLOR" in os.environ)
        self.ascii_only = _poor() if ascii_only is None else ascii_only
        self._alone = False
        self.register_theme(DARK)
        self.register_theme(LIGHT)
        light = _light_background() if light is None else light
        self.theme = "optrace-light" if light else "optrace-dark"
        self.set_class(self.ascii_only, "-poor")

    def run(self, *arguments: Any, **settings: Any) -> None:
        """Show it until the user leaves, with no long pause between a key and what it does."""
        sys.setswitchinterval(0.001)  # workers give way to keys sooner
        self._alone = True
        gc.freeze()  # looking for garbage among all that was imported takes 50 ms each time
        try:
            super().run(*arguments, **settings)
        finally:
            gc.unfreeze()

    def on_load(self) -> None:
        """Leave in good order also where that is told from outside, with the terminal as it was."""
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if self._alone and number is not None:
                with suppress(NotImplementedError, RuntimeError):
                    asyncio.get_running_loop().add_signal_handler(number, self.exit, None, 128 + number)

    def on_ready(self) -> None:
        if self._alone:  # in a process of its own, not among somebody's tests
            gc.freeze()
            gc.enable()

    def call_later_from_thread(self, work: Callable[..., Any], *arguments: Any) -> None:
        """Have the screen's thread do something, without waiting for it, unless what it is a method of has gone."""
        self.post_message(_Later(work, arguments))

    def on__later(self, message: _Later) -> None:
        owner = getattr(message.work, "__self__", None)
        if not isinstance(owner, MessagePump) or owner.is_attached:
            message.work(*message.arguments)

    def watch_theme(self, name: str) -> None:
        self.call_after_refresh(self._repaint)

    def _repaint(self) -> None:
        for screen in self.screen_stack:
            for pane in screen.query(Lines):
                pane.repaint()

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Every key's action by its name."""
        if not isinstance(screen, MainScreen):
            return
        own = [kind for kind in type(screen).__mro__ if issubclass(kind, MainScreen)]
        for binding in (binding for kind in own for binding in vars(kind).get("BINDINGS", ())):
            assert isinstance(binding, Binding)

            async def act(action: str = binding.action) -> None:
                await screen.run_action(action)

            yield SystemCommand(binding.description, f"key {sign(binding)}", act)


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
