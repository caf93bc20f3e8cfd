"""Iterations: when the user's loop comes round.

A turn ends when, after at least one step in it, an event comes from a line that this turn has
passed already. What is kept of a turn is the path through its lines. Where the path comes back
to an earlier line before any step, that was an inner loop (micro-batches): what it passed after
that line is forgotten, for the last round of the inner loop passes it again.

A loop that goes the same way turn after turn is followed by counting alone.
"""

from __future__ import annotations

from collections.abc import Callable, Set

Line = tuple[str, int]
"""A kind of event and the chain of calls it came from."""


class Turns:
    """Counts the turns of the loop from 0, and the events in the present one."""

    def __init__(self, gone: Callable[[int], bool]) -> None:
        """`gone` tells whether an object that passed a line does not exist any more."""
        self.iteration = 0
        self.index = 0
        self.stepped = False
        """Whether there was a step in this turn."""
        self._gone = gone
        self._path: dict[Line, list[int]] = {}  # lines in the order they were passed → by which objects
        self._order: list[Line] = []
        self._place = -1  # of the line passed last
        self._usual: dict[Line, int] = {}  # how many objects pass a line in one turn
        self._round: list[tuple[Line, int]] = []  # the way of the turn before, if one object passed each line
        self._followed = -1  # how far this turn went that way and no other; -1 where what is above tells

    def passes(self, line: Line, target: int) -> None:
        """An event comes from `line`, called on the object `target` (0 for none)."""
        followed = self._followed
        if followed >= 0:
            way = self._round
            if followed < len(way):
                if way[followed] == (line, target):
                    self._followed = followed + 1
                    return
            elif self.stepped and way[0] == (line, target):
                self._followed = 1
                self.iteration += 1
                self.index = 0
                self.stepped = False
                return
            self._unroll()
        targets = self._path.get(line)
        if targets is None:
            self._path[line] = [target]
            self._place = len(self._order)
            self._order.append(line)
        elif self._comes_round(line, targets, target):
            if self.stepped:
                self._begin(line, target)
            else:
                self._forget_after(line)

    def would_begin(self, line: Line, target: int) -> bool:
        """Whether such an event would find the loop where it has been in this turn; changes nothing."""
        self._unroll()
        targets = self._path.get(line)
        if targets is None:
            return False
        if target not in targets:
            return self._takes_the_place(line, targets)
        return line == self._order[self._place] or self._order.index(line) <= self._place

    def follows(self, line: Line, target: int) -> int:
        """Whether such an event would be the next on the way of the turn before: 1, or 2 where it begins a new turn."""
        followed, way = self._followed, self._round
        if 0 <= followed < len(way):
            return 1 if way[followed] == (line, target) else 0
        return 2 if followed > 0 and self.stepped and way[0] == (line, target) else 0

    def turn_over(self) -> None:
        """Begin a new turn, whatever comes next."""
        self._unroll()
        line: Line = ("", -1)
        self._begin(line, 0)
        self._path, self._order, self._place = {}, [], -1

    def forget(self, chains: Set[int]) -> None:
        """No events come from other chains of calls than these any more."""
        self._usual = {line: count for line, count in self._usual.items() if line[1] in chains}

    def _comes_round(self, line: Line, targets: list[int], target: int) -> bool:
        """Whether the loop is where it has been in this turn: at this line, with this object.

        A line that several objects pass in one turn (`for opt in optimizers: opt.step()`) has come
        round at the first of them again. Where another object has just passed an earlier line
        (`for model, opt in players: opt.zero_grad(); …`), the lines after it do not come round.
        """
        if target not in targets:
            if self._takes_the_place(line, targets):
                return True
            targets.append(target)
            self._place = self._order.index(line)
            return False
        if line != self._order[self._place]:
            place = self._order.index(line)
            if place > self._place:
                self._place = place
                return False
        return True

    def _takes_the_place(self, line: Line, targets: list[int]) -> bool:
        """Whether an object that has not passed this line in this turn is there in the place of one that has.

        It is where fewer objects used to pass the line (an optimizer made anew each epoch), and where one that did
        is gone (an optimizer made anew each turn).
        """
        return len(targets) >= self._usual.get(line, len(targets) + 1) or any(map(self._gone, targets))

    def _forget_after(self, line: Line) -> None:
        self._place = self._order.index(line)
        for later in self._order[self._place + 1 :]:
            del self._path[later]
        del self._order[self._place + 1 :]

    def _unroll(self) -> None:
        """Write out the path that was only counted."""
        followed, self._followed = self._followed, -1
        if followed >= 0:
            way = self._round[:followed]
            self._path = {line: [target] for line, target in way}
            self._order = [line for line, _ in way]
            self._place = followed - 1

    def _begin(self, line: Line, target: int) -> None:
        for passed, targets in self._path.items():
            if len(targets) > self._usual.get(passed, 0):
                self._usual[passed] = len(targets)
        self._round = [(passed, targets[0]) for passed, targets in self._path.items() if len(targets) == 1]
        alike = len(self._round) == len(self._path) and self._round[:1] == [(line, target)]
        self._followed = 1 if alike else -1
        self._path = {line: [target]}
        self._order = [line]
        self._place = 0
        self.iteration += 1
        self.index = 0
        self.stepped = False
