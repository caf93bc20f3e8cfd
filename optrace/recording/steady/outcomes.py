"""What the calls of a steady loop did the last times, ready to be written again."""

from __future__ import annotations

import struct
import weakref
from itertools import compress
from operator import attrgetter
from typing import Any

import torch

from optrace.recording.capture import Slot
from optrace.recording.entries import TrackedOptimizer
from optrace.recording.frame import Frame
from optrace.recording.steady.picture import Gradients, Mask, is_contiguous
from optrace.trace.format import ALIGNMENT, KIND_CODES, Op, Storage

_SAME, _FULL, _ZEROS = int(Storage.SAME), int(Storage.FULL), int(Storage.ZEROS)
_CLEAR = int(Op.CLEAR)
MOST_GUARDS = 8
MOST_OUTCOMES = 64
_is_neg = torch.Tensor.is_neg
_is_cpu, _dtype, _shape = attrgetter("is_cpu"), attrgetter("dtype"), attrgetter("shape")


class Outcome:
    """The effect of a call, and how the bytes that belong to it are laid out."""

    __slots__ = ("effect", "length", "pack", "stored")

    def __init__(self, effect: int, sizes: list[int], stored: list[bool]) -> None:
        self.effect = effect
        self.stored = None if all(stored) else stored
        """Of the values, those whose bytes are stored; None for all."""
        layout, end = ["<"], 0
        for size in compress(sizes, stored):
            padding = -end % ALIGNMENT
            layout.append(f"{padding}x{size}s")
            end += padding + size
        self.pack = struct.Struct("".join(layout)).pack_into
        self.length = end


class Plan:
    """One call of the loop: its line, its object, and what came of it the last times."""

    def __init__(self, kind: str, chain: int, target: object, entry: TrackedOptimizer | None) -> None:
        self.kind = kind
        self.code = KIND_CODES[kind]
        self.chain = chain
        self.line = (kind, chain)
        self.key = 0 if target is None else id(target)
        self.ref: Any = _nobody if target is None else weakref.ref(target)
        self.entry = entry
        self.number = -1 if entry is None else entry.id
        self.foreign = not type(target).__module__.startswith("torch.optim.")
        """Whether a step of it runs code that is not torch's."""
        self.start = 0
        self.members: Any = None
        self.reach: Any = None
        self.expected: Any = ()
        """What tells the last outcome from others."""
        self.outcome = Outcome(-1, [], [])
        self._outcomes: dict[Any, Outcome] = {}

    def changed(self, frame: Frame, event: int, op: int, slots: list[Slot], which: list[list[bool]]) -> Outcome:
        """What it is that these values changed (or not: the first list), and became zero (or not: the second)."""
        forms = [slot.form for slot in slots]
        key = (*slots, *forms, *which[0], *which[1])  # two heads of one shape may take turns
        found = self._outcomes.get(key)
        if found is None:
            if len(self._outcomes) >= MOST_OUTCOMES:
                self._outcomes.clear()
            codes, stored = [], []
            for slot, form, changed, zero in zip(slots, forms, *which, strict=True):
                assert form is not None
                stored.append(changed and not zero)
                if changed:
                    storage, length = (_ZEROS, 0) if zero else (_FULL, form.nbytes)
                    codes.append(frame.effects.code(slot, form, op, storage, False, length))
            sizes = [form.nbytes for form in forms if form is not None]
            effect = frame.effects.known(tuple(codes), event) if codes else -1
            found = self._outcomes[key] = Outcome(effect, sizes, stored)
        return found

    def cleared(self, frame: Frame, event: int, slots: list[Slot]) -> Outcome:
        """What it is that these gradients became None."""
        codes = tuple([frame.effects.code(slot, None, _CLEAR, _SAME, False, 0) for slot in slots])
        return Outcome(frame.effects.known(codes, event) if codes else -1, [], [])


class Reach:
    """The gradients that a backward reached: what is true of their layout as long as they come as they did."""

    def __init__(self, gradients: Gradients, mask: Mask, most: int) -> None:
        """`most`: bytes that one of them may have."""
        slots, forms = gradients.slots, gradients.forms
        if mask is not None:
            slots, forms = list(compress(slots, mask)), list(compress(forms, mask))
        known = [form for form in forms if form is not None and not form.odd]
        self.usable = len(known) == len(forms) and max([form.nbytes for form in known], default=0) <= most
        self.slots = slots
        self.size = sum([form.nbytes + ALIGNMENT for form in known])
        self.zeros = [bytes(form.nbytes) for form in known]
        self._forms = known
        self._types = [torch.Tensor] * len(slots)
        self._dtypes = [form.dtype for form in known]
        self._shapes = [form.shape for form in known]
        self._views = [slot.views for slot in slots]
        self._guard: Any = None
        self._guards = MOST_GUARDS if slots else 0

    def fits(self, gradients: list[torch.Tensor]) -> bool:
        """Whether they can be read in place, and are laid out as they were."""
        if self._guard is not None and self._guard(*gradients):
            return True
        if (
            list(map(type, gradients)) != self._types
            or list(map(_dtype, gradients)) != self._dtypes
            or list(map(_shape, gradients)) != self._shapes
            or not all(map(is_contiguous, gradients))
            or not all(map(_is_cpu, gradients))
            or any(map(_is_neg, gradients))
        ):
            return False
        if self._guards:
            self._guards -= 1
            self._guard = _guard(gradients)
        return True

    def views_at(self, pointers: list[int]) -> list[memoryview] | None:
        """The memory at these addresses."""
        found = list(map(dict.get, self._views, pointers))
        if all(found):
            return found  # type: ignore[return-value]
        if not all(pointers):
            return None
        every = zip(self.slots, pointers, self._forms, strict=True)
        return [slot.view_at(pointer, form) for slot, pointer, form in every]


def _guard(tensors: list[torch.Tensor]) -> Any:
    """One call that says whether tensors have the type, layout, dtype, device and mode of these; None if there is none.

    Torch's compiler makes them for its own use. Asking each tensor for each of these takes seven times as long.
    """
    try:
        make: Any = torch._C._dynamo.guards.TensorGuards
        guards = make(
            *tensors,
            dynamic_dims_sizes=[[*tensor.shape] for tensor in tensors],
            dynamic_dims_strides=[[*tensor.stride()] for tensor in tensors],
        )
        return guards.check if guards.check(*tensors) is True else None
    except Exception:  # another release of torch, which made it otherwise
        return None


def _nobody() -> None:
    """The object of a call that has none."""
