"""What the last line and the windows of a lesson say: keys, help, what a script printed."""

from __future__ import annotations

from optrace.tui.core.spans import Line, Span, clean
from optrace.tui.learn.words import Words
from optrace.tui.screens.help import help_entries, help_entry
from optrace.tui.screens.listing import Entries, paragraph
from optrace.tui.widgets.keybar import Key, Keys

_KEYS = (
    ("⏎", "next", ("next_stop",)),
    ("⌫", "back", ("previous_stop",)),
    ("s", "skip", ("skip",)),
    ("← →", "event", ("event(-1)", "event(1)")),
    ("[ ]", "iteration", ("iteration(-1)", "iteration(1)")),
    ("r", "other run", ("other_run",)),
    ("1–5", "tabs", ("turn_tab(1)",)),
    ("p", "printed", ("printed",)),
    ("?", "help", ("help",)),
    ("q", "list", ("app.leave_lesson",)),
)
_LEAST = ("next", "back", "skip", "event", "help", "list", "other run", "iteration", "printed", "tabs")
_HELP = (
    ("⏎", "help next", ("next_stop",)),
    ("⌫", "help back", ("previous_stop",)),
    ("s  Esc", "help skip", ("skip", "escape")),
    ("r", "help other run", ("other_run",)),
    ("p", "help printed", ("printed",)),
    ("PgUp PgDn", "help page", ("page_of_text(-1)", "page_of_text(1)")),
    ("q", "help list", ("app.leave_lesson",)),
)


def lesson_keys(words: Words, asking: bool) -> tuple[Keys, tuple[str, ...]]:
    """The keys of the last line, and their words by weight. While something is asked, one shows the answer."""
    shown = [(signs, name, actions) for signs, name, actions in _KEYS if asking or name != "skip"]
    keys = tuple(Key(words.sign(signs), words(f"key {name}"), actions) for signs, name, actions in shown)
    return keys, tuple(words(f"key {name}") for name in _LEAST)


def help_in_a_lesson(words: Words) -> Entries:
    """The lesson's keys, then all that the screen has otherwise."""

    def entries(width: int) -> list[list[Line]]:
        found: list[list[Line]] = [[[Span(words("help title"), "heading")]]]
        for signs, what, actions in _HELP:
            keys = words.sign(signs)
            found.append(help_entry(keys, words(what), width, dict(zip(keys.split(), actions, strict=True))))
        return [*found, [[]], *help_entries(words.poor)(width)]

    return entries


def printed(output: str, words: Words) -> Entries:
    """What a script printed, a line each."""

    def entries(width: int) -> list[list[Line]]:
        lines = output.rstrip().splitlines()
        if not lines:
            return [[[Span(words("it printed nothing"), "dim")]]]
        return [paragraph([Span(clean(line.expandtabs(8)))], width) for line in lines]

    return entries
