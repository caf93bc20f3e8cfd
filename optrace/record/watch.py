"""Noticing what changed since the last look, and putting it into the trace.

A *change* is a value (a `Slot`) and what happened to it. Changes that are found are written into
the open frame: the bytes that will belong to the next event that is recorded.
"""

from __future__ import annotations

import json
from array import array
from typing import Any

import torch
from torch.optim import Optimizer

from optrace.record.capture import Form, Slot, Unreadable, scalar, storage_of
from optrace.record.registry import Registry, Tracked, TrackedOptimizer
from optrace.record.sampling import SAMPLE, sample_indices, summary
from optrace.trace.format import ALIGNMENT, STATISTICS, Op, Storage
from optrace.trace.writer import TraceWriter

Change = tuple[Slot, Op]
_PLAIN = (torch.Tensor, torch.nn.Parameter)


class Frame:
    """The bytes and changes that the next event will carry."""

    def __init__(self, writer: TraceWriter, budget: int) -> None:
        self._writer = writer
        self._stream = writer.tensors
        self._budget = budget
        self._entries: list[tuple[Slot, Form | None, Op, Storage, bool, int]] = []  # by code
        self._effects: dict[tuple[int, ...], int] = {}
        self._samples: dict[tuple[int, int], array[int]] = {}
        self.codes: list[int] = []
        self.start = 0
        self.exact = True
        self.reduced = False  # this frame holds less than all the bytes it should

    def add(self, changes: list[Change], before: bool = False) -> None:
        """Store the changed values as they are now."""
        if not self.codes:
            self.start = self._stream.align()
        for slot, op in changes:
            form = slot.form
            if op is Op.CLEAR or op is Op.GONE:
                self._code(slot, None, op, Storage.SAME, before, 0)
                continue
            assert form is not None
            storage = storage_of(slot)
            if storage is Storage.ZEROS:
                self._code(slot, form, op, storage, before, 0)
            else:
                self._bytes(slot, form, op, storage, before)

    def note(self, slot: Slot, op: Op) -> None:
        """Something happened to a value that left its bytes as they were."""
        if not self.codes:
            self.start = self._stream.align()
        self._code(slot, slot.form, op, Storage.SAME, False, 0)

    def effect(self, event: int) -> int:
        """Close the frame: the id of its effect, -1 if it is empty."""
        if not self.codes:
            return -1
        codes = tuple(self.codes)
        self.codes.clear()
        known = self._effects.get(codes)
        if known is None:
            known = self._effects[codes] = len(self._effects)
            entries = json.dumps(self._describe(codes), separators=(",", ":"))
            self._writer.row("INSERT INTO effect VALUES (?, ?, ?)", known, event, entries)
        return known

    def _bytes(self, slot: Slot, form: Form, op: Op, storage: Storage, before: bool) -> None:
        view: memoryview | bytes = slot.view
        length = form.nbytes
        if self._stream.size + length > self._budget // 2:
            self.exact = False
        if not self.exact and length > SAMPLE * 16 and storage is Storage.FULL:
            self.reduced = True
            if self._stream.size < self._budget:
                view = summary(slot.view, form, self._indices(slot, form))
                length, storage = len(view), Storage.SAMPLE
            else:
                self._code(slot, form, op, Storage.DROPPED, before, 0)
                return
        elif self._stream.size + length > self._budget:
            self.reduced = True
            self._code(slot, form, op, Storage.DROPPED, before, 0)
            return
        self._stream.align()
        self._stream.append(view, length)
        self._code(slot, form, op, storage, before, length)

    def _indices(self, slot: Slot, form: Form) -> array[int]:
        numel = form.nbytes // form.dtype.itemsize
        key = (slot.parameter, numel)
        known = self._samples.get(key)
        if known is None:
            known = self._samples[key] = sample_indices(*key)
            self._writer.row("INSERT INTO sample VALUES (?, ?, ?)", *key, known.tobytes())
        return known

    def _code(self, slot: Slot, form: Form | None, op: Op, storage: Storage, before: bool, length: int) -> None:
        key = (form, op, storage, before)
        code = slot.codes.get(key)
        if code is None:
            code = slot.codes[key] = len(self._entries)
            self._entries.append((slot, form, op, storage, before, length))
        self.codes.append(code)

    def _describe(self, codes: tuple[int, ...]) -> list[list[Any]]:
        """The entries as the index holds them; offsets follow from lengths and alignment."""
        described = []
        offset = 0
        for code in codes:
            slot, form, op, storage, before, length = self._entries[code]
            if length:
                offset += -offset % ALIGNMENT
            dtype, shape = (form.text, form.shape) if form is not None else ("", ())
            described.append(
                [slot.parameter, slot.kind, slot.optimizer, op, storage, int(before), dtype, list(shape), offset, length]
            )
            offset += length
        return described


