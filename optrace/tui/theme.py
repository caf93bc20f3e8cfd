"""Roles to colours. Each colour says one thing. Those that stand against each other are told apart by colour-blind
eyes too: hues after Okabe and Ito, moved apart until simulated eyes of every kind see a difference, which a test holds.

Without colour (`NO_COLOR`) roles become bold, reverse and underline; glyphs and words say everything anyway.
"""

from __future__ import annotations

from functools import lru_cache

from rich.style import Style
from textual.theme import Theme

DARK = Theme(
    name="optrace-dark",
    primary="#8bc7fe",
    secondary="#8a94a6",
    accent="#fbcc56",
    warning="#ec9a11",
    error="#ff6d4b",
    success="#2ec898",
    background="#10141b",
    surface="#151a23",
    panel="#1d2430",
    foreground="#d8dee9",
    dark=True,
    variables={"border": "#2f3a4a", "border-blurred": "#2f3a4a", "input-selection-background": "#8bc7fe 35%"},
)
LIGHT = Theme(
    name="optrace-light",
    primary="#0076bb",
    secondary="#5d6673",
    accent="#966839",
    warning="#b25800",
    error="#9f1802",
    success="#0f674e",
    background="#f7f8fa",
    surface="#ffffff",
    panel="#e9edf2",
    foreground="#1c2430",
    dark=False,
    variables={"border": "#c3cad4", "border-blurred": "#c3cad4"},
)

_DARK = {
    "dim": "#7d8899",
    "axis": "#8a94a6",
    "heading": "bold #a9b4c4",
    "title": "bold #ffffff",
    "key": "bold #fbcc56",
    "fresh": "#8bc7fe",
    "found": "#a9b4c4",
    "stale": "#ec9a11",
    "used": "#868686",
    "cleared": "#2ec898",
    "changed": "#2ec898",
    "good": "bold #2ec898",
    "bad": "bold #ef7fd2",
    "mark": "bold #ca8bcd",
    "window": "#a9b4c4",
    "loss": "#5d708c",
    "seam": "",
    "finding-error": "bold #ff6d4b",
    "finding-warning": "bold #ec9a11",
    "finding-hint": "#b5a3fc",
    "finding-mark": "underline",
    "event-backward": "bold #8bc7fe",
    "event-step": "bold #e9d56d",
    "event-clear": "bold #b8c1cd",
    "event-other": "bold #ca8bcd",
    "cursor-line": "bold #fbcc56",
    "cursor": "bold #10141b on #fbcc56",
    "cursor-column": "bold #fbcc56",
    "selected-row": "on #243248",
    "selected-mark": "bold #fbcc56",
    "current-line": "on #3a3418",
    "inline-code": "#a9d7f7 on #1d2a3a",
    "italic": "italic",
    "code-keyword": "#c792ea",
    "code-string": "#a5c98a",
    "code-number": "#f0b37e",
    "code-comment": "italic #7d8899",
    "series0": "#8bc7fe",
    "series1": "#ec9a11",
    "series2": "#2ec898",
    "series3": "#ca8bcd",
    "nan": "bold #10141b on #ef7fd2",
    "inf": "bold #10141b on #ffd1f2",
    "heat-cursor": "bold reverse",
    "tab": "#a9b4c4",
    "tab-on": "bold #10141b on #8bc7fe",
    "choice-on": "bold underline #ffffff",
    "badge-ok": "#2ec898",
    "flat": "",
    "bold": "bold",
    "match": "bold #fbcc56",
}
_LIGHT = {
    "dim": "#66707e",
    "axis": "#66707e",
    "heading": "bold #4a5563",
    "title": "bold #000000",
    "key": "bold #966839",
    "fresh": "#0076bb",
    "found": "#56637a",
    "stale": "#b25800",
    "used": "#7f8894",
    "cleared": "#0f674e",
    "changed": "#0f674e",
    "good": "bold #0f674e",
    "bad": "bold #a00c78",
    "mark": "bold #863592",
    "window": "#4a5563",
    "loss": "#9aa8bc",
    "seam": "",
    "finding-error": "bold #9f1802",
    "finding-warning": "bold #b25800",
    "finding-hint": "#5d48b8",
    "finding-mark": "underline",
    "event-backward": "bold #0076bb",
    "event-step": "bold #7b6401",
    "event-clear": "bold #4a5664",
    "event-other": "bold #863592",
    "cursor-line": "bold #966839",
    "cursor": "bold #ffffff on #966839",
    "cursor-column": "bold #966839",
    "selected-row": "on #d5e6f5",
    "selected-mark": "bold #966839",
    "current-line": "on #fbeec4",
    "inline-code": "#00507f on #e3edf6",
    "italic": "italic",
    "code-keyword": "#7b30a8",
    "code-string": "#39702a",
    "code-number": "#9a4b00",
    "code-comment": "italic #66707e",
    "series0": "#0076bb",
    "series1": "#b25800",
    "series2": "#0f674e",
    "series3": "#863592",
    "nan": "bold #ffffff on #a00c78",
    "inf": "bold #ffffff on #c65aa8",
    "heat-cursor": "bold reverse",
    "tab": "#4a5563",
    "tab-on": "bold #ffffff on #0076bb",
    "choice-on": "bold underline #000000",
    "badge-ok": "#0f674e",
    "flat": "",
    "bold": "bold",
    "match": "bold #966839",
}
_PLAIN = {
    "title": "bold",
    "heading": "bold",
    "key": "bold",
    "good": "bold",
    "bad": "bold reverse",
    "stale": "bold",
    "changed": "bold",
    "finding-error": "bold",
    "finding-warning": "bold",
    "cursor-line": "bold",
    "cursor": "reverse",
    "cursor-column": "reverse",
    "selected-row": "reverse",
    "tab-on": "reverse bold",
    "choice-on": "bold underline",
    "nan": "reverse",
    "inf": "reverse",
    "heat-cursor": "reverse",
    "current-line": "bold",
    "dim": "",
    "bold": "bold",
    "inline-code": "bold",
    "italic": "italic",
    "finding-mark": "underline",
    "match": "bold",
    "event-backward": "bold",
    "event-step": "bold",
    "event-clear": "bold",
}

