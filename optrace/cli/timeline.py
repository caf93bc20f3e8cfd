"""The timeline: one line for each event."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, TextIO

from optrace.cli.facts import facts
from optrace.cli.text import clipped, clipped_left, short_path

if TYPE_CHECKING:
    from optrace.trace.model import Event
    from optrace.trace.reader import Trace

SHOWN = 40
"""Events of a long timeline that are shown unless somebody asks for more."""
_LEAST_WIDTH = 60


def screen_width(stream: TextIO | None = None) -> int:
    """Columns of the terminal; 80 where the stream (stdout) is none."""
    if not (stream or sys.stdout).isatty():
        return 80
    return max(_LEAST_WIDTH, shutil.get_terminal_size((80, 24)).columns)


def timeline(trace: Trace, first: int, last: int, limit: int, width: int) -> list[str]:
    """Lines for events `first` to before `last`; at most `limit` of them (0 for all), the middle left out."""
    chosen = list(_numbers(first, last, limit))
    gap = next((i for i in range(1, len(chosen)) if chosen[i] != chosen[i - 1] + 1), None)
    if gap is None:
        return _lines(trace, list(trace.events[first : first + len(chosen)]), width)
    head, tail = trace.events[first : first + gap], trace.events[last - (len(chosen) - gap) : last]
    lines = _lines(trace, [*head, *tail], width)
    left = last - first - len(chosen)
    between = f"{trace.events[chosen[gap - 1] + 1].position} to {trace.events[chosen[gap] - 1].position}"
    return [*lines[: gap + 1], f"… {left:,} events left out, {between}; --limit 0 shows all …", *lines[gap + 1 :]]


def _numbers(first: int, last: int, limit: int) -> list[int]:
    if limit <= 0 or last - first <= limit:
        return list(range(first, last))
    head = limit - limit // 2
    return [*range(first, first + head), *range(last - limit // 2, last)]


def _lines(trace: Trace, events: list[Event], width: int) -> list[str]:
    folder = trace.meta.get("cwd")
    rows = [
        (str(event.position), "  " * min(event.depth, 4) + event.kind, facts(trace, event), where(event, folder))
        for event in events
    ]
    rows.insert(0, ("at", "event", "what it did", "line"))
    position, kind = (max(len(row[column]) for row in rows) for column in (0, 1))
    place = min(max(len(row[3]) for row in rows), width // 3)
    middle = max(width - position - kind - place - 6, 10)
    # Where the facts are short, the lines of code stand close to them.
    middle = min(middle, max(len(row[2]) for row in rows))
    return [
        f"{at:>{position}}  {what:<{kind}}  {clipped(said, middle):<{middle}}  {clipped_left(line, place)}".rstrip()
        for at, what, said, line in rows
    ]


def where(event: Event, folder: str | None) -> str:
    """`train.py:12`, as seen from the folder the run was started in."""
    return "" if event.site is None else f"{short_path(event.site.file, folder)}:{event.site.line}"
