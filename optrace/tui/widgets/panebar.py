"""On narrow screens one pane is shown at a time; this line says which, and takes clicks."""

from __future__ import annotations

from textual.events import Click

from optrace.tui.core.spans import Line, Span, cells, width
from optrace.tui.messages import Act
from optrace.tui.widgets.lines import Lines

Names = tuple[tuple[str, str], ...]
PANES: Names = (("source", "Source"), ("table", "Parameters"), ("inspector", "Inspector"))


class PaneBar(Lines):
    """`Source  Parameters  Inspector`, the shown one marked."""

    DEFAULT_CSS = "PaneBar { height: 1; display: none; }"

    def __init__(self, names: Names = PANES, shown: str = "table", hint: str = "Tab next") -> None:
        super().__init__(id="panes")
        self.names, self.shown, self.hint = names, shown, hint
        self._spots: list[tuple[int, int, str]] = []

    def prepare(self, width: int, height: int) -> int:
        return 1

    def line(self, y: int, room: int) -> Line:
        self._spots = []
        line: Line = [Span(" ")]
        for key, title in self.names:
            text = f" {title} "
            start = width(line)
            self._spots.append((start, start + cells(text), f"pane({key!r})"))
            line += [Span(text, "tab-on" if key == self.shown else "tab"), Span(" ")]
        line.append(Span(f" {self.hint}", "dim"))
        return line

    def on_click(self, event: Click) -> None:
        for first, last, action in self._spots:
            if first <= event.x < last:
                self.post_message(Act(action))
                return
