"""What the widgets tell the screen."""

from __future__ import annotations

from textual.message import Message


class GoTo(Message):
    """Somebody pointed at an event."""

    def __init__(self, seq: int, *, dragging: bool = False) -> None:
        super().__init__()
        self.seq = seq
        self.dragging = dragging


class RowChosen(Message):
    """Somebody pointed at a row of the parameter table."""

    def __init__(self, row: int) -> None:
        super().__init__()
        self.row = row


class Act(Message):
    """Somebody pointed at something that stands for an action of the screen, such as a tab."""

    def __init__(self, action: str) -> None:
        super().__init__()
        self.action = action


class ElementChosen(Message):
    """Somebody pointed at an element of the value."""

    def __init__(self, place: tuple[int, ...]) -> None:
        super().__init__()
        self.place = place


class Damaged(Message):
    """The trace could not be read while something was drawn."""

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason


class TurnProcess(Message):
    """Somebody wants to look at the next process of the run, or the previous one."""

    def __init__(self, by: int) -> None:
        super().__init__()
        self.by = by
