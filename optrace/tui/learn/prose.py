"""A lesson's Markdown as lines of spans: wrapped at any width, Chinese too, and plain where the terminal is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from markdown_it import MarkdownIt
from markdown_it.token import Token

from optrace.tui.core.source import highlighted
from optrace.tui.core.spans import Line, Span, cells, clean, left, width, wrap

_MARKDOWN = MarkdownIt("commonmark").enable("table")


@lru_cache(256)
def prose(text: str, room: int) -> tuple[Line, ...]:
    """Markdown laid out in `room` columns: no empty line at either end."""
    layout = _Layout(room)
    tokens = _MARKDOWN.parse(text)
    for place, token in enumerate(tokens):
        layout.take(token, tokens[place - 1] if place else None)
    while layout.lines and not layout.lines[-1]:
        layout.lines.pop()
    return tuple(layout.lines)


@dataclass
class _Layout:
    room: int
    lines: list[Line] = field(default_factory=list)
    indents: list[int] = field(default_factory=list)
    numbers: list[int | None] = field(default_factory=list)
    """Of the lists that are open: the number of the next item, None without numbers."""
    marker: Line = field(default_factory=list)
    table: list[list[Line]] = field(default_factory=list)
    quoted: int = 0

    def take(self, token: Token, before: Token | None) -> None:
        kind = token.type
        if kind == "inline":
            self._inline(token, before.type if before is not None else "")
        elif kind in ("fence", "code_block"):
            self._code(token)
        elif kind in ("bullet_list_open", "ordered_list_open"):
            self.numbers.append(int(token.attrs.get("start", 1)) if kind[0] == "o" else None)
        elif kind == "list_item_open":
            number = self.numbers[-1]
            sign = "• " if number is None else f"{number}. "
            if number is not None:
                self.numbers[-1] = number + 1
            self.marker = [Span(sign, "key")]
            self.indents.append(cells(sign))
        elif kind == "list_item_close":
            self.indents.pop()
        elif kind in ("bullet_list_close", "ordered_list_close"):
            self.numbers.pop()
            self._gap()
        elif kind in ("paragraph_close", "heading_close") and not (token.hidden or self.table):
            self._gap()
        elif kind in ("blockquote_open", "blockquote_close"):
            self.quoted += 1 if kind == "blockquote_open" else -1
        elif kind == "hr":
            self.lines += [[Span("─" * self.room, "axis")], []]
        elif kind == "tr_open":
            self.table.append([])
        elif kind == "table_close":
            self.lines += _columns(self.table, self.room)
            self.table = []
            self._gap()

    def _gap(self) -> None:
        if self.lines and self.lines[-1]:
            self.lines.append([])

    def _inline(self, token: Token, opener: str) -> None:
        role = "title" if opener in ("heading_open", "th_open") else ""
        line = spans(token.children or [], role)
        if opener in ("th_open", "td_open"):
            self.table[-1].append(line)
            return
        self._put(wrap(line, self.room - self._margin()))

    def _code(self, token: Token) -> None:
        python = token.info.strip().split(" ")[0] in ("", "python", "py")
        for text in token.content.rstrip("\n").split("\n"):
            text = clean(text.expandtabs(4))
            self._put([[Span("│ ", "axis"), *(highlighted(text) if python else (Span(text),))]])
        self._gap()

    def _margin(self) -> int:
        return sum(self.indents) + 2 * self.quoted

    def _put(self, lines: Sequence[Line]) -> None:
        quote = [Span("┃ ", "axis")] * self.quoted
        for line in lines:
            indent = Span(" " * (sum(self.indents) - width(self.marker)))
            self.lines.append([*quote, indent, *self.marker, *line] if indent.text or self.marker else [*quote, *line])
            self.marker = []


def spans(children: Sequence[Token], role: str = "") -> Line:
    """The pieces of a paragraph: code, emphasis, links by their words."""
    line: Line = []
    roles = [role] if role else []
    for place, child in enumerate(children):
        if child.type == "text":
            line.append(Span(clean(child.content), " ".join(roles)))
        elif child.type == "code_inline":
            line.append(Span(clean(child.content), " ".join([*roles, "inline-code"])))
        elif child.type in ("strong_open", "em_open"):
            roles.append("bold" if child.type == "strong_open" else "italic")
        elif child.type in ("strong_close", "em_close"):
            roles.pop()
        elif child.type == "softbreak":
            after = next((later.content for later in children[place + 1 :] if later.content), "")
            line.append(Span("" if _chinese(line, after) else " "))
        elif child.type == "hardbreak":
            line.append(Span("\n"))
    return line


def _chinese(line: Line, after: str) -> bool:
    """Whether a line break stands between two Chinese characters, where a space would be wrong."""
    before = next((span.text for span in reversed(line) if span.text), "")
    return bool(before and after) and cells(before[-1]) == 2 and cells(after[0]) == 2


def _columns(rows: list[list[Line]], room: int) -> list[Line]:
    """A table; its last column is cut where it does not fit."""
    if not rows:
        return []
    count = max(map(len, rows))
    sizes = [max((width(row[column]) for row in rows if column < len(row)), default=0) for column in range(count)]
    lines: list[Line] = []
    for number, row in enumerate(rows):
        line: Line = []
        for size, cell in zip(sizes, row, strict=False):
            line += [*cell, Span(" " * (size - width(cell) + 2))]
        lines.append(line)
        if number == 0:
            lines.append([Span(left("─" * (sum(sizes) + 2 * (count - 1)), min(room, sum(sizes) + 2 * count)), "axis")])
    return lines
