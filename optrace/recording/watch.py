"""Noticing what changed since the last look at the parameters, the gradients and the optimizers' state."""

from __future__ import annotations

import torch
from torch.optim import Optimizer

from optrace.recording.capture import ON_META, Slot, Unreadable
from optrace.recording.entries import Tracked, TrackedOptimizer
from optrace.recording.forms import digest
from optrace.recording.frame import Change, Frame
from optrace.recording.glance import Glance
from optrace.recording.placements import local_of
from optrace.recording.registry import Registry
from optrace.recording.states import changes_of_state
from optrace.trace.format import SMALL as WHOLE
from optrace.trace.format import Op

_INIT, _DEPOSIT, _CLEAR = int(Op.INIT), int(Op.DEPOSIT), int(Op.CLEAR)
_ZERO, _CHANGE = int(Op.ZERO), int(Op.CHANGE)


class Watch:
    """Compares parameters, gradients and optimizer state with how they were last seen."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._quick: Glance | None = None
        Slot.held = 0
        self.unreadable: dict[str, str] = {}  # why → the first value that cannot be read for this reason

    def restart(self) -> None:
        """What was seen of the parameters does not count any more."""
        self._quick = None

    def settled(self) -> None:
        """The slots were brought up to date."""
        if self._quick is not None:
            self._quick.seen()

    def current(self, tracked: list[Tracked]) -> tuple[list[Change], list[Slot]]:
        """All large values that are there now: those of the states that changed unseen, and the slots of all.

        Parameters and gradients have just been looked at.
        """
        changes: list[Change] = []
        found: list[Slot] = []
        for entry in tracked:
            tensor = entry.ref()
            if tensor is not None:
                found += _holding(entry.parameter, local_of(tensor) if entry.spread else tensor)
                gradient = tensor.grad if entry.leaf else None
                if gradient is not None:
                    found += _holding(entry.grad, local_of(gradient) if entry.spread else gradient)
        for owner in self._registry.optimizers:
            optimizer = owner.ref()
            if optimizer is None:
                continue
            changes += self.state(owner, optimizer, deep=True, aliases=[])
            for entry in owner.plan:
                tensor = entry.ref()
                if tensor is not None and optimizer.state.get(tensor):
                    found += [slot for slot in entry.state.get(owner.id, {}).values() if _is_large(slot)]
        return changes, found

    def untouched(self, tracked: list[Tracked]) -> bool:
        """Whether all parameters are as they were last seen. False may also mean that this has to be looked at."""
        quick = self._quick
        if quick is None or quick.tracked is not tracked or len(quick.refs) != len(tracked):
            return False
        return quick.unchanged()

    def _prepare(self, tracked: list[Tracked]) -> None:
        quick = Glance(tracked)
        self._quick = quick if quick.usable else None

    def parameters(self, tracked: list[Tracked], stepped: bool = False) -> list[Change]:
        """Parameters whose content is not what it was. `stepped`: their optimizer has just made a step."""
        changes: list[Change] = []
        moved = False
        for entry in tracked:
            tensor = entry.ref()
            if tensor is None:
                continue
            if entry.spread:
                tensor = local_of(tensor)
            slot = entry.parameter
            pointer = slot.pointer
            try:
                if pointer != -1 and tensor.data_ptr() == pointer and slot.sketch is not None:
                    written = stepped and entry.grad.content is not None
                    if not slot.reread(tensor, written, written):
                        continue
                    if not tensor.is_contiguous():
                        slot.look(tensor)
                    changes.append((slot, _CHANGE))
                elif pointer != -1 and tensor.data_ptr() == pointer:
                    content = slot.view.tobytes() if slot.small else digest(slot.view)
                    if content == slot.content:
                        continue
                    if tensor.is_contiguous():
                        slot.content = content
                    elif not slot.look(tensor):
                        continue
                    changes.append((slot, _CHANGE))
                else:
                    first = slot.content is None
                    if not slot.look(tensor, stepped and entry.grad.content is not None):
                        moved = moved or slot.pointer != pointer
                        continue
                    changes.append((slot, _INIT if first else _CHANGE))
                entry.leaf = tensor.is_leaf  # writing into it can have made it part of a graph
            except Unreadable as why:
                if str(why) != ON_META:  # where it may wait to be filled; once it is trained, its gradient tells
                    self.unreadable.setdefault(str(why), entry.name)
                first = slot.content is None
                if slot.look_hollow(tensor):
                    changes.append((slot, _INIT if first else _CHANGE))
            if slot.pointer != pointer:
                moved = True
        if moved or self._quick is None or self._quick.tracked is not self._registry.parameters.tracked:
            self._prepare(self._registry.parameters.tracked)
        elif changes:
            self._quick.seen()
        return changes

    def gradients(
        self, tracked: list[Tracked], deposit: bool, deep: bool, frame: Frame | None = None, after: bool = False
    ) -> list[Change]:
        """Gradients that are not what they were.

        `deposit`: a backward is running, so what arrived is its contribution. `deep`: compare
        content even where nothing says that it changed; `after`: for a call has ended that may have
        changed it. Contributions of zero, which leave the bytes as they were, are noted in `frame`.
        """
        changes: list[Change] = []
        after = deep and (after or deposit)
        for entry in tracked:
            tensor = entry.ref()
            if tensor is None or not entry.leaf:
                continue
            gradient = tensor.grad
            slot = entry.grad
            if gradient is None:
                if slot.content is not None:
                    slot.forget()
                    changes.append((slot, _CLEAR))
                entry.seen = True
                continue
            if entry.spread:
                gradient = local_of(gradient)
            try:
                version = gradient._version
            except RuntimeError:  # an inference tensor has none
                version = -1
            touched = version != slot.version or id(gradient) != slot.identity
            if not touched:
                # Another gradient may have taken the place of the one before, and be as old: its memory is elsewhere.
                if not deep and not entry.spread and (slot.pointer == -1 or gradient.data_ptr() == slot.pointer):
                    continue
                if slot.pointer != -1 and gradient.data_ptr() == slot.pointer and type(gradient) is torch.Tensor:
                    view = slot.view
                    if slot.sketch is not None:
                        if slot.sketch.holds(view, version) and not (deposit and deep):
                            continue
                    elif (view.tobytes() if slot.small else digest(view)) == slot.content:
                        continue
            try:
                changed = slot.look(gradient, after or (deposit and not entry.spread), deposit and touched)
            except Unreadable as why:
                self.unreadable.setdefault(str(why), f"the gradient of {entry.name}")
                changed = slot.look_hollow(gradient)
            slot.identity = id(gradient)
            slot.version = version
            first, entry.seen = not entry.seen, True
            slot.noting = touched and frame is not None
            if changed:
                if deposit:
                    op = _DEPOSIT
                elif first:
                    op = _INIT
                else:
                    assert slot.form is not None
                    op = _ZERO if slot.content == slot.form.zero else _CHANGE
                changes.append((slot, op))
            elif touched and frame is not None:
                if deposit:
                    frame.note(slot, _DEPOSIT)
                elif slot.form is not None and slot.content == slot.form.zero:
                    frame.note(slot, _ZERO)
        return changes

    def state(
        self, entry: TrackedOptimizer, optimizer: Optimizer, deep: bool, aliases: list[Slot], stepped: bool = False
    ) -> list[Change]:
        """State entries that are not what they were; those that share the gradient's memory go to `aliases`."""
        return changes_of_state(entry, optimizer, deep, aliases, self.unreadable, stepped)


def _is_large(slot: Slot) -> bool:
    form = slot.form
    return (
        slot.content is not None
        and form is not None
        and form.nbytes > WHOLE
        and not form.sparse
        and slot.content != form.zero
    )


def _holding(slot: Slot, tensor: torch.Tensor) -> list[Slot]:
    """The slot, where it is large and shows this tensor's memory or a copy of it."""
    if not _is_large(slot) or (slot.pointer != -1 and slot.pointer != tensor.data_ptr()):
        return []
    return [slot]
