"""On narrow screens one pane is shown at a time; this line says which, and takes clicks."""

from __future__ import annotations

from optrace.tui.core.spans import Line, Span
from optrace.tui.widgets.lines import Lines

Names = tuple[tuple[str, str], ...]
PANES: Names = (("source", "Source"), ("table", "Parameters"), ("inspector", "Inspector"))


class PaneBar(Lines):
    """`Source  Parameters  Inspector`, the shown one marked."""

    DEFAULT_CSS = "PaneBar { height: 1; display: none; }"

    def __init__(self, names: Names = PANES, shown: str = "table", hint: str = "Tab next") -> None:
        super().__init__(id="panes")
        self.names, self.shown, self.hint = names, shown, hint

    def prepare(self, width: int, height: int) -> int:
        return 1

    def line(self, y: int, room: int) -> Line:
        line: Line = [Span(" ")]
        for key, title in self.names:
            line += [Span(f" {title} ", "tab-on" if key == self.shown else "tab", f"pane({key!r})"), Span(" ")]
        shown = [key for key, _ in self.names]
        following = shown[(shown.index(self.shown) + 1) % len(shown)]
        return [*line, Span(f" {self.hint}", "dim", f"pane({following!r})")]
