"""The findings of a trace as the screen needs them: placed on events and lines."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optrace.errors import OptraceError

if TYPE_CHECKING:
    from optrace.trace.model import Event
    from optrace.trace.reader import Trace

SEVERITIES = ("error", "warning", "hint")
GLYPHS = {"error": "●", "warning": "▲", "hint": "○"}


@dataclass(frozen=True)
class Placed:
    """A finding and the event it was first seen at."""

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
    caused_by: str = ""

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

    @property
    def numbers(self) -> list[int]:
        """The events that have findings, ascending."""
        return self._numbers


def find(trace: Trace) -> Findings:
    """Run the checks. Slow on a long trace: for a worker."""
    try:
        found = getattr(trace, "findings", ())
    except OptraceError as error:
        return Findings(failure=str(error))
    return Findings(place(trace, finding) for finding in found)


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
    )
