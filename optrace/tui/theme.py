"""Roles to colours. Each colour says one thing; hues are told apart by colour-blind eyes too (after Okabe and Ito).

Without colour (`NO_COLOR`) roles become bold, reverse and underline; glyphs and words say everything anyway.
"""

from __future__ import annotations

from functools import lru_cache

from rich.style import Style
from textual.theme import Theme

DARK = Theme(
    name="optrace-dark",
    primary="#56b4e9",
    secondary="#8a94a6",
    accent="#f0c24a",
    warning="#e69f00",
    error="#ff6b4a",
    success="#2fc79a",
    background="#10141b",
    surface="#151a23",
    panel="#1d2430",
    foreground="#d8dee9",
    dark=True,
    variables={"border": "#2f3a4a", "border-blurred": "#2f3a4a", "input-selection-background": "#56b4e9 35%"},
)
LIGHT = Theme(
    name="optrace-light",
    primary="#0067a3",
    secondary="#5d6673",
    accent="#8a5a00",
    warning="#a86400",
    error="#b83200",
    success="#00735a",
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
    "key": "bold #f0c24a",
    "fresh": "#56b4e9",
    "stale": "#f0a020",
    "used": "#7d8899",
    "cleared": "#2fc79a",
    "changed": "#3fd6a6",
    "good": "bold #3fd6a6",
    "bad": "bold #ff8adf",
    "mark": "bold #d79be8",
    "window": "#a9b4c4",
    "loss": "#5d708c",
    "seam": "",
    "finding-error": "bold #ff6b4a",
    "finding-warning": "bold #f0a020",
    "finding-hint": "#b9a6ff",
    "finding-mark": "underline",
    "event-backward": "bold #56b4e9",
    "event-step": "bold #e7d36b",
    "event-clear": "bold #b7c0cc",
    "event-other": "bold #d79be8",
    "cursor-line": "bold #f0c24a",
    "cursor": "bold #10141b on #f0c24a",
    "cursor-column": "bold #f0c24a",
    "selected-row": "on #243248",
    "selected-mark": "bold #f0c24a",
    "current-line": "on #3a3418",
    "code-keyword": "#c792ea",
    "code-string": "#a5c98a",
    "code-number": "#f0b37e",
    "code-comment": "italic #7d8899",
    "series0": "#56b4e9",
    "series1": "#f0a020",
    "series2": "#2fc79a",
    "series3": "#d79be8",
    "nan": "bold #10141b on #ff8adf",
    "inf": "bold #10141b on #ffd1f2",
    "heat-cursor": "bold reverse",
    "tab": "#a9b4c4",
    "tab-on": "bold #10141b on #56b4e9",
    "choice-on": "bold underline #ffffff",
    "badge-ok": "#2fc79a",
    "flat": "",
    "bold": "bold",
    "match": "bold #f0c24a",
}
_LIGHT = {
    "dim": "#66707e",
    "axis": "#66707e",
    "heading": "bold #4a5563",
    "title": "bold #000000",
    "key": "bold #7a4f00",
    "fresh": "#0072b2",
    "stale": "#b35c00",
    "used": "#7b8592",
    "cleared": "#00735a",
    "changed": "#00735a",
    "good": "bold #00735a",
    "bad": "bold #a3107c",
    "mark": "bold #8a3f9e",
    "window": "#4a5563",
    "loss": "#9aa8bc",
    "seam": "",
    "finding-error": "bold #b83200",
    "finding-warning": "bold #9a5600",
    "finding-hint": "#5b45b0",
    "finding-mark": "underline",
    "event-backward": "bold #0067a3",
    "event-step": "bold #7a6300",
    "event-clear": "bold #4a5563",
    "event-other": "bold #8a3f9e",
    "cursor-line": "bold #8a5a00",
    "cursor": "bold #ffffff on #8a5a00",
    "cursor-column": "bold #8a5a00",
    "selected-row": "on #d5e6f5",
    "selected-mark": "bold #8a5a00",
    "current-line": "on #fbeec4",
    "code-keyword": "#7b30a8",
    "code-string": "#39702a",
    "code-number": "#9a4b00",
    "code-comment": "italic #66707e",
    "series0": "#0072b2",
    "series1": "#b35c00",
    "series2": "#00735a",
    "series3": "#8a3f9e",
    "nan": "bold #ffffff on #a3107c",
    "inf": "bold #ffffff on #c65aa8",
    "heat-cursor": "bold reverse",
    "tab": "#4a5563",
    "tab-on": "bold #ffffff on #0067a3",
    "choice-on": "bold underline #000000",
    "badge-ok": "#00735a",
    "flat": "",
    "bold": "bold",
    "match": "bold #8a5a00",
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
