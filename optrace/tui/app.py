"""The app of `optrace view`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from optrace.errors import TraceError
from optrace.trace.reader import Trace, load
from optrace.tui.base import BaseApp
from optrace.tui.core.session import Session
from optrace.tui.messages import TurnProcess
from optrace.tui.screens.main import MainScreen


class ViewApp(BaseApp):
    """Steps through one trace, or through those of several processes of one run, one at a time."""

    def __init__(self, trace: Trace, **settings: Any) -> None:
        super().__init__(**settings)
        self._whole = trace
        self._screens: dict[str, MainScreen] = {}
        self._told = False
        self.main = self._screen(trace.process)
        self.session = self.main.session

    def on_mount(self) -> None:
        self.install_screen(self.main, self.session.trace.process)
        self.push_screen(self.main)

    def close(self) -> None:
        """Let go of all files."""
        for screen in self._screens.values():
            screen.session.close()
        self._whole.close()

    def on_turn_process(self, message: TurnProcess) -> None:
        """Show the same place in another process."""
        names = list(self._whole.processes)
        name = names[(names.index(self.session.trace.process) + message.by) % len(names)]
        if not len(self._whole.processes[name].events):
            self.main.note(f"{name} has no events.", "dim")
            return
        known = self._screens.get(name)
        screen = known or self._screen(name)
        if known is None:
            self.install_screen(screen, name)
        screen.session.stand_with(self.session)
        self.main, self.session = screen, screen.session
        self.switch_screen(screen)
        screen.call_after_refresh(screen.redraw)

    def _screen(self, name: str) -> MainScreen:
        """The screen of one process, made when it is first wanted, with its trace opened for it alone."""
        several = len(self._whole.processes) > 1
        trace = Trace(self._whole.processes[name].path) if several else self._whole
        screen = self._screens[name] = MainScreen(Session(trace, self._computed, self._whole))
        return screen

    def _computed(self) -> None:
        """A worker has found something out. Of all that comes before the screen gets to it, it is told once."""
        if not self._told:
            self._told = True
            self.call_later_from_thread(self._redraw)

    def _redraw(self) -> None:
        self._told = False
        self.main.redraw()


def run(path: str | os.PathLike[str], **settings: Any) -> int:
    """Open a trace and show it until the user leaves: the exit code. Raises `OptraceError` before anything is drawn."""
    return show(load(Path(path)), **settings)


def show(trace: Trace, **settings: Any) -> int:
    """Show a trace until the user leaves, and close it: the exit code, 128 and more after a signal.

    Raises `OptraceError` before anything is drawn.
    """
    try:
        if not len(trace.events):
            raise TraceError(f"{trace.path} has no events: nothing that optrace records took place")
        app = ViewApp(trace, **settings)
        try:
            app.run()
        finally:
            app.close()
        return app.return_code or 0
    finally:
        trace.close()
