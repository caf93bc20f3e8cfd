"""Noticing what changed in an optimizer's state."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim import Optimizer

from optrace.recording.capture import Slot, Unreadable, scalar
from optrace.recording.entries import Tracked, TrackedOptimizer
from optrace.recording.forms import digest
from optrace.recording.frame import Change
from optrace.recording.placements import local_of
from optrace.trace.format import Op

_PLAIN = (torch.Tensor, torch.nn.Parameter)
_INIT, _CHANGE, _GONE = int(Op.INIT), int(Op.CHANGE), int(Op.GONE)


def changes_of_state(
    entry: TrackedOptimizer,
    optimizer: Optimizer,
    deep: bool,
    aliases: list[Slot],
    unreadable: dict[str, str],
    stepped: bool = False,
) -> list[Change]:
    """State entries that are not what they were; those that share the gradient's memory go to `aliases`.

    `deep`: compare content even where nothing says that it changed. `stepped`: the optimizer has just made a step.
    """
    changes: list[Change] = []
    states = optimizer.state
    for tracked in entry.plan:
        tensor = tracked.ref()
        if tensor is None:
            continue
        slots = tracked.state.get(entry.id)
        state = states.get(tensor)
        if not state:
            if slots:
                changes += [(slot, _GONE) for slot in slots.values() if slot.content is not None]
                for slot in slots.values():
                    slot.forget()
            continue
        if slots is None:
            slots = tracked.state[entry.id] = {}
            tracked.first = entry.id if tracked.first < 0 else tracked.first
        try:
            names = _entries(tracked, entry, state, slots, deep, changes, aliases, stepped)
        except Unreadable as why:
            unreadable.setdefault(str(why), f"the state of {tracked.name}")
            continue
        if len(names) != len(slots):
            for name, slot in slots.items():
                if name not in names and slot.content is not None:
                    slot.forget()
                    changes.append((slot, _GONE))
    return changes


def _entries(
    tracked: Tracked,
    entry: TrackedOptimizer,
    state: Any,
    slots: dict[str, Slot],
    deep: bool,
    changes: list[Change],
    aliases: list[Slot],
    stepped: bool,
) -> Any:
    pointer = tracked.grad.pointer
    written = stepped and tracked.grad.content is not None
    values = state
    for value in state.values():
        if type(value) not in _PLAIN:
            values = flatten(state)
            break
    for name, value in values.items():
        slot = slots.get(name)
        if slot is None:
            kind = name if tracked.first == entry.id else f"{entry.name}.{name}"
            slot = slots[name] = Slot(tracked.id, kind, entry.id)
        try:
            version = value._version
        except RuntimeError:  # an inference tensor has none
            version = -1
        same = slot.identity == id(value)
        there = deep and same and slot.pointer != -1 and value.data_ptr() == slot.pointer
        if there and slot.sketch is not None:
            if slot.reread(value, written):
                if not value.is_contiguous():
                    slot.look(value)
                changes.append((slot, _CHANGE))
            slot.version = version
        elif there:
            content = slot.view.tobytes() if slot.small else digest(slot.view)
            if content != slot.content:
                if value.is_contiguous():
                    slot.content = content
                    changes.append((slot, _CHANGE))
                elif slot.look(value):
                    changes.append((slot, _CHANGE))
            slot.version = version
        elif deep or not same or version != slot.version:
            first = slot.content is None
            if slot.look(value, written):
                changes.append((slot, _INIT if first else _CHANGE))
            slot.identity = id(value)
            slot.version = version
        if slot.pointer == pointer != -1 and pointer:
            aliases.append(slot)
    return values


def flatten(state: Any, prefix: str = "") -> dict[str, torch.Tensor]:
    """A state whose entries are not all tensors: numbers become 0-dim tensors, lists and dicts are opened."""
    flat: dict[str, torch.Tensor] = {}
    for key, value in state.items():
        name = f"{prefix}{key}"
        if isinstance(value, torch.Tensor):
            flat[name] = local_of(value)
        elif isinstance(value, dict):
            flat.update(flatten(value, f"{name}."))
        elif isinstance(value, (list, tuple)):
            flat.update(flatten(dict(enumerate(value)), f"{name}."))
        else:
            number = scalar(value)
            if number is not None:
                flat[name] = number
    return flat