_HEAT = {
    True: ("#1a1f29", "#2f9be8", "#f08a1c"),  # zero, below, above
    False: ("#f2f3f5", "#0a6fb8", "#c55a00"),
}


def _mix(one: str, other: str, share: float) -> str:
    first, second = (tuple(int(text[i : i + 2], 16) for i in (1, 3, 5)) for text in (one, other))
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(first, second, strict=True))


def _heat(word: str, dark: bool) -> str:
    """`heat+4`: the background by sign and size; the glyph in it a little apart."""
    zero, below, above = _HEAT[dark]
    level = int(word[5:])
    if level == 0:
        return f"{_mix(zero, '#808890', 0.45)} on {zero}"
    ground = _mix(zero, above if word[4] == "+" else below, 0.18 + 0.82 * level / 6)
    ink = _mix(ground, "#ffffff" if dark == (level < 4) else "#000000", 0.42)
    return f"{ink} on {ground}"


@lru_cache(4096)
def style_of(role: str, dark: bool, colour: bool) -> Style:
    """The look of a role; later words of it prevail."""
    table = (_DARK if dark else _LIGHT) if colour else _PLAIN
    style = Style.null()
    flat = "flat" in role
    for word in role.split():
        if word.startswith("heat") and word[4:5] in "+-" and word[5:].isdigit():
            if colour:
                part = Style.parse(_heat(word, dark))
                style += Style(color=part.bgcolor) if flat else part
            continue
        definition = table.get(word)
        if definition:
            style += Style.parse(definition)
    return style
