"""What the last line and the windows of a lesson say: keys, help, what a script printed."""

from __future__ import annotations

from optrace.tui.core.spans import Line, Span, clean, left
from optrace.tui.learn.words import Words
from optrace.tui.screens.entries import help_entries
from optrace.tui.screens.listing import Entries, paragraph
from optrace.tui.widgets.keybar import Keys

_KEYS = (
    ("⏎", "next", "next_stop"),
    ("⌫", "back", "previous_stop"),
    ("← →", "event", "event(1)"),
    ("[ ]", "iteration", "iteration(1)"),
    ("r", "other run", "other_run"),
    ("1–5", "tabs", "turn_tab(1)"),
    ("p", "printed", "printed"),
    ("?", "help", "help"),
    ("q", "list", "app.leave_lesson"),
)
_LEAST = ("next", "back", "event", "help", "list", "other run", "iteration", "printed", "tabs")
_HELP = (
    ("⏎", "help next"),
    ("⌫", "help back"),
    ("s  Esc", "help skip"),
    ("r", "help other run"),
    ("p", "help printed"),
    ("PgUp PgDn", "help page"),
    ("q", "help list"),
)


def lesson_keys(words: Words) -> tuple[Keys, tuple[str, ...]]:
    """The keys of the last line, and their words by weight."""
    keys = tuple((words.sign(key), words(f"key {name}"), action) for key, name, action in _KEYS)
    return keys, tuple(words(f"key {name}") for name in _LEAST)


def help_in_a_lesson(words: Words) -> Entries:
    """The lesson's keys, then all that the screen has otherwise."""

    def entries(width: int) -> list[list[Line]]:
        found: list[list[Line]] = [[[Span(words("help title"), "heading")]]]
        for key, what in _HELP:
            pieces = paragraph([Span(words(what))], width, 25)
            pieces[0] = [Span(left("  " + words.sign(key), 25), "key"), *pieces[0][1:]]
            found.append(pieces)
        return [*found, [[]], *help_entries(width)]

    return entries


def printed(output: str, words: Words) -> Entries:
    """What a script printed, a line each."""

    def entries(width: int) -> list[list[Line]]:
        lines = output.rstrip().splitlines()
        if not lines:
            return [[[Span(words("it printed nothing"), "dim")]]]
        return [paragraph([Span(clean(line.expandtabs(8)))], width) for line in lines]

    return entries
