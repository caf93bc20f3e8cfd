"""The timeline: loss, overview and lanes. Click or drag to move."""

from __future__ import annotations

from textual.events import Click, MouseDown, MouseMove, MouseScrollDown, MouseScrollUp, MouseUp

from optrace.tui.core.session import Session
from optrace.tui.core.spans import Line
from optrace.tui.core.timeline import LABEL
from optrace.tui.messages import Act, GoTo
from optrace.tui.widgets.lines import Lines


class TimelinePane(Lines):
    """`loss_rows` lines of loss, one of overview, and a lane for each optimizer that there is room for."""

    DEFAULT_CSS = "TimelinePane { height: 4; }"

    def __init__(self, session: Session) -> None:
        super().__init__(id="timeline")
        self._session = session
        self.loss_rows = 1
        self.lane_rows = 1
        self._lines: list[Line] = []
        self._dragging = False

    def take_rows(self, loss_rows: int, most_lanes: int) -> None:
        """Take so many lines."""
        self.loss_rows = loss_rows
        self.lane_rows = max(1, min(most_lanes, len(self._session.trace.optimizers)))
        self.styles.height = loss_rows + 1 + self.lane_rows

    def prepare(self, width: int, height: int) -> int:
        session, timeline = self._session, self._session.machine.timeline
        self._lines = [
            *timeline.loss_lines(session.seq, width, self.loss_rows),
            timeline.overview(session.seq, width, session.findings, session.mark),
            *timeline.lanes(session.seq, width, self.lane_rows, session.findings),
        ]
        return len(self._lines)

    def line(self, y: int, width: int) -> Line:
        return self._lines[y] if y < len(self._lines) else []

    def _event_under(self, x: int, y: int) -> int | None:
        timeline, width = self._session.machine.timeline, self.size.width
        if y <= self.loss_rows:
            columns = timeline.strip_width(width)
            place = x - LABEL
            return timeline.seq_at(place, columns) if 0 <= place < columns or self._dragging else None
        return timeline.event_at(x, self._session.seq, width)

    def on_mouse_down(self, event: MouseDown) -> None:
        target = self._event_under(event.x, event.y)
        if target is not None:
            if event.y <= self.loss_rows:
                self._dragging = True
                self.capture_mouse()
            self.post_message(GoTo(target))

    def on_mouse_move(self, event: MouseMove) -> None:
        if self._dragging:
            target = self._event_under(event.x, 0)
            if target is not None:
                self.post_message(GoTo(target, dragging=True))

    def on_mouse_up(self, event: MouseUp) -> None:
        if self._dragging:
            self._dragging = False
            self.release_mouse()

    def on_click(self, event: Click) -> None:
        event.stop()

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        event.stop()
        self.post_message(Act("event(1)"))

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        event.stop()
        self.post_message(Act("event(-1)"))
