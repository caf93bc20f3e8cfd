"""Param groups: who is in them, with which hyperparameters, and when that changes."""

from __future__ import annotations

import json
import operator
import weakref
from collections.abc import Callable, Iterable, Set
from typing import Any

import torch
from torch.optim import Optimizer

from optrace.recording.devices import facts_of, is_remote
from optrace.recording.entries import Tracked, TrackedOptimizer
from optrace.trace.writer import TraceWriter

_is = operator.is_
_IMMUTABLE = (float, int, bool, str, type(None))


class Groups:
    """Gives every state of an optimizer's param groups its number. `of` finds a tensor's parameter."""

    def __init__(self, writer: TraceWriter, of: Callable[[torch.Tensor], Tracked | None]) -> None:
        self._writer = writer
        self._of = of
        self.count = 0
        """How many versions there have been."""
        self.sets = 0
        """How many sets of members there have been."""
        self._member_sets: dict[tuple[int, ...], int] = {}

    def version(self, entry: TrackedOptimizer, optimizer: Optimizer) -> int:
        """The id of the param groups as they are now: members and hyperparameters."""
        # Comparing values alone is enough while their keys do not change, and takes half the time.
        if entry.simple is not None and _same_groups(optimizer.param_groups, entry.simple):
            return entry.groups_id
        values = [list(group.values()) for group in optimizer.param_groups]
        for found in values:
            for place, value in enumerate(found):
                if value.__class__ not in _IMMUTABLE:
                    found[place] = id(value) if value.__class__ is list else plain(value)
        if values == entry.values and entry.groups is not None:
            return entry.groups_id
        entry.values = values
        groups = [
            {key: plain(value) for key, value in group.items() if key != "params"} for group in optimizer.param_groups
        ]
        if groups != entry.groups:
            entry.groups = groups
            entry.groups_id = self.count
            self.count += 1
            entry.member_sets = [self._members(group["params"]) for group in optimizer.param_groups]
            rows = [
                {"members": members, "hyper": hyper} for members, hyper in zip(entry.member_sets, groups, strict=True)
            ]
            text = json.dumps(rows, default=repr)
            self._writer.row("INSERT INTO groups VALUES (?, ?, ?)", entry.groups_id, entry.id, text)
        simple = all(map(_is_simple, optimizer.param_groups))
        entry.simple = list(map(_values, optimizer.param_groups)) if simple else None
        return entry.groups_id

    def _members(self, tensors: Iterable[torch.Tensor]) -> int:
        """The id of a set of members: stored once, however often a schedule changes the learning rate."""
        members = tuple(t.id for t in map(self._of, tensors) if t is not None)
        known = self._member_sets.get(members)
        if known is None:
            known = self._member_sets[members] = self.sets
            self.sets += 1
            self._writer.row("INSERT INTO members VALUES (?, ?)", known, json.dumps(members))
        return known

    def forget(self, needed: Set[int]) -> None:
        """Leave out all sets of members but these."""
        self._member_sets = {members: number for members, number in self._member_sets.items() if number in needed}


def same_members(optimizer: Optimizer, entry: TrackedOptimizer) -> bool:
    """Whether the param groups hold the very tensors that they held."""
    groups = optimizer.param_groups
    if len(groups) != len(entry.members):
        return False
    for group, refs in zip(groups, entry.members, strict=True):
        members = group["params"]
        if len(members) != len(refs) or not all(map(_is, members, [ref() for ref in refs])):
            return False
    return True


def _is_simple(group: dict[str, Any]) -> bool:
    """Whether its hyperparameters are as they were when they compare equal: none of them can change in place."""
    if next(iter(group), None) != "params":
        return False
    values = _values(group)
    return all(
        value.__class__ in _IMMUTABLE
        or (value.__class__ is tuple and all(item.__class__ in _IMMUTABLE for item in value))
        for value in values
    )


def _values(group: dict[str, Any]) -> list[Any]:
    """A simple group's hyperparameters: all but the first value, which is the list of parameters."""
    values = list(group.values())
    del values[0]
    return values


def _same_groups(groups: list[dict[str, Any]], before: list[list[Any]]) -> bool:
    try:
        return list(map(_values, groups)) == before
    except Exception:  # what has taken a number's place, a tensor perhaps, does not compare
        return False


_read: dict[int, tuple[weakref.ref[torch.Tensor], Any, Any]] = {}  # tensors on devices: facts, and what was read


def _read_again(tensor: torch.Tensor) -> Any:
    """A tensor's elements. Waits for its device only where torch counted a write since the last time."""
    key, facts = id(tensor), facts_of(tensor)
    known = _read.get(key)
    if known is None or known[0]() is not tensor or facts is None or facts != known[1]:
        gone = weakref.ref(tensor, lambda _: _read.pop(key, None))
        known = _read[key] = (gone, facts, tensor.detach().tolist())
    return known[2]


def plain(value: Any) -> Any:
    """A hyperparameter as JSON can hold it; a tensor of one element becomes its number."""
    if isinstance(value, torch.Tensor) and not value.is_meta:
        with torch.no_grad():
            return _read_again(value) if is_remote(value) else value.detach().tolist()
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    return value if type(value) in _IMMUTABLE else repr(value)
