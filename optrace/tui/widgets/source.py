"""The script, with the current line, findings in the gutter, and the way here in the title."""

from __future__ import annotations

from pathlib import PurePath

from textual.events import Click

from optrace.tui.core.session import Session
from optrace.tui.core.source import code_line, lines_of, top_line
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
            self._scroll(
                top_line(len(self._text), height, self._line - 1, tuple(line - 1 for line in self._visited)), width
            )
        return max(1, len(self._text))

    def _scroll(self, top: int, width: int) -> None:
        if self.virtual_size.height != len(self._text):
            self.virtual_size = self.virtual_size.with_height(len(self._text)).with_width(width)
        self.set_reactive(Lines.scroll_y, float(top))
        self.set_reactive(Lines.scroll_target_y, float(top))
        if self.show_vertical_scrollbar:
            self.vertical_scrollbar.position = top

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

    def on_click(self, event: Click) -> None:
        """To this line's finding, or to its event in this iteration."""
        number = int(self.scroll_offset.y) + event.y
        session, trace = self._session, self._session.trace
        found = session.findings.at_line(self._file, number)
        if found and event.x <= 3:
            self.post_message(GoTo(found[0].seq))
            return
        first, stop = trace.iterations.bounds(session.event.iteration)
        for seq in range(first, min(stop, first + 2000)):
            site = trace.stack(int(trace.column("stack")[seq]))[0]
            if site is not None and site.line == number and site.file == self._file:
                self.post_message(GoTo(seq))
                return
