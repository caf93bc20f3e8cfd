"""Moving through the trace: by events, iterations, findings, writes, and where the mouse points."""

from __future__ import annotations

from textual import on

from optrace.tui.messages import GoTo
from optrace.tui.screens.jobs import Jobs


class Moving(Jobs):
    """A part of the main screen."""

    def moved(self, done: bool, otherwise: str = "") -> None:
        """After something that may have moved the cursor."""
        self.stop_search()
        self.quiet()
        if not done and otherwise:
            self.note(otherwise, "dim")
        self.redraw()

    def action_event(self, by: int) -> None:
        self.session.follow = False
        done = self.session.cursor.move(by)
        self.moved(done, "This is the last event." if by > 0 else "This is the first event.")

    def action_iteration(self, by: int) -> None:
        self.session.follow = False
        done = self.session.cursor.turn(by)
        self.moved(done, "This is the last iteration." if by > 0 else "This is the first iteration.")

    def action_edge(self, last: bool) -> None:
        cursor = self.session.cursor
        self.session.follow = last and not self.session.trace.complete
        done = cursor.jump(cursor.last if last else 0)
        self.moved(done)
        if self.session.follow:
            self.note("Following the newest event; any step back stops that.", "finding-hint")

    def action_follow(self) -> None:
        """Follow the newest event, or no longer."""
        if self.session.follow:
            self.session.follow = False
            self.moved(True)
        else:
            self.action_edge(True)

    def action_finding(self, forward: bool) -> None:
        session = self.session
        done = session.next_finding(forward)
        if not len(session.findings):
            words = "Nothing was found in this trace." if session.findings.ready else "Still checking …"
        else:
            words = f"No {'later' if forward else 'earlier'} finding."
        self.moved(done, words)

    def action_write(self, forward: bool) -> None:
        session = self.session
        done = session.next_write(forward)
        name = session.selected.name if session.selected else ""
        self.moved(done, f"Nothing {'later' if forward else 'earlier'} wrote {session.written_kind} of {name}.")
        if done:
            self.note(f"{session.event.kind} wrote {session.written_kind} of {name}.", "changed")

    def action_back(self) -> None:
        self.moved(self.session.cursor.back(), "There is nowhere to go back to yet.")

    @on(GoTo)
    def _go_to(self, message: GoTo) -> None:
        message.stop()
        cursor = self.session.cursor
        self.session.follow = False
        self.moved(cursor.jump(message.seq, remember=not message.dragging))

    def action_go(self, seq: int) -> None:
        self.post_message(GoTo(seq))

    def action_mark(self) -> None:
        session = self.session
        session.mark = None if session.mark == session.seq else session.seq
        self.note(
            "Mark taken away."
            if session.mark is None
            else f"Marked {session.position(session.seq)}. d compares it with where you are then.",
            "mark",
        )
        self.redraw()
