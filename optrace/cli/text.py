"""Text for terminals: nothing that was recorded can control the terminal it is shown on."""

from __future__ import annotations

import math
import os
import sys
import textwrap
from collections.abc import Iterable
from typing import Any, TextIO


def printable(text: object) -> str:
    """Text in which every character that a terminal might act on is written as its escape: `\\x1b[31m`.

    That is control characters, escape sequences, line ends, direction marks and lone surrogates.
    """
    line = str(text)
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in line)


def source_line(text: str) -> str:
    """A line of source, printable, its tabs as spaces, without the indentation."""
    return printable(text.expandtabs(4).strip())


def tell(message: str, stream: TextIO | None = None) -> None:
    """One line on stderr; never fails, whatever stderr is by now."""
    stream = sys.stderr if stream is None else stream
    try:
        print(f"optrace: {message}", file=stream, flush=True)
    except (AttributeError, OSError, ValueError):  # closed, or there is none
        return


def clipped(text: str, width: int) -> str:
    """At most `width` characters, the end replaced by … where it is longer."""
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def clipped_left(text: str, width: int) -> str:
    """At most `width` characters, the beginning replaced by … where it is longer."""
    return text if len(text) <= width else "…" + text[len(text) - width + 1 :]


def number(value: Any) -> str:
    """A number for people: six digits, without an exponent where that reads well."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return printable(value)
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    return f"{value:.6g}"


def count(amount: int, noun: str, plural: str | None = None) -> str:
    """`1 event`, `2,000 events`."""
    return f"{amount:,} {noun if amount == 1 else plural or noun + 's'}"


def short_path(file: str, folder: str | None) -> str:
    """A path as seen from the folder the run was started in, where it lies below it."""
    if folder and file.startswith(os.path.join(folder, "")):
        file = file[len(os.path.join(folder, "")) :]
    return printable(file)


def shape(lengths: Iterable[int]) -> str:
    """`[2, 3]`; `[]` for a single number."""
    return "[" + ", ".join(map(str, lengths)) + "]"


def wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """Lines of at most `width` columns where words allow it, the second and later ones indented by `indent`.

    What a no-break space joins stays on one line.
    """
    lines = textwrap.wrap(text, width, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False)
    return [line.replace("\xa0", " ") for line in lines]


def table(rows: list[list[str]], right: Iterable[int] = (), indent: str = "", gap: str = "  ") -> list[str]:
    """Rows with their columns aligned, those in `right` to the right."""
    if not rows:
        return []
    to_right = set(right)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[i].rjust(width) if i in to_right else row[i].ljust(width) for i, width in enumerate(widths)]
        lines.append((indent + gap.join(cells)).rstrip())
    return lines
