"""The last line: the keys that matter here, or what is going on. Each can be clicked."""

from __future__ import annotations

from typing import NamedTuple

from optrace.tui.core.blocks import named
from optrace.tui.core.spans import Line, Span, cells, fit
from optrace.tui.messages import Act
from optrace.tui.widgets.lines import Lines


class Key(NamedTuple):
    """Keys of the last line with a word for what they do."""

    signs: str
    """As they are written: `n N`."""
    word: str
    actions: tuple[str, ...]
    """What each does. The word does what the first does, an arrow's word (`← →`) what the last does."""

    def spans(self) -> Line:
        """`n N finding`, each piece with its action."""
        signs = self.signs.split(" ") if len(self.actions) > 1 else [self.signs]
        words = self.word.split(", ") if len(self.actions) > 1 else [self.word]
        line: Line = []
        for sign, action in zip(signs, self.actions, strict=True):
            line += [Span(" ") if line else Span(""), Span(sign, "key", action)]
        if len(words) < len(signs):
            words, actions = [self.word], self.actions[-1 if self.signs in _FORWARD_LAST else 0 :][:1]
        else:
            actions = self.actions
        for number, (word, action) in enumerate(zip(words, actions, strict=True)):
            line.append(Span(("," if number else "") + f" {word}", "dim", action))
        return line


Keys = tuple[Key, ...]
_FORWARD_LAST = ("← →", "[ ]", "↑ ↓", "Left Right", "Up Down")
KEYS: Keys = (
    Key("← →", "event", ("event(-1)", "event(1)")),
    Key("[ ]", "iteration", ("iteration(-1)", "iteration(1)")),
    Key("n N", "finding", ("finding(True)", "finding(False)")),
    Key("w W", "next/last write", ("write(True)", "write(False)")),
    Key("c C", "run to condition", ("run(True)", "run(False)")),
    Key("g", "go to", ("go_to",)),
    Key("/", "filter", ("filter",)),
    Key("m d", "mark, compare", ("mark", "compare")),
    Key("1–5", "tabs", ("turn_tab(1)",)),
    Key("?", "help", ("help",)),
    Key("q", "quit", ("app.quit",)),
)
_SHORT = {"next/last write": "write", "run to condition": "condition", "mark, compare": "mark"}
_LEAST = ("event", "iteration", "finding", "write", "condition", "help", "filter", "go to", "quit", "mark", "tabs")


class KeyBar(Lines):
    """Keys; while something runs, how far it is."""

    DEFAULT_CSS = "KeyBar { height: 1; background: $panel; }"

    def __init__(self, keys: Keys = KEYS, least: tuple[str, ...] = _LEAST) -> None:
        """`least` has the keys' words by weight: on a narrow screen, those at its end go first."""
        super().__init__(id="keys")
        self.keys, self.least = keys, least
        self.note: Line = []

    def offer(self, keys: Keys) -> None:
        """Show other keys, the first the weightiest."""
        self.keys, self.least = keys, tuple(key.word for key in keys)
        self.show()

    def say(self, note: Line) -> None:
        """Show a note in place of the keys; an empty one brings them back."""
        self.note = note
        self.show()

    def prepare(self, width: int, height: int) -> int:
        return 1

    def line(self, y: int, width: int) -> Line:
        if self.note:
            return fit([Span(" "), *self.note], width)
        keys = list(self.keys)
        if getattr(self.app, "ascii_only", False):
            keys = [key._replace(signs=named(key.signs)) for key in keys]
        if self._width(keys) > width:
            keys = [key._replace(word=_SHORT.get(key.word, key.word)) for key in keys]
        for word in reversed(self.least):
            if self._width(keys) <= width:
                break
            keys = [key for key in keys if key.word != word]
        line: Line = []
        for key in keys:
            line += [Span("   " if line else " "), *key.spans()]
        return fit(line, width)

    @staticmethod
    def _width(keys: list[Key]) -> int:
        return sum(cells(key.signs) + cells(key.word) + 4 for key in keys) - 2

    def clicked(self, x: int, y: int) -> None:
        """A note goes away."""
        if self.note:
            self.post_message(Act("quiet"))
