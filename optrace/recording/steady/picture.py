"""All values of a small model side by side, so that one comparison looks at all of them.

What is known of a value lives in its `Slot`. While a loop is steady it lives here instead, in a few flat lists:
to look at a hundred values is then a handful of calls, and touches little memory between two calls of torch.
`settle` takes everything back to the slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

import torch
from torch.optim import Optimizer

from optrace.recording.capture import Slot
from optrace.recording.entries import Tracked, TrackedOptimizer
from optrace.recording.forms import digest
from optrace.trace.format import ALIGNMENT

MOST_BYTES = 16 << 10  # of one value: a larger one is cheaper to compare by its digest
MOST_TOGETHER = 128 << 10
NONE = id(None)
grad_of, version_of, is_leaf = attrgetter("grad"), attrgetter("_version"), attrgetter("is_leaf")
data_ptr, is_contiguous = torch.Tensor.data_ptr, torch.Tensor.is_contiguous
_PLAIN = (torch.Tensor, torch.nn.Parameter)
Mask = tuple[bool, ...] | None
"""Which of the gradients are there; None for all."""


class Moved(Exception):
    """Something is not as it was last seen, or is of a kind that is looked at one by one."""


class Values:
    """Some values whose memory stays where it is: parameters, or an optimizer's state."""

    __slots__ = ("contents", "joined", "pointers", "slots", "views", "zeros")

    def __init__(self, slots: list[Slot]) -> None:
        """As they were last seen. Raises `Moved` where that is not what is there now."""
        self.slots = slots
        self.pointers = [slot.pointer for slot in slots]
        self.views = [slot.view for slot in slots]
        self.zeros = [bytes(view.nbytes) for view in self.views]
        self.contents = [_seen(slot) for slot in slots]
        self.joined = b"".join(self.contents)

    def settle(self) -> None:
        """Take what was last seen back to the slots."""
        for slot, content in zip(self.slots, self.contents, strict=True):
            slot.content = content if slot.small else digest(content)


class Gradients:
    """The gradients of all parameters, of which some may be None."""

    __slots__ = ("contents", "forms", "identities", "joined", "mask", "pointers", "slots", "versions", "views")

    def __init__(self, slots: list[Slot], gradients: Sequence[torch.Tensor | None]) -> None:
        """As they were last seen. Raises `Moved` where that is not what is there now."""
        self.slots = slots
        self.forms = [slot.form for slot in slots]
        self.identities = list(map(id, gradients))
        self.mask = mask_of(self.identities)
        if any(slot.sketch is not None for slot in slots):
            raise Moved
        if self.identities != [NONE if slot.content is None else slot.identity for slot in slots]:
            raise Moved
        there = [gradient for gradient in gradients if gradient is not None]
        present = [slot for slot in slots if slot.content is not None]
        self.pointers = list(map(data_ptr, there))
        self.versions = list(map(version_of, there))
        if self.pointers != [slot.pointer for slot in present] or self.versions != [slot.version for slot in present]:
            raise Moved
        self.views = [slot.view for slot in present]
        self.contents = [_seen(slot) for slot in present]
        self.joined = b"".join(self.contents)

    def present(self) -> list[Slot]:
        """Those that are there."""
        return [slot for slot, identity in zip(self.slots, self.identities, strict=True) if identity != NONE]

    def cleared(self, identities: list[int]) -> None:
        """All of them became None."""
        self.identities, self.mask = identities, (False,) * len(identities)
        self.pointers, self.versions, self.views, self.contents, self.joined = [], [], [], [], b""

    def settle(self) -> None:
        """Take what was last seen back to the slots."""
        place = 0
        for slot, identity in zip(self.slots, self.identities, strict=True):
            if identity != NONE:
                content = self.contents[place]
                slot.drop()
                slot.identity, slot.version = identity, self.versions[place]
                slot.pointer, slot.view = self.pointers[place], self.views[place]
                slot.content = content if slot.small else digest(content)
                place += 1
            elif slot.content is not None:
                slot.forget()


