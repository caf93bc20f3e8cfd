"""The open frame: the bytes and changes that the next event to be recorded will carry.

A *change* is a value (a `Slot`) and what happened to it.
"""

from __future__ import annotations

import json
from array import array
from typing import Any

from optrace.recording.capture import HOLLOW, SMALL, Form, Slot
from optrace.recording.sampling import SAMPLE, UNKNOWN, Sketch, sample_indices
from optrace.trace.format import ALIGNMENT, STATISTICS, Op, Storage
from optrace.trace.format import SMALL as WHOLE
from optrace.trace.writer import TraceWriter

Change = tuple[Slot, int]
# As plain numbers: an enum's members are slow to hash and to compare.
_SAME, _FULL, _ZEROS = int(Storage.SAME), int(Storage.FULL), int(Storage.ZEROS)
_SPARSE, _SAMPLE, _DROPPED = int(Storage.SPARSE), int(Storage.SAMPLE), int(Storage.DROPPED)
_LOST = int(Op.LOST)
_MANY_EFFECTS = 1000
_STATISTICS_ALONE = 1 << 16
_NOTHING_LEFT = (int(Op.CLEAR), int(Op.GONE))


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
        self._numbered = self._renewed = 0
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
            if slot.pointer == -1:
                slot.drop()

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
        return self.known(codes, event)

    def known(self, codes: tuple[int, ...], event: int) -> int:
        """The id of the effect that these changes together are; `event` is the first to have it, if it is new."""
        known = self._effects.get(codes)
        if known is None:
            known = self._effects[codes] = self.number()
            entries = json.dumps(self._describe(codes), separators=(",", ":"))
            self._writer.row("INSERT INTO effect VALUES (?, ?, ?)", known, event, entries)
        return known

    def number(self) -> int:
        """An effect's id that no other has."""
        self._numbered += 1
        return self._numbered - 1

    def renew(self) -> int:
        """Forget the effects that have been stored, where they are many. Later events use none with a smaller id."""
        if len(self._effects) > _MANY_EFFECTS:
            self._effects.clear()
            self._renewed = self._numbered
        return self._renewed

    def lose(self, slot: Slot) -> None:
        """From here on the value is not known."""
        self._code(slot, None, _LOST, _SAME, False, 0)

    def discard(self) -> None:
        """Forget what was found and belongs to no event."""
        self.codes.clear()
        self.reduced = False

    def _bytes(self, slot: Slot, form: Form, op: int, storage: int, before: bool) -> None:
        view: memoryview | bytes | None = None
        length = form.nbytes
        end = self._stream.size + ALIGNMENT
        whole = self.keyframe or (self.whole and end + length <= self.whole_until) or length <= self.small
        if not whole and storage == _FULL:
            self.reduced = True
            head = len(STATISTICS) * 8
            length = head + SAMPLE * form.dtype.itemsize if self.sample else head
            storage = _SAMPLE
        if end + length <= self.until:
            view = slot.shown()
        if view is None:
            self.reduced = True
            self._code(slot, form, op, _DROPPED, before, 0)
            return
        if storage == _SAMPLE:
            view = self._sketch(slot, form).summary[:length]
        self._stream.append_aligned(view, length)
        self._code(slot, form, op, storage, before, length)

    def _sketch(self, slot: Slot, form: Form) -> Sketch:
        """The slot's, of the content that was just seen."""
        if slot.sketch is not None:
            return slot.sketch
        sketch = Sketch(form, self._indices(slot, form))
        sketch.take(slot.view, UNKNOWN)
        if slot.pointer != -1 and not slot.small:  # what it shows is the tensor's own memory
            slot.sketch = sketch
        return sketch

    def _indices(self, slot: Slot, form: Form) -> array[int]:
        numel = form.nbytes // form.dtype.itemsize
        key = (slot.parameter, numel)
        known = self._samples.get(key)
        if known is None:
            known = self._samples[key] = sample_indices(*key)
            if self.sample:
                self._writer.row("INSERT INTO sample VALUES (?, ?, ?)", *key, known.tobytes())
        return known

    def _code(self, slot: Slot, form: Form | None, op: int, storage: int, before: bool, length: int) -> None:
        self.codes.append(self.code(slot, form, op, storage, before, length))

    def code(self, slot: Slot, form: Form | None, op: int, storage: int, before: bool, length: int) -> int:
        """The number of one change, stored in one way."""
        known = slot.absent if form is None else slot.codes
        key = op << 4 | storage << 1 | before
        if storage == _SAMPLE and not self.sample:
            key |= _STATISTICS_ALONE  # there may be codes of samples with elements, which are longer
        code = known.get(key)
        if code is None:
            code = known[key] = len(self._entries)
            self._entries.append((slot, form, op, storage, before, length))
        return code

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


assert len(STATISTICS) == 6
