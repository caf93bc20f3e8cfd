"""Choosing what is looked at: the parameter, the tab, the value, the element. Nothing here moves the position."""

from __future__ import annotations

from textual import on

from optrace.tui.core.grid import fitting
from optrace.tui.messages import ElementChosen, RowChosen
from optrace.tui.screens.panes import Panes


class Inspecting(Panes):
    """A part of the main screen."""

    # Parameters

    def action_row(self, by: int) -> None:
        self._choose(self.session.row + by)

    def action_page(self, by: int) -> None:
        self._choose(self.session.row + by * max(1, self.table.size.height - 4))

    def _choose(self, row: int) -> None:
        self.session.choose(row)
        self.quiet()
        self.redraw()
        self.table.reveal()

    def action_select(self, name: str) -> None:
        """Select a parameter by its name."""
        row = next((row for row, parameter in enumerate(self.session.rows) if parameter.name == name), None)
        if row is not None:
            self._choose(row)

    @on(RowChosen)
    def _row_chosen(self, message: RowChosen) -> None:
        message.stop()
        if message.row < len(self.session.rows):
            self._choose(message.row)

    # The inspector

    def action_tab(self, name: str) -> None:
        self.session.view.tab = name
        if self.narrow:
            self.show_pane("inspector")
        self.quiet()
        self.redraw()

    def action_turn_tab(self, by: int) -> None:
        self.session.turn_tab(by)
        self.redraw()

    def action_turn_pane(self, by: int) -> None:
        if not self.narrow:
            self.action_turn_tab(by)
            return
        names = [name for name, _ in self.panebar.names]
        self.action_pane(names[(names.index(self.panebar.shown) + by) % len(names)])

    def action_pane(self, name: str) -> None:
        self.show_pane(name)
        self.call_after_refresh(self.redraw)

    def action_turn_kind(self, by: int) -> None:
        self.session.turn_kind(by)
        if self.session.view.tab not in ("values", "history"):
            self.session.view.tab = "values"
        self.redraw()

    def action_kind(self, kind: str) -> None:
        self.session.view.kind = kind
        self.redraw()

    def action_values_of(self, kind: str) -> None:
        """Look at the values of this state entry."""
        self.session.view.kind = kind
        self.action_tab("values")

    def action_view(self, view: str) -> None:
        self.session.view.view = view
        self.redraw()

    def action_statistic(self, by: int) -> None:
        self.session.turn_statistic(by)
        self.redraw()

    def action_look_on(self) -> None:
        if self.session.view.tab == "history":
            self.session.turn_statistic(1)
        elif self.session.view.tab == "values":
            self.session.turn_view(1)
        else:
            self.session.view.tab = "values"
        self.redraw()

    def action_log(self) -> None:
        self.session.view.log = not self.session.view.log
        if self.session.view.tab != "history":
            self.session.view.tab = "history"
        self.redraw()

    def action_element(self, rows: int, columns: int) -> None:
        session = self.session
        if session.selected is not None:
            grid = self.inspector.grid()
            if grid.shape:
                self.action_pick(grid.step(fitting(session.view.place, grid.shape), rows, columns))

    def action_slice(self, by: int) -> None:
        session = self.session
        if session.selected is not None:
            grid = self.inspector.grid()
            if grid.slices:
                self.action_pick(grid.turn(fitting(session.view.place, grid.shape), by))

    def action_pick(self, place: tuple[int, ...]) -> None:
        """Choose the element whose arithmetic and history are shown."""
        self.session.view.place = place
        self.redraw()

    @on(ElementChosen)
    def _element_chosen(self, message: ElementChosen) -> None:
        message.stop()
        self.action_pick(message.place)

    def action_scroll_inspector(self, by: int) -> None:
        self.inspector.scroll_relative(y=3 * by, animate=False, force=True)

    def action_slide(self, by: int) -> None:
        self.source.slide(by)
