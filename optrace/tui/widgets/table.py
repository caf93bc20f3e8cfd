"""The parameters: a row each, drawn when it is in view."""

from __future__ import annotations

from textual.events import Click

from optrace.tui.core.session import Session
from optrace.tui.core.spans import Line, Span
from optrace.tui.core.table import SORT_NAMES, Column, columns
from optrace.tui.messages import RowChosen, SortChosen
from optrace.tui.widgets.lines import Lines


class TablePane(Lines):
    """The table of parameters. Its first line is the head, which stays."""

    DEFAULT_CSS = """
    TablePane {
        border: round $border;
        overflow-y: auto;
        scrollbar-gutter: stable;
        border-title-color: $foreground;
        border-subtitle-color: $foreground;
    }
    """

    def __init__(self, session: Session) -> None:
        super().__init__(id="table")
        self._session = session
        self._layout: list[Column] = []
        self._height = 1
        self._longest = (-1, 0)

    def prepare(self, width: int, height: int) -> int:
        session = self._session
        everything = session.trace.parameters
        if self._longest[0] != len(everything):
            self._longest = (len(everything), max(map(len, everything), default=0))
        kinds = session.machine.kinds(session.selected) if session.selected else []
        states = [kind for kind in kinds if kind not in ("param", "grad")]
        self._layout = columns(width, states, self._longest[1])
        self._height = height
        title = "Parameters" + (f" matching /{session.view.filter}/" if session.view.filter else "")
        sort = "" if session.view.sort == "order" else f"by {SORT_NAMES[session.view.sort]} · "
        self.entitle(title, f"{sort}{len(session.rows)} of {len(everything)}")
        return max(2, len(session.rows) + 1)

    def reveal(self) -> None:
        """Scroll so that the selected row is in view."""
        row = self._session.row
        if row < 0 or self._height < 2:
            return
        top = int(self.scroll_offset.y)
        if row < top:
            self.scroll_to(y=row, animate=False, force=True)
        elif row > top + self._height - 2:
            self.scroll_to(y=row - self._height + 2, animate=False, force=True)

    def line(self, y: int, width: int) -> Line:
        session = self._session
        if y == int(self.scroll_offset.y):
            return session.machine.table.head(self._layout, session.view.sort)
        row = y - 1
        if not session.rows:
            words = (
                "No parameter matches. Esc clears the filter."
                if session.view.filter
                else "No parameters were recorded."
            )
            return [Span("  " + words, "dim")] if row == 0 else []
        if row >= len(session.rows):
            return []
        parameter = session.rows[row]
        return session.machine.table.row(parameter, session.seq, self._layout, parameter is session.selected)

    def watch_scroll_y(self, old: float, new: float) -> None:
        super().watch_scroll_y(old, new)
        for y in (round(old), round(new)):
            self._strips.pop(y, None)
        self.refresh()

    def on_click(self, event: Click) -> None:
        inner = event.get_content_offset(self)
        if inner is None:
            return
        if inner.y == 0:
            self._sort_under(inner.x)
            return
        self.post_message(RowChosen(int(self.scroll_offset.y) + inner.y - 1))

    def _sort_under(self, x: int) -> None:
        at = 2
        for column in self._layout:
            at += column.width
            if x < at:
                key = {"shape": "size", "bar": "stale"}.get(column.key, column.key)
                if key in SORT_NAMES:
                    self.post_message(SortChosen("order" if key == self._session.view.sort else key))
                return
