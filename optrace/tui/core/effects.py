"""What an event's effect amounts to, counted once for all events that share it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from optrace.trace.format import Op
from optrace.trace.model import Change

if TYPE_CHECKING:
    from optrace.trace.reader import Trace

Slot = tuple[int, str]


@dataclass(frozen=True)
class Summary:
    """The parameters that an event did something to, by what it did."""

    deposited: tuple[int, ...] = ()
    cleared: tuple[int, ...] = ()
    """Gradients that became None or zeros."""
    zeroed: bool = False
    """They were filled with zeros rather than set to None."""
    rescaled: tuple[int, ...] = ()
    """Gradients changed in some other way."""
    moved: tuple[int, ...] = ()
    """Parameters whose content changed."""
    states: tuple[str, ...] = ()
    """State entries written."""
    changes: dict[Slot, Change] = field(default_factory=dict)
    """The last change of each value, first sightings before the event left out."""
    found: frozenset[Slot] = frozenset()
    """Values whose content before the event is recorded with it."""


_NOTHING = Summary()
_NOT_DONE = (Op.LOST, Op.RESTATED)


class Effects:
    """Summaries by effect."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._known: dict[int, Summary] = {-1: _NOTHING}

    def of(self, seq: int) -> Summary:
        """What event `seq` did."""
        number = int(self._trace.column("effect")[seq])
        found = self._known.get(number)
        if found is None:
            if len(self._known) > 256:
                self._known = {-1: _NOTHING}
            found = self._known[number] = self._summarise(self._trace.effect_by_id(number).changes)
        return found

    @staticmethod
    def _summarise(changes: tuple[Change, ...]) -> Summary:
        done = [change for change in changes if not change.before and change.op not in _NOT_DONE]
        last = {(change.parameter, change.kind): change for change in done}
        lists: dict[str, list[int]] = {"deposited": [], "cleared": [], "rescaled": [], "moved": []}
        states: dict[str, None] = {}
        zeroed = False
        for (parameter, kind), change in last.items():
            if kind == "grad":
                if change.op is Op.DEPOSIT or change.op is Op.INIT:
                    lists["deposited"].append(parameter)
                elif change.op in (Op.CLEAR, Op.ZERO):
                    lists["cleared"].append(parameter)
                    zeroed = zeroed or change.op is Op.ZERO
                elif change.op is Op.CHANGE:
                    lists["rescaled"].append(parameter)
            elif kind == "param":
                if change.op is Op.CHANGE:
                    lists["moved"].append(parameter)
            elif change.op is not Op.GONE:
                states[kind] = None
        return Summary(
            **{name: tuple(found) for name, found in lists.items()},
            zeroed=zeroed,
            states=tuple(states),
            changes={
                slot: change for slot, change in last.items() if not (slot[1] == "param" and change.op is Op.INIT)
            },
            found=frozenset((change.parameter, change.kind) for change in changes if change.before),
        )
