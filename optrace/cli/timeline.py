"""The timeline: one line for each event."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, TextIO

from optrace.cli.facts import facts
from optrace.cli.text import clipped, clipped_left, count, short_path

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
    if limit <= 0 or last - first <= limit:
        return _lines(trace, list(trace.events[first:last]), width)
    head = limit - limit // 2
    after, until = first + head, last - limit // 2  # what is left out
    lines = _lines(trace, [*trace.events[first:after], *trace.events[until:last]], width)
    between = f"{trace.events[after].position} to {trace.events[until - 1].position}"
    note = f"… {count(until - after, 'event')} left out, {between}; --limit 0 shows all …"
    return [*lines[: head + 1], note, *lines[head + 1 :]]


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
