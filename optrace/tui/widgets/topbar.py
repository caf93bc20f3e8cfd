"""The first line: which trace, where in it, what kind of event, and how many findings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optrace.trace.processes import MAIN
from optrace.tui.core.kinds import SHOWN
from optrace.tui.core.numerals import count
from optrace.tui.core.session import Session
from optrace.tui.core.spans import Line, Span, cut_middle, ends, width
from optrace.tui.widgets.lines import Lines

if TYPE_CHECKING:
    from optrace.trace.reader import Trace


class TopBar(Lines):
    """Name, position, event, findings."""

    DEFAULT_CSS = "TopBar { height: 1; background: $panel; }"

    def __init__(self, session: Session, name: str = "") -> None:
        """`name` stands for the trace where its own would tell nothing."""
        super().__init__(id="topbar")
        self._session = session
        self._called = name
        self.status: Line = []

    def prepare(self, width: int, height: int) -> int:
        return 1

    def line(self, y: int, width_: int) -> Line:
        session = self._session
        event = session.event
        kind = SHOWN[event.kind]
        badges = self._badges()
        _, stop = session.trace.iterations.bounds(event.iteration)
        of = int(session.trace.column("index")[stop - 1])
        middle: Line = [
            Span(f"iteration {event.iteration}", "bold", "go_to"),
            Span(f" · event {event.index} of {of + 1} · " if width_ >= 100 else f":{event.index} ", "dim", "go_to"),
            Span(kind.word.upper(), kind.role),
        ]
        if event.depth:
            middle.append(Span(" in a closure", "dim"))
        name = cut_middle(self._called or _named(session.trace), max(10, width_ - width(middle) - width(badges) - 18))
        turn = "process(1)" if len(session.whole.processes) > 1 else ""
        start: Line = [Span(" optrace ", "title"), Span(f" {name} ", "", turn), Span(" ")]
        room = width_ - width(badges)
        gap = max(1, min((width_ - width(middle)) // 2, room - width(middle) - 1) - width(start))
        return ends([*start, Span(" " * gap), *middle], badges, width_)

    def _badges(self) -> Line:
        session, found = self._session, self._session.findings
        line: Line = [*self.status]
        if line:
            line.append(Span("  "))
        if session.follow:
            line.append(Span("● live  " if not session.trace.complete else "● end  ", "finding-hint", "follow"))
        elif not session.trace.complete:
            line.append(Span("○ live  ", "finding-hint", "follow"))
        if not found.ready:
            return [*line, Span("checking … ", "dim", "findings")]
        if found.failure:
            return [*line, Span("checks failed ", "bad", "findings")]
        if not len(found):
            return [*line, Span("✓ no findings ", "badge-ok", "findings")]
        for severity in ("error", "warning", "hint"):
            number = found.count(severity)
            if number:
                glyph = next(finding.glyph for finding in found.all if finding.severity == severity)
                line.append(Span(f"{glyph} {count(number, severity)}  ", f"finding-{severity}", "findings"))
        return line


def _named(trace: Trace) -> str:
    """`train.optrace`; `train.optrace/rank-1` where several processes were recorded together."""
    path = trace.path
    return path.name if trace.process == MAIN else f"{path.parent.name}/{path.name}"
