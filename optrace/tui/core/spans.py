"""Lines of text in which every piece has a role: what it means, not what it looks like.

A role is one or more words separated by spaces (`"stale bold"`); the theme gives each its colour.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple


class Span(NamedTuple):
    """A piece of a line."""

    text: str
    role: str = ""


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
    return cut(text, room - tail)[:-1] + "…" + text[len(text) - tail :]


def left(text: str, room: int) -> str:
    """Cut and padded on the right."""
    text = cut(text, room)
    return text + " " * (room - cells(text))


def right(text: str, room: int) -> str:
    """Cut and padded on the left."""
    text = cut(text, room)
    return " " * (room - cells(text)) + text


def fit(line: Iterable[Span], room: int, role: str = "") -> Line:
    """A line cut and padded to exactly `room` columns."""
    taken: Line = []
    used = 0
    for span in line:
        size = cells(span.text)
        if used + size > room:
            piece = cut(span.text, room - used)
            taken.append(Span(piece, span.role))
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


def wrap(line: Iterable[Span], room: int) -> list[Line]:
    """A line broken between words into lines of at most `room` columns."""
    room = max(1, room)
    lines: list[Line] = [[]]
    used = 0
    for span in line:
        for number, paragraph in enumerate(span.text.split("\n")):
            if number:
                lines.append([])
                used = 0
            for piece in _words(paragraph):
                size = cells(piece)
                if used + cells(piece.rstrip(" ")) > room and used:
                    lines.append([])
                    used = 0
                    piece = piece.lstrip(" ")
                    size = cells(piece)
                while size > room:
                    head = piece[:room] if piece.isascii() else cut(piece, room + 1)[:-1] or piece[:1]
                    lines[-1].append(Span(head, span.role))
                    lines.append([])
                    piece = piece[len(head) :]
                    size = cells(piece)
                if piece:
                    lines[-1].append(Span(piece, span.role))
                used += size
    return lines


def _words(text: str) -> list[str]:
    """Words, each with the spaces that follow it."""
    words: list[str] = []
    start = 0
    while start < len(text):
        place = text.find(" ", start)
        if place < 0:
            place = len(text)
        while place < len(text) and text[place] == " ":
            place += 1
        words.append(text[start:place])
        start = place
    return words
