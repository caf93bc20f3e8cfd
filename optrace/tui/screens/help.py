"""The window of help: every key, which does there on a click what it does on the keyboard, and what the bars mean."""

from __future__ import annotations

import re
from collections.abc import Mapping

from optrace.tui.core.blocks import named
from optrace.tui.core.kinds import SHOWN
from optrace.tui.core.spans import Line, Span, cells
from optrace.tui.screens.keys import KEYS, signs
from optrace.tui.screens.listing import Entries, paragraph

HELP: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    (
        "Through the run",
        (
            ("← →  h l", "one event back, on"),
            ("[ ]", "one iteration back, on"),
            ("Home End  G", "first, last event; End follows a trace that is still recorded"),
            ("n N", "next, previous finding"),
            ("w W", "next, previous event that wrote the value in the inspector"),
            ("c C", "run on, back to where a condition holds; Esc stops"),
            ("b", "list of conditions"),
            ("g  :", "go to 12:2, iteration 12, 50%, #300, end, or element [3,7]"),
            ("'", "back to where you were"),
            ("Space", "play"),
            ("+ −  =", "play faster, slower"),
            ("m d", "set a mark; compare the mark with here"),
            ("r R", "the same place on the next, previous process (rank) of the run"),
            ("a", "this event on all processes, side by side"),
        ),
    ),
    (
        "Parameters",
        (
            ("↑ ↓  k j", "select a parameter"),
            ("PgUp PgDn", "a page of parameters"),
            ("/  Esc", "filter by name; show all again"),
            ("o", "sort: as in the model, name, size, norms, stale share, Δ/param"),
        ),
    ),
    (
        "Inspector",
        (
            ("1 2 3 4 5", "Gradient, Update, State, Values, History"),
            ("Tab Shift+Tab", "next, previous tab (on narrow screens: pane)"),
            ("v V", "which value: parameter, gradient, state, last update"),
            ("x", "heat map, numbers, histogram; in History: which statistic"),
            ("y", "linear or log axis"),
            ("H J K L  Shift+arrows", "move the element"),
            (", .", "previous, next slice"),
            ("Ctrl+↑ Ctrl+↓", "scroll the inspector"),
            ("< >", "look left, right along long source lines"),
        ),
    ),
    (
        "Everything else",
        (
            ("f", "findings, with their evidence and fix"),
            ("s", "save a picture (SVG)"),
            ("t", "dark or light"),
            ("Ctrl+P", "all commands by name"),
            ("?", "this help"),
            ("q", "quit"),
        ),
    ),
    (
        "With the mouse",
        (
            ("click", "a key, here or in the last line; a tab, a choice, a title to sort by; a parameter, an element"),
            ("", "an event, a line of code, a contribution, a position in a sentence, a chart: goes there"),
            ("drag", "along the timeline or a chart"),
            ("wheel", "scrolls what is under it; over the timeline, one event; over values, the element"),
        ),
    ),
)
KEY_COLUMNS = 25
LEGEND: tuple[tuple[str, str, str], ...] = (
    ("▆▆▆▆▆", "fresh", "fresh: a backward put it there, no step has used it"),
    ("▃▃▃▃▃", "found", "found: there when recording began or after a gap; steps before are not known"),
    ("░░░░░", "used", "used: one step has applied it; waiting to be cleared"),
    ("▓▒▓▒▓", "stale", "stale: applied before and still there. The next step applies it again"),
    ("·····", "cleared", "cleared by this event"),
    ("◆ 1.83", "changed", "changed by this event"),
    ("≈ 1.83", "", "sampled: statistics and at most some elements were kept"),
    ("● ▲ ○", "finding-error", "a finding: error, warning, hint"),
)


_ACTIONS = {sign: binding.action for binding in KEYS for sign in signs(binding)} | {"Ctrl+P": "app.command_palette"}


def help_entries(poor: bool) -> Entries:
    """The keys, and what the bars mean. A `poor` terminal has no signs for keys."""
    return lambda width: _entries(width, poor)


def _entries(width: int, poor: bool) -> list[list[Line]]:
    found: list[list[Line]] = []
    for title, keys in HELP:
        found.append([[Span(title, "heading")]])
        found += [help_entry(signs, words, width, _ACTIONS, poor) for signs, words in keys]
        found.append([[]])
    found.append([[Span("What the bars say", "heading")]])
    for glyphs, role, words in LEGEND:
        found.append(_beside([Span(glyphs, role)], words, width))
    found += [[[]], [[Span("Letters in the lanes", "heading")]]]
    letters = "   ".join(f"{kind.letter} {kind.word}" for kind in SHOWN.values())
    found.append(paragraph([Span(letters)], width, 2))
    return found


def help_entry(keys: str, words: str, width: int, actions: Mapping[str, str], poor: bool = False) -> list[Line]:
    """Keys and what they do, each key with its action."""
    line: Line = []
    for piece in re.split("( +)", keys):
        action = actions.get(piece, "")
        line.append(Span(named(piece) if poor else piece, "key", f"below({action!r})" if action else ""))
    return _beside(line, words, width)


def _beside(start: Line, words: str, width: int) -> list[Line]:
    pieces = paragraph([Span(words)], width, KEY_COLUMNS)
    gap = KEY_COLUMNS - 2 - sum(cells(span.text) for span in start)
    return [[Span("  "), *start, Span(" " * gap), *pieces[0][1:]], *pieces[1:]]
