"""The app of `optrace view`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from optrace.errors import TraceError
from optrace.trace.reader import Trace, load
from optrace.tui.base import BaseApp
from optrace.tui.core.session import Session
from optrace.tui.screens.main import MainScreen


class ViewApp(BaseApp):
    """Steps through one trace."""

    def __init__(self, trace: Trace, **settings: Any) -> None:
        super().__init__(**settings)
        self.session = Session(trace, self._computed)
        self.main = MainScreen(self.session)

    def on_mount(self) -> None:
        self.push_screen(self.main)

    def _computed(self) -> None:
        self.call_later_from_thread(self.main.redraw)


def run(path: str | os.PathLike[str], **settings: Any) -> None:
    """Open a trace and show it until the user leaves. Raises `OptraceError` before anything is drawn."""
    show(load(Path(path)), **settings)


def show(trace: Trace, **settings: Any) -> None:
    """Show a trace until the user leaves, and close it. Raises `OptraceError` before anything is drawn."""
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
