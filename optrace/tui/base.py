"""What the apps share: colours, terminals that can show little, reports from threads, commands by name."""

from __future__ import annotations

import asyncio
import gc
import locale
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, ClassVar

from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.message_pump import MessagePump
from textual.screen import Screen

from optrace.tui.screens.help import help_entries
from optrace.tui.screens.keys import sign
from optrace.tui.screens.listing import Listing
from optrace.tui.screens.main import MainScreen
from optrace.tui.screens.prompt import Prompt
from optrace.tui.stylesheet import KeptStylesheet
from optrace.tui.theme import DARK, LIGHT
from optrace.tui.widgets.lines import Lines

SOON = 0.15
"""Seconds from the first screen until what may be wanted next is got ready."""


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
    SCREENS: ClassVar[dict[str, Callable[[], Screen[Any]]]] = {kind.NAME: kind for kind in (Listing, Prompt)}
    CSS = """
    .-poor SourcePane, .-poor TablePane, .-poor StoryPane, .-poor InspectorPane { border: ascii $border; }
    .-poor Listing > Box, .-poor Prompt > Box { border: ascii $primary; }
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
        self.stylesheet = self._rules = KeptStylesheet(self.get_css_variables())
        self.set_class(self.ascii_only, "-poor")

    def run(self, *arguments: Any, **settings: Any) -> None:
        """Show it until the user leaves, with no long pause between a key and what it does."""
        self._alone = True
        with unhindered():
            super().run(*arguments, **settings)

    def on_load(self) -> None:
        """Leave in good order also where that is told from outside, with the terminal as it was."""
        for name in ("SIGTERM", "SIGHUP", "SIGINT"):
            number = getattr(signal, name, None)
            if self._alone and number is not None:
                with suppress(NotImplementedError, RuntimeError):
                    asyncio.get_running_loop().add_signal_handler(number, self.exit, None, 128 + number)

    def on_ready(self) -> None:
        self.app_resume_signal.subscribe(self, lambda app: self.screen.refresh())  # the terminal was somebody else's
        self.set_timer(SOON, self._get_ready)
        if self._alone:  # in a process of its own, not among somebody's tests
            gc.freeze()
            gc.enable()

    def _get_ready(self) -> None:
        """Make the windows, and read the other theme's rules: the first key to want them finds them there.

        To push a screen makes it. It is taken away again before anything is drawn, and kept.
        """
        if not all(map(self.is_screen_installed, self.SCREENS)):
            return  # the app is being left
        if not self.get_screen(Listing.NAME).is_running:
            self.push_screen(Listing.of(self, "", help_entries(self.ascii_only), ()))
            self.pop_screen()
        if not self.get_screen(Prompt.NAME).is_running:
            self.push_screen(Prompt.of(self, "", "", lambda text: None, lambda text: [("", "")] * 11))
            self.pop_screen()
        self.call_after_refresh(self._read_themes)

    def _read_themes(self) -> None:
        self._rules.parse_for({**theme.to_color_system().generate(), **theme.variables} for theme in (DARK, LIGHT))

    @property
    def _background_screens(self) -> list[Screen[Any]]:
        """Screens that are seen behind this one. Textual has those behind an opaque one draw as well."""
        return [] if self.screen.styles.background.a == 1 else super()._background_screens

    def call_later_from_thread(self, work: Callable[..., Any], *arguments: Any) -> None:
        """Have the screen's thread do something, without waiting for it, unless what it is a method of has gone."""
        self.post_message(_Later(work, arguments))

    def on__later(self, message: _Later) -> None:
        owner = getattr(message.work, "__self__", None)
        if not isinstance(owner, MessagePump) or owner.is_attached:
            message.work(*message.arguments)

    def refresh_css(self, animate: bool = True) -> None:
        super().refresh_css(animate)
        for screen in self.screen_stack:
            for pane in screen.query(Lines):
                pane.recolour()

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


@contextmanager
def unhindered() -> Iterator[None]:
    """Let nothing in this process hold up a key for long: no other thread, and no looking for garbage."""
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(0.001)  # workers give way to keys sooner
    gc.set_threshold(5000, 20, 50)  # one look among all that lives long takes as long as a key may
    gc.freeze()  # and among all that was imported 50 ms
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)
        sys.setswitchinterval(interval)


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
