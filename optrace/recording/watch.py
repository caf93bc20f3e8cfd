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

from optrace.recording.capture import HOLLOW, ON_META, SMALL, Form, Slot, Unreadable, digest, scalar
from optrace.recording.placements import local_of
from optrace.recording.registry import Registry, Tracked, TrackedOptimizer
from optrace.recording.sampling import SAMPLE, sample_indices, summary
from optrace.trace.format import ALIGNMENT, STATISTICS, Op, Storage
from optrace.trace.format import SMALL as WHOLE
from optrace.trace.writer import TraceWriter

Change = tuple[Slot, int]
_PLAIN = (torch.Tensor, torch.nn.Parameter)
# As plain numbers: an enum's members are slow to hash and to compare.
_INIT, _DEPOSIT, _CLEAR = int(Op.INIT), int(Op.DEPOSIT), int(Op.CLEAR)
_ZERO, _CHANGE, _GONE = int(Op.ZERO), int(Op.CHANGE), int(Op.GONE)
_SAME, _FULL, _ZEROS = int(Storage.SAME), int(Storage.FULL), int(Storage.ZEROS)
_SPARSE, _SAMPLE, _DROPPED = int(Storage.SPARSE), int(Storage.SAMPLE), int(Storage.DROPPED)
_LOST = int(Op.LOST)
_NOTHING_LEFT = (_CLEAR, _GONE)


class Frame:
    """The bytes and changes that the next event will carry."""

    def __init__(self, writer: TraceWriter) -> None:
        self._writer = writer
        self._stream = writer.tensors
        self.whole = True  # values are kept whole, up to `whole_until`
        self.whole_until = self.until = 0  # sizes of the stream that it may grow to
        self.keyframe = False  # values are kept whole all the same
        self.small = WHOLE  # bytes up to which they always are
        self.sample = True  # of others elements are kept beside the statistics
        self.unselected: set[int] = set()  # parameters whose values are not kept
        self._entries: list[tuple[Slot, Form | None, int, int, bool, int]] = []  # by code
        self._effects: dict[tuple[int, ...], int] = {}
        self._samples: dict[tuple[int, int], array[int]] = {}
        self.codes: list[int] = []
        self.start = 0
        self.reduced = False  # this frame holds less than all the bytes it should

    def add(self, changes: list[Change], before: bool = False) -> None:
        """Store the changed values as they are now."""
        stream = self._stream
        codes = self.codes
        if not codes:
            self.start = stream.align()
        roomy = stream.size + SMALL + ALIGNMENT < self.until
        unselected = self.unselected
        full, zeros = _FULL << 1 | before, _ZEROS << 1 | before
        for slot, op in changes:
            form = slot.form
            if op in _NOTHING_LEFT:
                self._code(slot, None, op, _SAME, before, 0)
                continue
            assert form is not None
            content = slot.content
            if form.sparse == HOLLOW:
                self.reduced = True
                self._code(slot, form, op, _DROPPED, before, 0)
            elif unselected and slot.parameter in unselected:
                self._code(slot, form, op, _DROPPED, before, 0)
            elif form.sparse:
                self._bytes(slot, form, op, _SPARSE, before)
            elif content == form.zero:
                code = slot.codes.get(op << 4 | zeros)
                if code is None:
                    self._code(slot, form, op, _ZEROS, before, 0)
                else:
                    codes.append(code)
            elif roomy and slot.small:
                stream.append_aligned(content, form.nbytes)  # type: ignore[arg-type]
                roomy = stream.size + SMALL + ALIGNMENT < self.until
                code = slot.codes.get(op << 4 | full)
                if code is None:
                    self._code(slot, form, op, _FULL, before, form.nbytes)
                else:
                    codes.append(code)
            else:
                self._bytes(slot, form, op, _FULL, before)

    def note(self, slot: Slot, op: int) -> None:
        """Something happened to a value that left its bytes as they were."""
        if not self.codes:
            self.start = self._stream.align()
        self._code(slot, slot.form, op, _SAME, False, 0)

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

    def lose(self, slot: Slot) -> None:
        """From here on the value is not known."""
        self._code(slot, None, _LOST, _SAME, False, 0)

    def discard(self) -> None:
        """Forget what was found and belongs to no event."""
        self.codes.clear()
        self.reduced = False

    def _bytes(self, slot: Slot, form: Form, op: int, storage: int, before: bool) -> None:
        view: memoryview | bytes = slot.view
        length = form.nbytes
        end = self._stream.size + ALIGNMENT
        whole = self.keyframe or (self.whole and end + length <= self.whole_until) or length <= self.small
        if not whole and storage == _FULL:
            self.reduced = True
            head = len(STATISTICS) * 8
            length = head + SAMPLE * form.dtype.itemsize if self.sample else head
            storage = _SAMPLE
        if end + length > self.until:
            self.reduced = True
            self._code(slot, form, op, _DROPPED, before, 0)
            return
        if storage == _SAMPLE:
            view = summary(slot.view, form, self._indices(slot, form) if self.sample else None)
        self._stream.append_aligned(view, length)
        self._code(slot, form, op, storage, before, length)

    def _indices(self, slot: Slot, form: Form) -> array[int]:
        numel = form.nbytes // form.dtype.itemsize
        key = (slot.parameter, numel)
        known = self._samples.get(key)
        if known is None:
            known = self._samples[key] = sample_indices(*key)
            self._writer.row("INSERT INTO sample VALUES (?, ?, ?)", *key, known.tobytes())
        return known

    def _code(self, slot: Slot, form: Form | None, op: int, storage: int, before: bool, length: int) -> None:
        known = slot.absent if form is None else slot.codes
        key = op << 4 | storage << 1 | before
        code = known.get(key)
        if code is None:
            code = known[key] = len(self._entries)
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
            whose = [slot.parameter, slot.kind, slot.optimizer]
            described.append([*whose, op, storage, int(before), dtype, list(shape), offset, length])
            offset += length
        return described


