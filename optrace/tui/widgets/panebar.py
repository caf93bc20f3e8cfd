"""On narrow screens one pane is shown at a time; this line says which, and takes clicks."""

from __future__ import annotations

from textual.events import Click

from optrace.tui.core.spans import Line, Span, cells, width
from optrace.tui.messages import Act
from optrace.tui.widgets.lines import Lines

PANES = (("source", "Source"), ("table", "Parameters"), ("inspector", "Inspector"))


class PaneBar(Lines):
    """`Source  Parameters  Inspector`, the shown one marked."""

    DEFAULT_CSS = "PaneBar { height: 1; display: none; }"

    def __init__(self) -> None:
        super().__init__(id="panes")
        self.shown = "table"
        self._spots: list[tuple[int, int, str]] = []

    def prepare(self, width: int, height: int) -> int:
        return 1

    def line(self, y: int, room: int) -> Line:
        self._spots = []
        line: Line = [Span(" ")]
        for key, title in PANES:
            text = f" {title} "
            start = width(line)
            self._spots.append((start, start + cells(text), f"pane({key!r})"))
            line += [Span(text, "tab-on" if key == self.shown else "tab"), Span(" ")]
        line.append(Span(" Tab next", "dim"))
        return line

    def on_click(self, event: Click) -> None:
        for first, last, action in self._spots:
            if first <= event.x < last:
                self.post_message(Act(action))
                return
