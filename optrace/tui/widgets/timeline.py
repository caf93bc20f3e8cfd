"""The timeline: loss, overview and lanes. Click or drag to move."""

from __future__ import annotations

from textual.events import MouseScrollDown, MouseScrollUp

from optrace.tui.core.session import Session
from optrace.tui.core.spans import Line
from optrace.tui.core.timeline import LABEL
from optrace.tui.messages import Act
from optrace.tui.widgets.dragging import Dragging, Held


class TimelinePane(Dragging):
    """`loss_rows` lines of loss, one of overview, and a lane for each optimizer that there is room for."""

    DEFAULT_CSS = "TimelinePane { height: 4; }"

    def __init__(self, session: Session) -> None:
        super().__init__(id="timeline")
        self._session = session
        self.loss_rows = 1
        self.lane_rows = 1
        self._lines: list[Line] = []

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

    def grabbed(self, x: int, y: int) -> int | None:
        session, width = self._session, self.size.width
        timeline = session.machine.timeline
        if y > self.loss_rows:
            return timeline.event_at(x, session.seq, width)
        columns = timeline.strip_width(width)
        if not 0 <= x - LABEL < columns:
            return None
        if y == self.loss_rows:
            return timeline.pointed(x - LABEL, columns, session.findings, session.mark)
        return timeline.seq_at(x - LABEL, columns)

    def dragged(self, x: int, held: Held) -> int | None:
        session, timeline = self._session, self._session.machine.timeline
        if held.y > self.loss_rows:  # the lanes move under the mouse: by as many events as it has moved
            return max(0, min(session.cursor.last, held.seq + (x - held.x) // 2))
        return timeline.seq_at(x - LABEL, timeline.strip_width(self.size.width))

    def on_mouse_scroll_down(self, event: MouseScrollDown) -> None:
        event.stop()
        self.post_message(Act("event(1)"))

    def on_mouse_scroll_up(self, event: MouseScrollUp) -> None:
        event.stop()
        self.post_message(Act("event(-1)"))
