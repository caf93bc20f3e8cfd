"""The panes of the main screen: what stands where at each size, and drawing them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from textual.app import ComposeResult
from textual.containers import Container
from textual.events import Resize

from optrace.tui.core.session import Session
from optrace.tui.core.spans import Line, Span
from optrace.tui.screens.at_once import AtOnce
from optrace.tui.widgets.inspector import InspectorPane
from optrace.tui.widgets.keybar import KeyBar
from optrace.tui.widgets.lines import Lines
from optrace.tui.widgets.panebar import PaneBar
from optrace.tui.widgets.source import SourcePane
from optrace.tui.widgets.story import StoryPane
from optrace.tui.widgets.table import TablePane
from optrace.tui.widgets.timeline import TimelinePane
from optrace.tui.widgets.topbar import TopBar

NARROW, WIDE, LOW = 100, 160, 30


class Panes(AtOnce[None]):
    """A session on the screen. The parts of the main screen build on it: moving, asking, what takes time."""

    DEFAULT_CSS = """
    Panes { layout: vertical; background: $background; overflow: hidden; }
    #body { layout: grid; grid-size: 2 2; grid-columns: 2fr 3fr; grid-rows: 5fr 6fr; height: 1fr; }
    Panes.-wide #body { grid-columns: 3fr 5fr; }
    Panes.-narrow #body { layout: vertical; }
    Panes.-narrow #panes { display: block; }
    Panes.-narrow #story { dock: top; height: 7; }
    Panes.-narrow #source, Panes.-narrow #table, Panes.-narrow #inspector { display: none; height: 1fr; }
    Panes.-narrow .-shown { display: block !important; }
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self._arranged = (0, 0)
        self.topbar = TopBar(session)
        self.timeline = TimelinePane(session)
        self.panebar = PaneBar()
        self.source = SourcePane(session)
        self.table = TablePane(session)
        self.story = StoryPane(session)
        self.inspector = InspectorPane(session)
        self.keybar = KeyBar()

    def compose(self) -> ComposeResult:
        yield self.topbar
        yield self.timeline
        with Container(id="body"):
            yield self.panebar
            yield self.source
            yield self.table
            yield self.story
            yield self.inspector
        yield self.keybar

    @property
    def panes(self) -> tuple[Lines, ...]:
        return (
            self.topbar,
            self.timeline,
            self.source,
            self.table,
            self.story,
            self.inspector,
            self.panebar,
            self.keybar,
        )

    def on_mount(self) -> None:
        self._arrange(self.app.size.width, self.app.size.height)

    def on_resize(self, event: Resize) -> None:
        self._arrange(event.size.width, event.size.height)

    def _arrange(self, width: int, height: int) -> None:
        if self._arranged == (width, height):
            return
        self._arranged = (width, height)
        narrow = width < NARROW or height < LOW
        self.set_class(narrow, "-narrow")
        self.set_class(not narrow and width >= WIDE, "-wide")
        self.story.compact = narrow
        if narrow:
            self.timeline.take_rows(1, 2 if height >= 28 else 1)
        else:
            self.timeline.take_rows(3 if height >= 44 else 2, 6 if height >= 44 else 3)
        self.show_pane(self.panebar.shown)
        self.call_after_refresh(self.redraw)

    @property
    def narrow(self) -> bool:
        """Whether one pane is shown at a time."""
        return self.has_class("-narrow")

    def redraw(self) -> None:
        """Draw what has changed."""
        for pane in self.panes:
            pane.show()

    def from_thread(self, work: Callable[..., Any], *arguments: Any) -> None:
        """Have the screen's thread do something, without waiting for it."""
        if self.is_attached:
            self.app.call_later_from_thread(work, *arguments)  # type: ignore[attr-defined]

    def note(self, words: str, role: str = "") -> None:
        """Say something in the last line until the next key."""
        self.keybar.say([Span(words, role)] if words else [])

    def quiet(self) -> None:
        """Take the note back."""
        self.keybar.say(self.standing_note())

    def action_quiet(self) -> None:
        self.quiet()

    def standing_note(self) -> Line:
        """What the last line says while nothing else is noted; where it is empty, the keys."""
        return []

    def show_pane(self, name: str) -> None:
        """On a narrow screen, show this one of those that take turns."""
        self.panebar.shown = name
        for pane in self.panes:
            pane.set_class(pane.id == name, "-shown")
        self.panebar.repaint()
