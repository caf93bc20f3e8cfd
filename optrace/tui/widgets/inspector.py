"""The inspector of the selected parameter: a line of tabs, a line of choices where there are any, and the tab."""

from __future__ import annotations

from textual.events import MouseScrollDown, MouseScrollLeft, MouseScrollRight, MouseScrollUp

from optrace.tui.core.blocks import named
from optrace.tui.core.canvas import AXIS, Chart, Series
from optrace.tui.core.grid import Grid, fitting
from optrace.tui.core.session import Session
from optrace.tui.core.spans import Line, Span, cut_middle
from optrace.tui.core.tabs import TABS, gradient, history, state, update, values
from optrace.tui.core.tabs.values import HEAD, grid_of, shape_of, shown_kinds
from optrace.tui.messages import Act, ElementChosen
from optrace.tui.widgets.dragging import Dragging, Held

_SIMPLE = {"gradient": gradient.lines, "update": update.lines, "state": state.lines}


class InspectorPane(Dragging):
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
        self._chart: Chart | None = None
        self._top = 2
        self._stamp: tuple[object, ...] = ()
        self.series: dict[history.Wanted, tuple[tuple[Series, ...], float]] = {}
        """What was read for charts, and how much of it; filled in by the screen's worker."""

    def prepare(self, width: int, height: int) -> int:
        session = self._session
        parameter = session.selected
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
        more = "Ctrl+↓ ↑ more" if len(self._lines) > height else ""
        more = named(more) if getattr(self.app, "ascii_only", False) else more
        self.entitle(cut_middle(parameter.name, max(8, width - 6)), more)
        stamp = (parameter.id, session.view.tab, session.view.kind, session.view.view)
        if stamp != self._stamp:
            self._stamp = stamp
            self.scroll_to(y=0, animate=False, force=True)
        return len(self._lines)

    def _tabs(self) -> Line:
        line: Line = []
        for number, name in enumerate(TABS, 1):
            on = name == self._session.view.tab
            line += [Span(f" {number} {name.title()} ", "tab-on" if on else "tab", f"tab({name!r})"), Span(" ")]
        return line

    def _choices(self, room: int) -> list[Line]:
        """What of the parameter, and how it is looked at; on two lines where one is too short."""
        session = self._session
        assert session.selected is not None
        kinds = shown_kinds(session.machine, session.selected)
        names = ["last update" if kind == "update" else kind for kind in kinds]
        history_tab = session.view.tab == "history"
        statistic = history.chosen(session.view.kind, session.view.statistic)
        views = (statistic, "log" if session.view.log else "linear") if history_tab else values.VIEWS
        two = sum(len(name) + 2 for name in (*names, *views)) + 3 > room
        lines: list[Line] = [[], []] if two else [[]]
        for kind, name in zip(kinds, names, strict=True):
            on = kind == session.view.kind
            lines[0].append(_choice(name, on, f"kind({kind!r})"))
        if not two:
            lines[0].append(Span(" │ ", "axis"))
        for name in views:
            on = name in (session.view.view, statistic)
            action = ("statistic(1)" if on else "log") if history_tab else f"view({name!r})"
            lines[-1].append(_choice(name, on, action))
        return lines

    def _history(self, room: int, height: int) -> list[Line]:
        session = self._session
        assert session.selected is not None
        want = self.wanted()
        assert want is not None
        if 0 in session.selected.shape and want.statistic == "element":
            return [[Span("It has no elements.", "dim")]]
        found = self.series.get(want)
        if found is None:
            return [[Span("reading …", "dim")]]
        series, done = found
        self._chart = history.chart(series, len(session.trace.events), session.seq, session.view.log)
        title = history.title(session.selected, want.kind, want.statistic)
        if want.statistic != "loss" and session.machine.readings.sampled(session.selected, want.kind, session.seq):
            title += " (sampled)"
        here = history.missing(session.machine, want, session.seq)
        return history.lines(self._chart, title, here, done, room, height, session.position)

    def wanted(self) -> history.Wanted | None:
        """What the chart needs, where the history tab is open."""
        session = self._session
        if session.view.tab != "history" or session.selected is None:
            return None
        view = session.view
        return history.wanted(session.machine, session.selected, view.kind, view.statistic, session.place)

    def line(self, y: int, width: int) -> Line:
        return [Span(" "), *self._lines[y]] if y < len(self._lines) else []

    def framed(self, top: bool) -> None:
        """The words below say that there is more."""
        if not top:
            self.post_message(Act("scroll_inspector(1)"))

    def grabbed(self, x: int, y: int) -> int | None:
        return None if y < self._top else self._charted(x)

    def dragged(self, x: int, held: Held) -> int | None:
        return self._charted(max(AXIS + 1, min(x, self.scrollable_content_region.width - 2)))

    def _charted(self, x: int) -> int | None:
        """The event of a column of the chart, where there is one."""
        room = self.scrollable_content_region.width - 2
        return None if self._chart is None else self._chart.event_at(x - 1, room)

    def clicked(self, x: int, y: int) -> None:
        """The element under the mouse."""
        session, look = self._session, self._session.look
        region = self.scrollable_content_region
        room, height = region.width - 2, region.height - self._top
        if session.selected is None or session.view.tab != "values" or look.view == "histogram":
            return
        if not shape_of(session.machine, session.selected, look.kind, session.seq):
            return
        grid = self.grid()
        margin = values.margin_of(grid.shape)
        rows, columns = max(1, height - HEAD - 1), max(1, (room - margin) // look.cell)
        here = fitting(look.place, grid.shape)
        top, begin = grid.window(here, rows, columns)
        x, y = x - 1 - margin, y - self._top - HEAD - 1
        place = grid.place(top + y, begin + x // look.cell, here) if x >= 0 and y >= 0 else None
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

    def on_mouse_scroll_right(self, event: MouseScrollRight) -> None:
        if self._session.view.tab == "values":
            event.stop()
            self.post_message(Act("element(0, 3)"))

    def on_mouse_scroll_left(self, event: MouseScrollLeft) -> None:
        if self._session.view.tab == "values":
            event.stop()
            self.post_message(Act("element(0, -3)"))

    def grid(self) -> Grid:
        """How the selected value lies on the screen; where it is a number on its own, how the parameter would."""
        session = self._session
        assert session.selected is not None
        lengths = session.selected.shape
        if session.view.tab == "values":
            lengths = shape_of(session.machine, session.selected, session.view.kind, session.seq) or lengths
        return grid_of(session.selected, session.look, max(10, self.scrollable_content_region.width - 2), lengths)


def _choice(name: str, on: bool, action: str) -> Span:
    """One of a line of choices."""
    return Span(f"‹{name}›" if on else f" {name} ", "choice-on" if on else "dim", action)
