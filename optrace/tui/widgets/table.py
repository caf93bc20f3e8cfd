"""The parameters: a row each, drawn when it is in view."""

from __future__ import annotations

from optrace.tui.core.session import Session
from optrace.tui.core.spans import Line, Span
from optrace.tui.core.table import SORT_NAMES, Column, columns
from optrace.tui.messages import Act, RowChosen
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

    def clicked(self, x: int, y: int) -> None:
        if y > int(self.scroll_offset.y):
            self.post_message(RowChosen(y - 1))

    def framed(self, top: bool) -> None:
        """The title says what is filtered, the words below by what it is sorted."""
        self.post_message(Act("filter" if top else "sort"))
