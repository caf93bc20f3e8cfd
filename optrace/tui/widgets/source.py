"""The script, with the current line, findings in the gutter, and the way here in the title."""

from __future__ import annotations

from pathlib import PurePath

import numpy as np
from textual.events import MouseScrollLeft, MouseScrollRight

from optrace.tui.core.session import Session
from optrace.tui.core.source import SLIDE, code_line, lines_of, top_line
from optrace.tui.core.spans import Line, Span
from optrace.tui.messages import GoTo
from optrace.tui.widgets.lines import Lines


class SourcePane(Lines):
    """The source file of the current event."""

    DEFAULT_CSS = """
    SourcePane {
        border: round $border;
        overflow-y: auto;
        scrollbar-gutter: stable;
        border-title-color: $foreground;
    }
    """

    def __init__(self, session: Session) -> None:
        super().__init__(id="source")
        self._session = session
        self._text: tuple[str, ...] = ()
        self._file = ""
        self._line = 0
        self._visited: frozenset[int] = frozenset()
        self._stamp: tuple[int, int] = (-1, -1)
        self.shift = 0

    def prepare(self, width: int, height: int) -> int:
        session = self._session
        site = session.event.site
        if site is None:
            self._text, self._file, self._stamp = (), "", (-1, -1)
            self.entitle("Source")
            return 1
        text = session.trace.sources.get(site.file)
        self._file, self._line = site.file, site.line
        self._text = lines_of(text) if text is not None else ()
        name = PurePath(site.file.replace("\\", "/")).name
        way = [f"{place.function}" for place in session.event.stack[:3] if place.function != "<module>"]
        self.entitle(name + (f" · {' ← '.join(way)}" if way else ""))
        self._visited = self._lines_of_iteration()
        stamp = (session.seq, height)
        if self._text and stamp != self._stamp:
            self._stamp = stamp
            self.shift = 0
            visited = tuple(line - 1 for line in self._visited)
            self._scroll(top_line(len(self._text), height, self._line - 1, visited))
        return max(1, len(self._text))

    def _scroll(self, top: int) -> None:
        self.set_reactive(Lines.scroll_y, float(top))
        self.set_reactive(Lines.scroll_target_y, float(top))

    def _lines_of_iteration(self) -> frozenset[int]:
        """Lines of this file that the events of this iteration came from."""
        trace = self._session.trace
        first, stop = trace.iterations.bounds(self._session.event.iteration)
        stacks = set(trace.column("stack")[first : min(stop, first + 2000)].tolist())
        sites = [trace.stack(number)[0] for number in stacks]
        return frozenset(site.line for site in sites if site is not None and site.file == self._file)

    def line(self, y: int, width: int) -> Line:
        if not self._text:
            reason = (
                f"The text of {self._file} is not in the trace." if self._file else "This event has no line of source."
            )
            return [Span(reason, "dim")] if y == 0 else []
        return code_line(
            self._text, y + 1, self._file, self._line, self._visited, self._session.findings, width, self.shift
        )

    def slide(self, by: int) -> None:
        """Look further right along long lines."""
        self.shift = max(0, self.shift + by)
        self._strips.clear()
        self.show()

    def clicked(self, x: int, y: int) -> None:
        """To the event that this line made in this iteration, or else to its next one, or its last."""
        trace, seq = self._session.trace, self._session.seq
        stacks = trace.column("stack")
        made = np.zeros(len(stacks), bool)
        for number in np.flatnonzero(np.bincount(stacks[stacks >= 0])).tolist():
            site = trace.stack(number)[0]
            if site is not None and site.line == y + 1 and site.file == self._file:
                made |= stacks == number
        events = np.flatnonzero(made)
        if len(events):
            first, stop = trace.iterations.bounds(self._session.event.iteration)
            place = int(np.searchsorted(events, first))
            if place == len(events) or events[place] >= stop:
                place = min(int(np.searchsorted(events, seq)), len(events) - 1)
            self.post_message(GoTo(int(events[place])))

    def on_mouse_scroll_right(self, event: MouseScrollRight) -> None:
        event.stop()
        self.slide(SLIDE)

    def on_mouse_scroll_left(self, event: MouseScrollLeft) -> None:
        event.stop()
        self.slide(-SLIDE)
