"""Lines of text in which every piece has a role: what it means, not what it looks like.

A role is one or more words separated by spaces (`"stale bold"`); the theme gives each its colour. A piece may also
stand for an action of the screen: a click on it does that.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

_ACTED_ON = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, line ends, direction marks and lone surrogates."""


class Span(NamedTuple):
    """A piece of a line."""

    text: str
    role: str = ""
    action: str = ""
    """What a click on it does, as a screen's action: `findings`, `go(300)`."""


Line = list[Span]
EMPTY: Line = []


@lru_cache(4096)
def _wide(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Cf", "Cc", "Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cells(text: str) -> int:
    """How many columns of the terminal a text takes."""
    return len(text) if text.isascii() else sum(_wide(character) for character in text)


def clean(text: str) -> str:
    """A text from somebody's program, made safe for a terminal: no control characters, no line breaks."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "·" for character in text.expandtabs(4))


def width(line: Iterable[Span]) -> int:
    """How many columns a line takes."""
    return sum(cells(span.text) for span in line)


def plain(line: Iterable[Span]) -> str:
    """The text of a line."""
    return "".join(span.text for span in line)


def action_at(line: Iterable[Span], column: int) -> str:
    """What a click on a column of a line does; empty where nothing is to be done."""
    for span in line:
        column -= cells(span.text)
        if column < 0:
            return span.action
    return ""


def acting(line: Iterable[Span], action: str) -> Line:
    """The same line, all of it standing for an action, but for pieces that have their own."""
    return [span if span.action else Span(span.text, span.role, action) for span in line]


def going(text: str, role: str, seq: int) -> Span:
    """A piece that names an event: a click goes there."""
    return Span(text, role, f"go({seq})")


def tinted(line: Iterable[Span], role: str) -> Line:
    """The same line with a further word in the role of each piece."""
    return [Span(span.text, f"{span.role} {role}", span.action) for span in line]


def cut(text: str, room: int) -> str:
    """The text in at most `room` columns, ending in `…` where something is left out."""
    if cells(text) <= room:
        return text
    if room <= 0:
        return ""
    taken, used = [], 0
    for character in text:
        used += _wide(character)
        if used > room - 1:
            break
        taken.append(character)
    return "".join(taken) + "…"


def cut_middle(text: str, room: int) -> str:
    """The same for names, whose ends tell most: `encoder…attn.weight`."""
    if cells(text) <= room or room < 5:
        return cut(text, room)
    tail = (room - 1) * 2 // 3
    start = len(text)
    while start and cells(text[start - 1 :]) <= tail:
        start -= 1
    return cut(text, room - cells(text[start:])) + text[start:]


def left(text: str, room: int) -> str:
    """Cut and padded on the right."""
    text = cut(text, room)
    return text + " " * (room - cells(text))


def right(text: str, room: int) -> str:
    """Cut and padded on the left."""
    text = cut(text, room)
    return " " * (room - cells(text)) + text


def fit(line: Iterable[Span], room: int, role: str = "") -> Line:
    """A line cut and padded to exactly `room` columns, with nothing in it that a terminal would act on."""
    taken: Line = []
    used = 0
    for span in line:
        if not span.text.isprintable():  # a name, a mark: whatever the program chose
            span = span._replace(text=_ACTED_ON.sub("·", span.text))
        size = cells(span.text)
        if used + size > room:
            piece = cut(span.text, room - used)
            taken.append(Span(piece, span.role, span.action))
            used += cells(piece)
            break
        taken.append(span)
        used += size
    if used < room:
        taken.append(Span(" " * (room - used), role))
    return taken


def ends(start: Line, end: Line, room: int) -> Line:
    """Something at each end of a line; the start gives way where both do not fit."""
    gap = room - width(start) - width(end)
    if gap >= 1:
        return [*start, Span(" " * gap), *end]
    return [*fit(start, max(0, room - width(end) - 1)), Span(" "), *end] if room > width(end) else fit(start, room)


_TOKEN = re.compile(r"\n| +|[^\n ]+")
_NEVER_FIRST = frozenset("，。、；：？！）】》」』”’…—·～%‰℃,.;:?!)]}")
_NEVER_LAST = frozenset("（【《「『“‘([{")


def wrap(line: Iterable[Span], room: int) -> list[Line]:
    """A line broken into lines of at most `room` columns: at spaces, and between Chinese characters.

    What stands together stays together, whatever roles its pieces have; punctuation keeps to its side.
    """
    room = max(1, room)
    lines: list[Line] = [[]]
    used, continued = 0, False
    for piece in _pieces(line):
        size = width(piece)
        if piece[0].text == "\n":
            lines.append([])
            used, continued = 0, False
            continue
        if piece[0].text.isspace():
            if used or not continued:
                used += size
                lines[-1] += piece if used <= room else []
            continue
        if used and used + size > room:
            lines.append([])
            used, continued = 0, True
        while size > room:
            head, piece = _broken(piece, room)
            lines[-1] += head
            lines.append([])
            size, continued = width(piece), True
        lines[-1] += piece
        used += size
    return [_stripped(done) for done in lines]


def _pieces(line: Iterable[Span]) -> list[Line]:
    """What may not be broken: words, single Chinese characters with their punctuation, runs of spaces, line ends."""
    pieces: list[Line] = []
    last = " "
    for span in line:
        for match in _TOKEN.finditer(span.text):
            text = match[0]
            if text[0] in "\n ":
                pieces.append([Span(text, span.role, span.action)])
            else:
                for part in [text] if text.isascii() else _characters(text):
                    if pieces and _stay_together(last, part[0]):
                        pieces[-1].append(Span(part, span.role, span.action))
                    else:
                        pieces.append([Span(part, span.role, span.action)])
                    last = part[-1]
            last = text[-1]
    return pieces


def _characters(text: str) -> list[str]:
    """A text cut wherever a line may be broken within it."""
    found = [text[0]]
    for character in text[1:]:
        if _stay_together(found[-1][-1], character):
            found[-1] += character
        else:
            found.append(character)
    return found


def _stay_together(before: str, after: str) -> bool:
    if before in "\n ":
        return False
    if after in _NEVER_FIRST or before in _NEVER_LAST:
        return True
    return _wide(before) != 2 and _wide(after) != 2


def _broken(piece: Line, room: int) -> tuple[Line, Line]:
    """What fits of a piece longer than a line, and the rest."""
    head: Line = []
    for number, span in enumerate(piece):
        size = cells(span.text)
        if size > room:
            taken = span.text[:room] if span.text.isascii() else cut(span.text, room + 1)[:-1]
            if not taken and not head:
                taken = span.text[:1]
            rest = Span(span.text[len(taken) :], span.role, span.action)
            return [*head, Span(taken, span.role, span.action)], [rest, *piece[number + 1 :]]
        head.append(span)
        room -= size
    return head, []


def _stripped(line: Line) -> Line:
    """Without the spaces at its end."""
    while line and not line[-1].text.rstrip(" "):
        line = line[:-1]
    return [*line[:-1], line[-1]._replace(text=line[-1].text.rstrip(" "))] if line else line
