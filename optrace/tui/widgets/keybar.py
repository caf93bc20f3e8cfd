"""The last line: the keys that matter here, or what is going on. Each can be clicked."""

from __future__ import annotations

from textual.events import Click

from optrace.tui.core.spans import Line, Span, cells, fit
from optrace.tui.messages import Act
from optrace.tui.widgets.lines import Lines

Keys = tuple[tuple[str, str, str], ...]
"""For each: the key as it is written, what it does, and the action."""
KEYS: Keys = (
    ("← →", "event", "event(1)"),
    ("[ ]", "iteration", "iteration(1)"),
    ("n N", "finding", "finding(True)"),
    ("w W", "last/next write", "write(True)"),
    ("c C", "run to condition", "run(True)"),
    ("g", "go to", "go_to"),
    ("/", "filter", "filter"),
    ("m d", "mark, compare", "mark"),
    ("1–5", "tabs", "turn_tab(1)"),
    ("?", "help", "help"),
    ("q", "quit", "app.quit"),
)
_SHORT = {"last/next write": "write", "run to condition": "condition", "mark, compare": "mark"}
_LEAST = ("event", "iteration", "finding", "write", "condition", "help", "filter", "go to", "quit", "mark", "tabs")


class KeyBar(Lines):
    """Keys; while something runs, how far it is."""

    DEFAULT_CSS = "KeyBar { height: 1; background: $panel; }"

    def __init__(self, keys: Keys = KEYS, least: tuple[str, ...] = _LEAST) -> None:
        """`least` has the keys' words by weight: on a narrow screen, those at its end go first."""
        super().__init__(id="keys")
        self.keys, self.least = keys, least
        self.note: Line = []
        self._spots: list[tuple[int, int, str]] = []

    def say(self, note: Line) -> None:
        """Show a note in place of the keys; an empty one brings them back."""
        self.note = note
        self.show()

    def prepare(self, width: int, height: int) -> int:
        return 1

    def line(self, y: int, width: int) -> Line:
        self._spots = []
        if self.note:
            return fit([Span(" "), *self.note], width)
        keys = list(self.keys)
        if self._width(keys) > width:
            keys = [(key, _SHORT.get(word, word), action) for key, word, action in keys]
        for word in reversed(self.least):
            if self._width(keys) <= width:
                break
            keys = [entry for entry in keys if entry[1] != word]
        line: Line = []
        at = 1
        for key, word, action in keys:
            line += [Span("   " if line else " "), Span(key, "key"), Span(f" {word}", "dim")]
            size = cells(key) + cells(word) + 1
            self._spots.append((at, at + size, action))
            at += size + 3
        return fit(line, width)

    @staticmethod
    def _width(keys: list[tuple[str, str, str]]) -> int:
        return sum(cells(key) + cells(word) + 4 for key, word, _ in keys) - 2

    def on_click(self, event: Click) -> None:
        for first, last, action in self._spots:
            if first <= event.x < last:
                self.post_message(Act(action))
                return
