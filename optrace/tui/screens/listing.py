"""A window with lines to read or choose from: help, findings, conditions, comparison."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Resize
from textual.geometry import Size

from optrace.tui.core.spans import Line, Span, fit, tinted, wrap
from optrace.tui.messages import RowChosen
from optrace.tui.screens.over import Box, Over
from optrace.tui.widgets.keybar import Key, KeyBar, Keys
from optrace.tui.widgets.lines import Lines

MOST_WIDE, LEAST_HIGH = 110, 9
"""Columns and rows of a window."""
Entries = Callable[[int], list[list[Line]]]
"""For a width: the entries, each some lines."""


class EntryLines(Lines):
    """Entries one under another; one of them may be the chosen one."""

    # The bar is always there: one that comes and goes has the window laid out once more.
    DEFAULT_CSS = """
    EntryLines {
        height: 1fr; overflow-y: scroll;
        scrollbar-background: $surface; scrollbar-background-hover: $surface; scrollbar-background-active: $surface;
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._make: Entries = lambda width: []
        self._made: tuple[int, list[list[Line]]] = (0, [])
        self._choosing = False
        self._lines: list[tuple[int, Line]] = []
        self.chosen = 0
        self.count = 0

    def fill(self, entries: Entries, choosing: bool) -> None:
        """Show these from the first on."""
        self._make, self._choosing, self.chosen = entries, choosing, 0
        self._made = (0, [])
        self.scroll_to(y=0, animate=False, force=True)
        self.show()

    def prepare(self, width: int, height: int) -> int:
        entries = self._entries(width)
        self.count = len(entries)
        self.chosen = max(0, min(self.chosen, self.count - 1))
        self._lines = [(number, line) for number, entry in enumerate(entries) for line in entry]
        return len(self._lines)

    def needed(self, width: int) -> int:
        """Rows that show all of it in so many columns, the scroll bar's among them."""
        return sum(map(len, self._entries(width - 1)))

    def _entries(self, width: int) -> list[list[Line]]:
        if self._made[0] != width:
            self._made = (width, self._make(max(10, width - 3)))
        return self._made[1]

    def line(self, y: int, width: int) -> Line:
        if y >= len(self._lines):
            return []
        number, line = self._lines[y]
        on = self._choosing and number == self.chosen
        first = y == 0 or self._lines[y - 1][0] != number
        line = [Span("▸ " if on and first else "  ", "selected-mark"), *line]
        return tinted(fit(line, width), "selected-row") if on and self._lines[y][1] else line

    def choose(self, number: int) -> None:
        """Mark an entry and scroll to it."""
        self.chosen = max(0, min(number, self.count - 1))
        rows = [y for y, (owner, _) in enumerate(self._lines) if owner == self.chosen]
        height = self.size.height
        if rows and rows[0] < self.scroll_offset.y:
            self.scroll_to(y=rows[0], animate=False, force=True)
        elif rows and rows[-1] >= self.scroll_offset.y + height:
            self.scroll_to(y=rows[-1] - height + 1, animate=False, force=True)
        self.show()

    def clicked(self, x: int, y: int) -> None:
        if y < len(self._lines):
            self.post_message(RowChosen(self._lines[y][0]))


class Listing(Over[tuple[str, int] | None]):
    """Gives back what to do with which entry: `("enter", 3)`, `("delete", 0)`; None when closed."""

    CSS = """
    Listing { align: center middle; background: $background 55%; }
    Listing > Box { background: $surface; border: round $primary; }
    Listing KeyBar { background: $surface; }
    """
    NAME = "listing"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark", "leave", "Close"),
        Binding("down,j", "walk(1)", "Next"),
        Binding("up,k", "walk(-1)", "Previous"),
        Binding("pagedown,space", "page(1)", "Page down"),
        Binding("pageup", "page(-1)", "Page up"),
        Binding("home", "walk(-100000)", "First"),
        Binding("end", "walk(100000)", "Last"),
        Binding("enter", "take('enter')", "Take"),
        Binding("a", "take('add')", "Add"),
        Binding("d,delete", "take('delete')", "Delete"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._box, self._body, self._bar = Box(), EntryLines(), KeyBar(())
        self._verbs: tuple[str, ...] = ()
        self._choosing = False

    @classmethod
    def of(
        cls,
        app: App[Any],
        title: str,
        entries: Entries,
        keys: Keys,
        *,
        choosing: bool = True,
        verbs: tuple[str, ...] = ("enter",),
    ) -> Listing:
        """The app's, with something new in it."""
        self = app.get_screen(cls.NAME, cls)
        self._verbs, self._choosing = verbs, choosing
        self._box.border_title = title
        self._body.fill(entries, choosing)
        self._bar.offer(keys)
        return self

    def compose(self) -> ComposeResult:
        with self._box:
            yield self._body
            yield self._bar

    def on_screen_resume(self) -> None:
        super().on_screen_resume()
        self._fit(self.app.size)

    def on_resize(self, event: Resize) -> None:
        self._fit(event.size)

    def _fit(self, size: Size) -> None:
        """As high as what is in it, as far as the screen has room."""
        width, height = min(MOST_WIDE, size.width * 9 // 10), size.height * 9 // 10
        self._box.styles.width = width
        self._box.styles.height = min(height, max(LEAST_HIGH, self._body.needed(width - 2) + 3))

    def action_walk(self, by: int) -> None:
        if self._choosing:
            self._body.choose(self._body.chosen + by)
        else:
            self._body.scroll_relative(y=by, animate=False, force=True)

    def action_page(self, by: int) -> None:
        if self._choosing:
            self.action_walk(by * 5)
        else:
            self._body.scroll_relative(y=by * max(1, self._body.size.height - 1), animate=False, force=True)

    def action_take(self, verb: str) -> None:
        if verb in self._verbs and (self._body.count or verb == "add"):
            self.dismiss((verb, self._body.chosen))

    def on_row_chosen(self, message: RowChosen) -> None:
        message.stop()
        if not self._choosing:
            return
        again = message.row == self._body.chosen or self._verbs == ("enter",)
        self._body.choose(message.row)
        if again:  # where more can be done with an entry, the first click chooses it
            self.action_take("enter")


def walking(word: str, close: str = "close", up_down: str = "↑ ↓") -> Keys:
    """The keys of a window in which one walks: these at its beginning and end, others between."""
    return (Key(up_down, word, ("walk(-1)", "walk(1)")), Key("Esc", close, ("leave",)))


def paragraph(line: Line, width: int, indent: int = 0) -> list[Line]:
    """A wrapped line, moved to the right."""
    return [[Span(" " * indent), *piece] for piece in wrap(line, width - indent)]
