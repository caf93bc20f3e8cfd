"""What happened, in words; below it the findings of this place."""

from __future__ import annotations

from optrace.tui.core.findings import Placed
from optrace.tui.core.session import Session
from optrace.tui.core.spans import Line, Span, acting, fit, going, wrap
from optrace.tui.widgets.lines import Lines


class StoryPane(Lines):
    """Sentences about the current event."""

    DEFAULT_CSS = """
    StoryPane {
        border: round $border;
        overflow-y: auto;
        scrollbar-gutter: stable;
        border-title-color: $foreground;
    }
    """
    BORDER_TITLE = "What happened"

    def __init__(self, session: Session) -> None:
        super().__init__(id="story")
        self._session = session
        self._lines: list[Line] = []
        self.compact = False

    def prepare(self, width: int, height: int) -> int:
        session = self._session
        width -= 2
        self._lines = []
        sentences = session.machine.story.of(session.seq, session.selected)
        found = [line for finding in session.findings.here(session.event) for line in self._finding(finding, width)]
        if self.compact:
            sentences = [[span for line in sentences for span in (*line, Span(" "))]]
        for number, sentence in enumerate(sentences):
            if number and not self.compact and len(found) + len(self._lines) + 4 < height:
                self._lines.append([])
            self._lines += wrap(sentence, width)
        if found and not self.compact:
            self._lines.append([])
        self._lines += found
        return len(self._lines)

    def _finding(self, finding: Placed, width: int) -> list[Line]:
        head: Line = [Span(f"{finding.glyph} {finding.code} {finding.name.replace('-', ' ')}", finding.role)]
        if finding.seq != self._session.seq:
            head.append(going(f"  since {finding.where}", "dim", finding.seq))
        found = [
            *wrap(head, width),
            *([] if self.compact else wrap([Span(finding.message, "")], width)),
            *wrap([Span(finding.fix, "bold")], width),
        ]
        return [acting(fit(line, width), "findings") for line in found]

    def line(self, y: int, width: int) -> Line:
        return [Span(" "), *self._lines[y]] if y < len(self._lines) else []