class Watch:
    """Compares parameters, gradients and optimizer state with how they were last seen."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.unreadable: dict[str, str] = {}  # parameter or state entry → why

    def parameters(self, tracked: list[Tracked]) -> list[Change]:
        """Parameters whose content is not what it was."""
        changes: list[Change] = []
        for entry in tracked:
            tensor = entry.ref()
            if tensor is None:
                continue
            slot = entry.parameter
            first = slot.content is None
            try:
                if slot.look(tensor):
                    changes.append((slot, Op.INIT if first else Op.CHANGE))
            except Unreadable as why:
                self.unreadable.setdefault(entry.name, str(why))
        return changes

    def gradients(self, tracked: list[Tracked], deposit: bool, deep: bool, frame: Frame | None = None) -> list[Change]:
        """Gradients that are not what they were.

        `deposit`: a backward is running, so what arrived is its contribution. `deep`: compare
        content even where nothing says that it changed. Contributions of zero, which leave the
        bytes as they were, are noted in `frame`.
        """
        changes: list[Change] = []
        for entry in tracked:
            tensor = entry.ref()
            if tensor is None:
                continue
            slot = entry.grad
            gradient = tensor.grad
            first, entry.seen = not entry.seen, True
            if gradient is None:
                if slot.content is not None:
                    slot.forget()
                    changes.append((slot, Op.CLEAR))
                continue
            identity = id(gradient)
            version = -1 if gradient.is_inference() else gradient._version
            touched = identity != slot.identity or version != slot.version
            if not touched and not deep:
                continue
            try:
                changed = slot.look(gradient)
            except Unreadable as why:
                self.unreadable.setdefault(f"{entry.name}.grad", str(why))
                continue
            slot.identity = identity
            slot.version = version
            if changed:
                if deposit:
                    op = Op.DEPOSIT
                elif first:
                    op = Op.INIT
                else:
                    assert slot.form is not None
                    op = Op.ZERO if slot.content == slot.form.zero else Op.CHANGE
                changes.append((slot, op))
            elif touched and frame is not None:
                if deposit:
                    frame.note(slot, Op.DEPOSIT)
                elif slot.form is not None and slot.content == slot.form.zero:
                    frame.note(slot, Op.ZERO)
        return changes

    def state(self, entry: TrackedOptimizer, optimizer: Optimizer, deep: bool, aliases: list[Slot]) -> list[Change]:
        """State entries that are not what they were; those that share the gradient's memory go to `aliases`."""
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
                    changes += [(slot, Op.GONE) for slot in slots.values() if slot.content is not None]
                    for slot in slots.values():
                        slot.forget()
                continue
            if slots is None:
                slots = tracked.state[entry.id] = {}
            try:
                names = self._entries(tracked, entry, state, slots, deep, changes, aliases)
            except Unreadable as why:
                self.unreadable.setdefault(f"{tracked.name}'s state", str(why))
                continue
            if len(names) != len(slots):
                for name, slot in slots.items():
                    if name not in names and slot.content is not None:
                        slot.forget()
                        changes.append((slot, Op.GONE))
        return changes

    def _entries(
        self,
        tracked: Tracked,
        entry: TrackedOptimizer,
        state: Any,
        slots: dict[str, Slot],
        deep: bool,
        changes: list[Change],
        aliases: list[Slot],
    ) -> Any:
        pointer = tracked.grad.pointer
        values = state
        for value in state.values():
            if type(value) not in _PLAIN:
                values = flatten(state)
                break
        for name, value in values.items():
            slot = slots.get(name)
            if slot is None:
                kind = name if all(o == entry.id for o in tracked.state) else f"{entry.name}.{name}"
                slot = slots[name] = Slot(tracked.id, kind, entry.id)
            version = -1 if value.is_inference() else value._version
            if not deep and id(value) == slot.identity and version == slot.version:
                continue
            first = slot.content is None
            if slot.look(value):
                changes.append((slot, Op.INIT if first else Op.CHANGE))
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
            flat[name] = value
        elif isinstance(value, dict):
            flat.update(flatten(value, f"{name}."))
        elif isinstance(value, (list, tuple)):
            flat.update(flatten(dict(enumerate(value)), f"{name}."))
        else:
            number = scalar(value)
            if number is not None:
                flat[name] = number
    return flat


assert len(STATISTICS) == 6
