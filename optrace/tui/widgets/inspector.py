"""The inspector of the selected parameter: a line of tabs, a line of choices where there are any, and the tab."""

from __future__ import annotations

from textual.events import Click, MouseScrollDown, MouseScrollUp

from optrace.tui.core.canvas import Chart, Series
from optrace.tui.core.grid import Grid
from optrace.tui.core.session import Session
from optrace.tui.core.spans import Line, Span, cells, cut_middle, width
from optrace.tui.core.tabs import TABS, gradient, history, state, update, values
from optrace.tui.core.tabs.values import HEAD, grid_of, shown_kinds
from optrace.tui.messages import Act, ElementChosen, GoTo
from optrace.tui.widgets.lines import Lines

_SIMPLE = {"gradient": gradient.lines, "update": update.lines, "state": state.lines}


class InspectorPane(Lines):
    """Everything about one parameter."""

    DEFAULT_CSS = """
    InspectorPane {
        border: round $border;
        overflow-y: auto;
        scrollbar-gutter: stable;
        border-title-color: $foreground;
    }
    """

    def __init__(self, session: Session) -> None:
        super().__init__(id="inspector")
        self._session = session
        self._lines: list[Line] = []
        self._spots: list[tuple[int, int, int, str]] = []
        """Line, first and last column, action."""
        self._chart: Chart | None = None
        self._top = 2
        self._stamp: tuple[object, ...] = ()
        self.series: dict[history.Wanted, tuple[tuple[Series, ...], float]] = {}
        """What was read for charts, and how much of it; filled in by the screen's worker."""

    def prepare(self, width: int, height: int) -> int:
        session = self._session
        parameter = session.selected
        self._spots = []
        self._chart = None
        room = width - 2
        self._lines = [self._tabs()]
        if parameter is None:
            self.entitle("Parameter")
            self._lines.append([Span("No parameter is selected.", "dim")])
            return len(self._lines)
        if session.view.tab in _SIMPLE:
            if height > 12:
                self._lines.append([])
            self._top = len(self._lines)
            make, shown = _SIMPLE[session.view.tab], (session.machine, parameter, session.seq, session.place)
            self._lines += make(*shown, room, height - self._top)
        else:
            choices = self._choices(room)
            self._lines += choices
            self._top = 1 + len(choices)
            left = height - self._top
            if session.view.tab == "values":
                self._lines += values.lines(session.machine, parameter, session.seq, session.look, room, left)
            else:
                self._lines += self._history(room, left)
        self.entitle(
            cut_middle(parameter.name, max(8, width - 6)), "Ctrl+↓ ↑ more" if len(self._lines) > height else ""
        )
        stamp = (parameter.id, session.view.tab, session.view.kind, session.view.view)
        if stamp != self._stamp:
            self._stamp = stamp
            self.scroll_to(y=0, animate=False, force=True)
        return len(self._lines)

    def _tabs(self) -> Line:
        line: Line = []
        for number, name in enumerate(TABS, 1):
            on = name == self._session.view.tab
            self._spot(0, line, f" {number} {name.title()} ", "tab-on" if on else "tab", f"tab({name!r})")
            line.append(Span(" "))
        return line

    def _spot(self, y: int, line: Line, text: str, role: str, action: str) -> None:
        start = width(line) + 1
        line.append(Span(text, role))
        self._spots.append((y, start, start + cells(text) - 1, action))

    def _choices(self, room: int) -> list[Line]:
        """What of the parameter, and how it is looked at; on two lines where one is too short."""
        session = self._session
        assert session.selected is not None
        kinds = shown_kinds(session.machine, session.selected)
        names = ["last update" if kind == "update" else kind for kind in kinds]
        history_tab = session.view.tab == "history"
        views = (session.view.statistic, "log" if session.view.log else "linear") if history_tab else values.VIEWS
        two = sum(len(name) + 2 for name in (*names, *views)) + 3 > room
        lines: list[Line] = [[], []] if two else [[]]
        for kind, name in zip(kinds, names, strict=True):
            on = kind == session.view.kind
            self._spot(1, lines[0], f"‹{name}›" if on else f" {name} ", "choice-on" if on else "dim", f"kind({kind!r})")
        if not two:
            lines[0].append(Span(" │ ", "axis"))
        for name in views:
            on = name in (session.view.view, session.view.statistic)
            action = ("statistic(1)" if on else "log") if history_tab else f"view({name!r})"
            self._spot(len(lines), lines[-1], f"‹{name}›" if on else f" {name} ", "choice-on" if on else "dim", action)
        return lines

    def _history(self, room: int, height: int) -> list[Line]:
        session = self._session
        assert session.selected is not None
        if 0 in session.selected.shape and session.view.statistic == "element":
            return [[Span("It has no elements.", "dim")]]
        want = self.wanted()
        assert want is not None
        found = self.series.get(want)
        if found is None:
            return [[Span("reading …", "dim")]]
        series, done = found
        self._chart = history.chart(series, len(session.trace.events), session.seq, session.view.log)
        kind = {"param": session.selected.name, "grad": f"{session.selected.name}.grad", "update": "Δ/param"}.get(
            want.kind, want.kind
        )
        title = "loss" if want.statistic == "loss" else f"{want.statistic} of {kind}"
        recorded = "param" if want.kind == "update" else want.kind
        if want.statistic != "loss" and session.machine.readings.sampled(session.selected, recorded, session.seq):
            title += " (sampled)"
        return history.lines(self._chart, title, done, room, height, session.position)

    def wanted(self) -> history.Wanted | None:
        """What the chart needs, where the history tab is open."""
        session = self._session
        if session.view.tab != "history" or session.selected is None:
            return None
        view = session.view
        return history.wanted(session.machine, session.selected, view.kind, view.statistic, session.place)

    def line(self, y: int, width: int) -> Line:
        return [Span(" "), *self._lines[y]] if y < len(self._lines) else []

    def on_click(self, event: Click) -> None:
        inner = event.get_content_offset(self)
        if inner is None:
            return
        y = inner.y + int(self.scroll_offset.y)
        for line, first, last, action in self._spots:
            if y == line and first <= inner.x <= last:
                self.post_message(Act(action))
                return
        if self._chart is not None and self.size.width:
            target = self._chart.event_at(inner.x - 1, self.scrollable_content_region.width - 2)
            if target is not None:
                self.post_message(GoTo(target))
        elif self._session.view.tab == "values":
            self._pick(inner.x - 1, y - self._top)

    def _pick(self, x: int, y: int) -> None:
        """The element under the mouse."""
        session, look = self._session, self._session.look
        region = self.scrollable_content_region
        room, height = region.width - 2, region.height - self._top
        if session.selected is None or look.view == "histogram":
            return
        grid = grid_of(session.selected, look, room)
        margin = values.margin_of(grid.shape)
        rows, columns = max(1, height - HEAD - 1), max(1, (room - margin) // look.cell)
        top, begin = grid.window(session.place, rows, columns)
        place = (
            grid.place(top + y - HEAD - 1, begin + (x - margin) // look.cell, session.place)
            if y > HEAD and x >= margin
            else None
        )
        if place is not None:
            self.post_message(ElementChosen(place))

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        if self._session.view.tab == "values":
            event.stop()
            self.post_message(Act("element(3, 0)"))

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        if self._session.view.tab == "values":
            event.stop()
            self.post_message(Act("element(-3, 0)"))

    def grid(self) -> Grid:
        """How the selected value lies on the screen."""
        session = self._session
        assert session.selected is not None
        return grid_of(session.selected, session.look, max(10, self.scrollable_content_region.width - 2))
