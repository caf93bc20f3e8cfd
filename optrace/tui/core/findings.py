"""The findings of a trace as the screen needs them: placed on events and lines."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from optrace.errors import OptraceError

if TYPE_CHECKING:
    from optrace.trace.model import Event
    from optrace.trace.reader import Trace

Array = np.ndarray[Any, Any]
SEVERITIES = ("error", "warning", "hint")
GLYPHS = {"error": "●", "warning": "▲", "hint": "○"}


@dataclass(frozen=True, eq=False)
class Placed:
    """A finding and the events that show it; `seq` is the first."""

    code: str
    name: str
    severity: str
    message: str
    fix: str
    file: str
    line: int
    seq: int
    count: int
    parameters: tuple[str, ...]
    where: str
    """Its position as text."""
    events: Array
    """All events that show it, ascending, where the trace tells which they are; else the first and the last."""
    caused_by: str = ""
    processes: tuple[str, ...] = ()
    """Which processes it is about, where several were recorded together."""

    @property
    def glyph(self) -> str:
        return GLYPHS.get(self.severity, "○")

    @property
    def role(self) -> str:
        return f"finding-{self.severity}"


class Findings:
    """All findings, by event and by line."""

    def __init__(self, found: Iterable[Placed] = (), *, ready: bool = True, failure: str = "") -> None:
        self.all = sorted(found, key=lambda finding: (finding.seq, SEVERITIES.index(finding.severity), finding.code))
        self.ready = ready
        self.failure = failure
        self._numbers = sorted({finding.seq for finding in self.all})
        self._lines: dict[tuple[str, int], list[Placed]] = {}
        for finding in self.all:
            self._lines.setdefault((finding.file, finding.line), []).append(finding)
        self.columns = lru_cache(8)(self._columns)

    def __len__(self) -> int:
        return len(self.all)

    def count(self, severity: str) -> int:
        return sum(1 for finding in self.all if finding.severity == severity)

    def at_line(self, file: str, line: int) -> list[Placed]:
        return self._lines.get((file, line), [])

    def at(self, seq: int) -> list[Placed]:
        return [finding for finding in self.all if finding.seq == seq]

    def here(self, event: Event) -> list[Placed]:
        """Findings of this event, or of its line since they first showed; errors first, two at most."""
        site = event.site
        found = self.at(event.seq)
        if site is not None:
            found += [f for f in self.at_line(site.file, site.line) if f.seq < event.seq and f.severity != "hint"]
        return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))[:2]

    def next(self, seq: int) -> int | None:
        """The first event after `seq` that has a finding."""
        place = bisect_right(self._numbers, seq)
        return self._numbers[place] if place < len(self._numbers) else None

    def previous(self, seq: int) -> int | None:
        place = bisect_left(self._numbers, seq) - 1
        return self._numbers[place] if place >= 0 else None

    def _columns(self, columns: int, count: int) -> dict[int, tuple[str, str]]:
        """The strip of the run's `count` events: glyph and role of each column that has something to show. A
        finding's first event has its own glyph, each other a dot; a line joins events that cannot be told."""
        found: dict[int, tuple[str, str]] = {}
        mildest_first = sorted(self.all, key=lambda finding: -SEVERITIES.index(finding.severity))
        places = {
            finding: np.unique(finding.events.astype(np.int64) * columns // max(1, count)).tolist()
            for finding in mildest_first
        }
        for finding in mildest_first:
            if len(finding.events) < finding.count:
                found |= dict.fromkeys(range(places[finding][0], places[finding][-1] + 1), ("╌", finding.role))
        for finding in mildest_first:
            found |= dict.fromkeys(places[finding], ("•", finding.role))
        for finding in mildest_first:
            found[places[finding][0]] = (finding.glyph, finding.role)
        return found

    def in_column(self, column: int, columns: int, count: int) -> int | None:
        """The event that a column's glyph in the strip stands for: the worst finding that begins there, or else its
        first further event; None where no glyph of a finding is."""
        began = [f for f in self.all if f.seq * columns // max(1, count) == column]
        if began:
            return min(began, key=lambda finding: SEVERITIES.index(finding.severity)).seq
        first, stop = (-(-border * count // columns) for border in (column, column + 1))
        shown = [finding.events[np.searchsorted(finding.events, np.uint32(first)) :] for finding in self.all]
        return min((int(events[0]) for events in shown if len(events) and events[0] < stop), default=None)

    def marked(self, first: int, last: int) -> frozenset[int]:
        """Those of the events `first` to `last` that show a finding."""
        return frozenset(
            int(number)
            for finding in self.all
            for number in finding.events[
                np.searchsorted(finding.events, np.uint32(first)) : np.searchsorted(
                    finding.events, np.uint32(last), "right"
                )
            ]
        )

    @property
    def numbers(self) -> list[int]:
        """The events that have findings, ascending."""
        return self._numbers


def find(trace: Trace, whole: Trace | None = None) -> Findings:
    """Run the checks. Slow on a long trace: for a worker. `whole` has all processes that `trace` ran together with."""
    try:
        found = getattr(whole or trace, "findings", ())
    except OptraceError as error:
        return Findings(failure=str(error))
    mine = [finding for finding in found if not finding.processes or trace.process in finding.processes]
    return Findings(place(trace, finding) for finding in mine)


def place(trace: Trace, finding: Any) -> Placed:
    """A finding of the checks, with the event it stands at."""
    try:
        seq = trace.seq(finding.position) if finding.position is not None else 0
    except OptraceError:
        seq = 0
    severity = str(getattr(finding.severity, "value", finding.severity)).lower()
    return Placed(
        code=finding.code,
        name=finding.name,
        severity=severity if severity in SEVERITIES else "hint",
        message=finding.message,
        fix=finding.fix,
        file=finding.file or "",
        line=finding.line or 0,
        seq=seq,
        count=finding.count or 1,
        parameters=tuple(str(parameter) for parameter in finding.parameters or ()),
        where=str(finding.position) if finding.position is not None else "",
        caused_by=str(finding.caused_by or ""),
        processes=finding.processes,
        events=_events(trace, seq, max(seq, finding.span[1]), finding.count or 1),
    )


def _events(trace: Trace, first: int, last: int, count: int) -> Array:
    """A finding knows its first and last event and how many there are. Where just as many of the same kind were
    called from the same place in between, these are they."""
    if last >= len(trace.events) or last == first:
        return np.array([first], np.uint32)
    same = np.ones(last + 1 - first, bool)
    for name in ("stack", "kind"):
        column = trace.column(name)
        same &= column[first : last + 1] == column[first]
    found = np.flatnonzero(same) + first
    return (found if len(found) == count else np.array([first, last])).astype(np.uint32)
