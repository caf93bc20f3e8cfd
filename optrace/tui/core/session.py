"""What one is looking at: the position, the parameter, the element, the mark, the filter, the conditions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from optrace.trace.model import Event, Parameter
from optrace.trace.reader import load
from optrace.tui.core.conditions import Condition
from optrace.tui.core.cursor import Cursor
from optrace.tui.core.findings import Findings
from optrace.tui.core.grid import Place, fitting
from optrace.tui.core.machine import Machine
from optrace.tui.core.readings import Stats
from optrace.tui.core.tabs import TABS
from optrace.tui.core.tabs.history import STATISTICS, choices, chosen
from optrace.tui.core.tabs.values import VIEWS, Look, shown_kinds
from optrace.tui.starting import COLUMNS

if TYPE_CHECKING:
    from optrace.trace.reader import Trace


@dataclass
class View:
    """How things are looked at; nothing here moves the position."""

    tab: str = "gradient"
    kind: str = "grad"
    view: str = VIEWS[0]
    statistic: str = STATISTICS[0]
    log: bool = False
    filter: str = ""
    sort: str = "order"
    place: Place = ()
    comparing: bool = False
    conditions: list[Condition] = field(default_factory=list)
    current: int = 0
    """Which of the conditions `c` runs to."""


class Session:
    """A trace being looked at. Headless: a screen only draws it and calls its methods."""

    def __init__(self, trace: Trace, on_ready: Callable[[], None] | None = None, whole: Trace | None = None) -> None:
        """`whole` is the run of several processes that the trace is one of."""
        self.trace = trace
        self.whole = whole or trace
        trace.take(*COLUMNS)
        self.machine = Machine(trace, on_ready)
        self._on_ready = on_ready
        self.cursor = Cursor(trace)
        self.findings = Findings(ready=False)
        self.view = View()
        self.mark: int | None = None
        self.follow = False
        self.rows: list[Parameter] = []
        self._order: list[Parameter] | None = None
        self.refilter()
        self.selected: Parameter | None = self.rows[0] if self.rows else None

    def close(self) -> None:
        self.machine.close()

    # Position

    @property
    def seq(self) -> int:
        return self.cursor.seq

    @property
    def event(self) -> Event:
        return self.trace.events[self.cursor.seq]

    def position(self, seq: int) -> str:
        """An event's position as text, without making the event."""
        return f"{int(self.trace.column('iteration')[seq])}:{int(self.trace.column('index')[seq])}"

    def stand_with(self, other: Session) -> None:
        """Look at the same place, parameter and kind of value as in another process of the run."""
        iteration, index = other.event.position
        count = len(self.trace.iterations)
        first, stop = self.trace.iterations.bounds(min(iteration, count - 1))
        self.cursor.jump(min(first + index, stop - 1) if iteration < count else stop - 1, remember=False)
        self.view = replace(other.view, conditions=self.view.conditions, current=self.view.current, sort="order")
        self._order = None
        self.refilter()
        if other.selected is not None:
            self.selected = self.trace.parameters.find(other.selected.name) or self.selected

    def next_finding(self, forward: bool) -> bool:
        target = self.findings.next(self.seq) if forward else self.findings.previous(self.seq)
        return target is not None and self.cursor.jump(target)

    def next_write(self, forward: bool) -> bool:
        """To the next (previous) event that wrote the value looked at."""
        if self.selected is None:
            return False
        kind = self.written_kind
        known = kind in ("param", "grad", *self.machine.kinds(self.selected))
        writes = self.trace.writes(self.selected, kind) if known else np.empty(0, np.int64)
        place = int(np.searchsorted(writes, self.seq, "right" if forward else "left")) - (0 if forward else 1)
        return 0 <= place < len(writes) and self.cursor.jump(int(writes[place]))

    @property
    def written_kind(self) -> str:
        """Which value `w` follows: the one that the inspector shows."""
        return {"gradient": "grad", "update": "param", "state": self._first_state()}.get(
            self.view.tab, "param" if self.view.kind == "update" else self.view.kind
        )

    def _first_state(self) -> str:
        kinds = self.machine.kinds(self.selected) if self.selected else []
        return next((kind for kind in kinds if kind not in ("param", "grad", "step")), "param")

    def newer(self) -> Machine:
        """The trace as it is now, opened anew and with all prepared. For a thread: nothing here changes."""
        trace = load(self.trace.path)
        try:
            # What was read before belongs to other numbers where events were let go meanwhile.
            machine = Machine(trace, self._on_ready, self.machine if trace.base == self.trace.base else None)
            trace.take(*COLUMNS)
            machine.prepare()
        except BaseException:
            trace.close()
            raise
        return machine

    def grown(self, newer: Machine) -> tuple[int, Machine]:
        """Look at the longer trace from now on: how many events are new, and the machine to close.

        Parameters may have been added; the position, the mark and what is selected stay.
        """
        before, order = self.machine, self._order
        gone = newer.trace.base - self.trace.base  # let go meanwhile, in a ring of the last iterations
        new = len(newer.trace.events) - len(self.trace.events) + gone
        self.machine, self.trace = newer, newer.trace
        self.cursor.grown(newer.trace, gone)
        if gone:
            self.mark = self.mark - gone if self.mark is not None and self.mark > gone else None
            self.findings = Findings(ready=False)  # theirs are other numbers
        known = newer.trace.parameters
        if order is not None:
            kept = [known.by_id(parameter.id) for parameter in order]
            have = {parameter.id for parameter in kept}
            self._order = [*kept, *(parameter for parameter in known.values() if parameter.id not in have)]
        self.refilter()
        if self.selected is not None:
            self.selected = known.by_id(self.selected.id)
        elif self.rows:
            self.selected = self.rows[0]
        if self.follow and new:
            self.cursor.jump(self.cursor.last, remember=False)
        return new, before

    # Parameters

    def refilter(self) -> None:
        """Apply the filter: every word must be in the name."""
        everything = self._order if self._order is not None else list(self.trace.parameters.values())
        words = self.view.filter.lower().split()
        self.rows = (
            [p for p in everything if all(word in " ".join(p.names).lower() for word in words)] if words else everything
        )

    def choose(self, row: int) -> None:
        """Select a row of the table."""
        if self.rows:
            self.selected = self.rows[max(0, min(row, len(self.rows) - 1))]
            self.view.place = fitting(self.view.place, self.selected.shape)
            if self.view.kind not in shown_kinds(self.machine, self.selected):
                self.view.kind = "grad"

    @property
    def row(self) -> int:
        """The selected parameter's row, -1 where the filter hides it."""
        if self.selected is None:
            return -1
        if self.rows and self._order is None and not self.view.filter and self.selected.id < len(self.rows):
            guess = self.selected.id
            if self.rows[guess] is self.selected:
                return guess
        return next((number for number, parameter in enumerate(self.rows) if parameter.id == self.selected.id), -1)

    def sorted_by(self, key: str, progress: Callable[[int, int], bool] | None = None) -> list[Parameter] | None:
        """All parameters in a new order, as things stand here; None where `progress` (False) stops it."""
        everything = list(self.trace.parameters.values())
        if key == "order":
            return everything
        if key == "name":
            return sorted(everything, key=lambda parameter: parameter.name)
        seq, values = self.seq, []
        for number, parameter in enumerate(everything):
            values.append(self._sort_value(parameter, key, seq))
            if progress is not None and number % 64 == 0 and not progress(number, len(everything)):
                return None
        order = sorted(
            range(len(everything)), key=lambda place: -values[place] if values[place] == values[place] else -np.inf
        )
        return [everything[place] for place in order]

    def _sort_value(self, parameter: Parameter, key: str, seq: int) -> float:
        if key == "size":
            return float(parameter.numel)
        if key == "stale":
            return self.machine.parts.at(parameter, seq).stale_share
        found: Any
        if key == "ratio":
            found = self.machine.readings.ratio(parameter, seq)
        else:
            stats = self.machine.readings.stats(parameter, "param" if key == "norm" else "grad", seq)
            found = stats.norm if isinstance(stats, Stats) else None
        return float(found) if isinstance(found, float) else -1.0

    def use_order(self, key: str, order: list[Parameter]) -> None:
        """Show the parameters in this order from now on."""
        self.view.sort = key
        self._order = None if key == "order" else order
        self.refilter()

    # The inspector

    @property
    def look(self) -> Look:
        return Look(self.view.kind, self.view.view, self.view.place)

    @property
    def place(self) -> Place:
        return fitting(self.view.place, self.selected.shape) if self.selected else ()

    def turn_tab(self, by: int) -> None:
        self.view.tab = TABS[(TABS.index(self.view.tab) + by) % len(TABS)]

    def turn_kind(self, by: int) -> None:
        """The next value of the parameter: itself, its gradient, state entries, the last update."""
        if self.selected is not None:
            kinds = shown_kinds(self.machine, self.selected)
            place = kinds.index(self.view.kind) if self.view.kind in kinds else 0
            self.view.kind = kinds[(place + by) % len(kinds)]

    def turn_view(self, by: int) -> None:
        self.view.view = VIEWS[(VIEWS.index(self.view.view) + by) % len(VIEWS)]

    def turn_statistic(self, by: int) -> None:
        names = choices(self.view.kind)
        self.view.statistic = names[(names.index(chosen(self.view.kind, self.view.statistic)) + by) % len(names)]