class State:
    """The state of one optimizer: which tensors it consists of, their versions and contents."""

    __slots__ = ("_identities", "_keys", "_names", "most", "size", "values", "versions")

    def __init__(self, entry: TrackedOptimizer, optimizer: Optimizer) -> None:
        """As it was last seen. Raises `Moved` where that is not what is there now."""
        slots: list[Slot] = []
        tensors: list[torch.Tensor] = []
        self._keys: list[int] = []
        for tracked in entry.plan:
            parameter = tracked.ref()
            state: Any = {} if parameter is None else optimizer.state.get(parameter, {})
            known = tracked.state.get(entry.id, {})
            if list(state) != list(known):
                raise Moved
            if state:
                self._keys.append(id(parameter))
            for name, value in state.items():
                if type(value) not in _PLAIN:
                    raise Moved
                slots.append(known[name])
                tensors.append(value)
        self._names = [name for tracked in entry.plan for name in tracked.state.get(entry.id, {})]
        self._identities = list(map(id, tensors))
        self.versions = list(map(version_of, tensors))
        if (
            list(map(id, optimizer.state)) != self._keys
            or self._identities != [slot.identity for slot in slots]
            or self.versions != [slot.version for slot in slots]
            or list(map(data_ptr, tensors)) != [slot.pointer for slot in slots]
        ):
            raise Moved
        self.values = Values(slots)
        sizes = [view.nbytes for view in self.values.views]
        sizes += [tracked.parameter.view.nbytes for tracked in entry.plan]
        self.most, self.size = max(sizes), sum(sizes) + len(sizes) * ALIGNMENT
        """Bytes of the largest value that a step writes, and of all together."""

    def tensors(self, optimizer: Optimizer) -> list[torch.Tensor] | None:
        """The tensors, where they are the very same, by the same names."""
        states = optimizer.state
        if not self._keys:
            return None if states else []
        entries = list(states.values())
        found = [value for entry in entries for value in entry.values()]
        if (
            list(map(id, found)) == self._identities
            and list(chain.from_iterable(entries)) == self._names
            and list(map(id, states)) == self._keys
        ):
            return found
        return None

    def untouched(self, optimizer: Optimizer) -> bool:
        """Whether the tensors are the same, and nothing that torch counts was done to them."""
        found = self.tensors(optimizer)
        return found is not None and list(map(version_of, found)) == self.versions

    def settle(self) -> None:
        """Take what was last seen back to the slots."""
        self.values.settle()
        for slot, version in zip(self.values.slots, self.versions, strict=True):
            slot.version = version


class Picture:
    """Parameters, gradients and state as they were last seen."""

    __slots__ = ("gradients", "parameters", "refs", "states")

    def __init__(self, tracked: list[Tracked]) -> None:
        """Raises `Moved` where something is not as it was last seen, or is large, or cannot be read in place."""
        tensors: list[Any] = [entry.ref() for entry in tracked]
        slots = [entry.parameter for entry in tracked]
        if (
            not all(type(tensor) in _PLAIN for tensor in tensors)
            or not all(entry.leaf and entry.seen and not entry.spread for entry in tracked)
            or list(map(data_ptr, tensors)) != [slot.pointer for slot in slots]
            or sum(slot.view.nbytes for slot in slots) > MOST_TOGETHER
        ):
            raise Moved
        self.refs = [entry.ref for entry in tracked]
        self.parameters = Values(slots)
        self.gradients = Gradients([entry.grad for entry in tracked], list(map(grad_of, tensors)))
        self.states: dict[int, State] = {}

    def settle(self) -> None:
        """Take what was last seen back to the slots."""
        self.parameters.settle()
        self.gradients.settle()
        for state in self.states.values():
            state.settle()


def mask_of(identities: list[int]) -> Mask:
    """Which of the gradients are there; None for all."""
    return tuple([identity != NONE for identity in identities]) if NONE in identities else None


def _seen(slot: Slot) -> bytes:
    """The bytes as they were last seen. Raises `Moved` where other bytes are there now, or too many."""
    form, content = slot.form, slot.content
    if form is None or form.odd or slot.pointer == -1 or slot.sketch is not None or form.nbytes > MOST_BYTES:
        raise Moved
    if type(content) is bytes:
        return content
    found = slot.view.tobytes()
    if digest(found) != content:
        raise Moved
    return found
