"""What each kind of effect does, looked up once: many events share one effect."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from optrace.trace.format import Op, Storage
from optrace.trace.model import Change

if TYPE_CHECKING:
    from optrace.checks.run import Run

Array = np.ndarray[Any, Any]
_NOTHING: frozenset[int] = frozenset()


class Effects:
    """By effect id (the `effect` column): which parameters it moved, which contributions it brought."""

    def __init__(self, run: Run) -> None:
        self.count = 0
        self.moved: dict[int, frozenset[int]] = {}
        """Parameters whose content it changed, as the event's own work."""
        self.deposits: dict[int, dict[int, Change]] = {}
        """The last contribution it brought to each parameter's gradient."""
        self.empties: set[int] = set()
        """Effects that clear any gradient."""
        self.stateful: dict[int, set[str]] = {}
        """By optimizer: the names of the state entries it ever had, `step` aside."""
        for effect in run.trace.effect_ids(-1):
            self.count = effect + 1
            moved, deposits = set(), {}
            for change in run.trace.effect_by_id(effect).changes:
                if change.kind == "param":
                    if change.op is Op.CHANGE and not change.before:
                        moved.add(change.parameter)
                elif change.kind == "grad":
                    if change.op is Op.DEPOSIT:
                        deposits[change.parameter] = change
                    elif change.op in (Op.CLEAR, Op.ZERO):
                        self.empties.add(effect)
                elif change.optimizer >= 0 and change.op is not Op.GONE:
                    name = change.kind.rsplit(".", 1)[-1]
                    if name != "step":
                        self.stateful.setdefault(change.optimizer, set()).add(name)
            if moved:
                self.moved[effect] = frozenset(moved)
            if deposits:
                self.deposits[effect] = deposits

    def moves(self, effect: int) -> frozenset[int]:
        return self.moved.get(effect, _NOTHING)

    @cached_property
    def moves_any(self) -> Array:
        """[count + 1] bool, by effect id (and -1): whether it moved any parameter."""
        found = np.zeros(self.count + 1, bool)
        found[list(self.moved)] = True
        return found

    @cached_property
    def empties_any(self) -> Array:
        """[count + 1] bool, by effect id (and -1): whether it cleared any gradient."""
        found = np.zeros(self.count + 1, bool)
        found[list(self.empties)] = True
        return found

    @cached_property
    def deposits_any(self) -> Array:
        """[count + 1] bool, by effect id (and -1): whether it brought any contribution."""
        found = np.zeros(self.count + 1, bool)
        found[list(self.deposits)] = True
        return found


_of_run: WeakKeyDictionary[Run, Effects] = WeakKeyDictionary()


def effects(run: Run) -> Effects:
    """The run's effects, made when first asked for and shared by all rules."""
    known = _of_run.get(run)
    if known is None:
        known = _of_run[run] = Effects(run)
    return known


def is_zero(change: Change) -> bool:
    """Whether the trace itself says that the contribution was exactly zero, without a look at bytes."""
    return change.storage in (Storage.ZEROS, Storage.SAME)