class _Quick:
    """All parameters at one glance: is any of them not as it was last seen?

    The small ones are compared in one piece, the others by their digests.
    """

    def __init__(self, tracked: list[Tracked]) -> None:
        self.tracked = tracked
        self.refs = [entry.ref for entry in tracked]
        slots = [entry.parameter for entry in tracked]
        self.usable = all(slot.content is not None and slot.pointer != -1 for slot in slots) and not any(
            entry.spread for entry in tracked
        )
        self.pointers = [slot.pointer for slot in slots]
        self._small = [slot for slot in slots if slot.small]
        self._large = [slot for slot in slots if not slot.small]
        self._small_views = [slot.view for slot in self._small]
        self._large_views = [slot.view for slot in self._large]
        self.seen()

    def seen(self) -> None:
        """Contents were looked at one by one: take over what was found."""
        if self.usable:
            self._bytes = b"".join([slot.content for slot in self._small])  # type: ignore[misc]
            self._digests = [slot.content for slot in self._large]

    def unchanged(self) -> bool:
        try:
            if [ref().data_ptr() for ref in self.refs] != self.pointers:  # type: ignore[union-attr]
                return False
        except (AttributeError, RuntimeError):
            return False
        if b"".join(self._small_views) != self._bytes:
            return False
        return not self._large or [digest(view) for view in self._large_views] == self._digests


class Watch:
    """Compares parameters, gradients and optimizer state with how they were last seen."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._quick: _Quick | None = None
        self.unreadable: dict[str, str] = {}  # why → the first value that cannot be read for this reason

    def restart(self) -> None:
        """What was seen of the parameters does not count any more."""
        self._quick = None

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
        quick = _Quick(tracked)
        self._quick = quick if quick.usable else None

    def parameters(self, tracked: list[Tracked]) -> list[Change]:
        """Parameters whose content is not what it was."""
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
                if pointer != -1 and tensor.data_ptr() == pointer:
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
                    if not slot.look(tensor):
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
        if moved or self._quick is None or self._quick.tracked is not self._registry.tracked:
            self._prepare(self._registry.tracked)
        elif changes:
            self._quick.seen()
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
                if not deep and not entry.spread:
                    continue
                if slot.pointer != -1 and gradient.data_ptr() == slot.pointer and type(gradient) is torch.Tensor:
                    view = slot.view
                    if (view.tobytes() if slot.small else digest(view)) == slot.content:
                        continue
            try:
                changed = slot.look(gradient)
            except Unreadable as why:
                self.unreadable.setdefault(str(why), f"the gradient of {entry.name}")
                changed = slot.look_hollow(gradient)
            slot.identity = id(gradient)
            slot.version = version
            first, entry.seen = not entry.seen, True
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
                    changes += [(slot, _GONE) for slot in slots.values() if slot.content is not None]
                    for slot in slots.values():
                        slot.forget()
                continue
            if slots is None:
                slots = tracked.state[entry.id] = {}
            try:
                names = self._entries(tracked, entry, state, slots, deep, changes, aliases)
            except Unreadable as why:
                self.unreadable.setdefault(str(why), f"the state of {tracked.name}")
                continue
            if len(names) != len(slots):
                for name, slot in slots.items():
                    if name not in names and slot.content is not None:
                        slot.forget()
                        changes.append((slot, _GONE))
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
            try:
                version = value._version
            except RuntimeError:  # an inference tensor has none
                version = -1
            same = slot.identity == id(value)
            if deep and same and slot.pointer != -1 and value.data_ptr() == slot.pointer:
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
                if slot.look(value):
                    changes.append((slot, _INIT if first else _CHANGE))
                slot.identity = id(value)
                slot.version = version
            if slot.pointer == pointer != -1 and pointer:
                aliases.append(slot)
        return values


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


assert len(STATISTICS) == 6
