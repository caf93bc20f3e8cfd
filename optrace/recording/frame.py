"""The open frame: the bytes and changes that the next event to be recorded will carry.

A *change* is a value (a `Slot`) and what happened to it.
"""

from __future__ import annotations

from array import array

import torch

from optrace.recording.arriving import Arrival, Post
from optrace.recording.capture import Known, Slot
from optrace.recording.effects import HEAD, Awaited, Effects
from optrace.recording.forms import HOLLOW, SMALL, Form
from optrace.recording.sampling import SAMPLE, UNKNOWN, Sketch, sample_indices
from optrace.recording.summaries import CHECKSUM, Asked, elements, flat
from optrace.trace.format import ALIGNMENT, EFFECT, EFFECT_AT, STATISTICS, Op, Storage
from optrace.trace.format import SMALL as WHOLE
from optrace.trace.writer import TraceWriter

Change = tuple[Slot, int]
# As plain numbers: an enum's members are slow to hash and to compare.
_SAME, _FULL, _ZEROS = int(Storage.SAME), int(Storage.FULL), int(Storage.ZEROS)
_SPARSE, _SAMPLE, _DROPPED = int(Storage.SPARSE), int(Storage.SAMPLE), int(Storage.DROPPED)
_LOST, _DEPOSIT, _ZERO, _CHANGE = int(Op.LOST), int(Op.DEPOSIT), int(Op.ZERO), int(Op.CHANGE)
_MANY_GONE = 1000
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
        self.post = Post(writer)
        writer.tensors.leaving = self.post.send
        self._arrivals: list[tuple[int, Arrival]] = []  # which of the codes they will be
        self.awaited: Awaited | None = None
        """What the effect that was asked for last depends on; until that has come it is -1."""
        self.effects = Effects(writer)
        self._gone: set[Slot] = set()  # that have died lately
        self._samples: dict[tuple[int, int], array[int]] = {}
        self._indices_there: dict[tuple[int, int, torch.device], torch.Tensor] = {}  # the same, on a device
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
            elif content.__class__ is Known:
                self._expect(slot, form, op, before)
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
        if self._arrivals:
            self.post.send()

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
        if self._arrivals:
            self.awaited = self.effects.awaited(codes, event, self._arrivals)
            self._arrivals = []
            return -1
        return self.effects.known(codes, event)

    def fill_in(self, block: memoryview, place: int) -> None:
        """The effect of the record at `place` is what is awaited."""
        awaited, self.awaited = self.awaited, None
        assert awaited is not None
        self._writer.later(lambda: EFFECT.pack_into(block, place + EFFECT_AT, self.effects.arrived(awaited)))

    def mentioned(self) -> set[Slot]:
        """The values that the frame says something of."""
        return self.effects.mentioned(self.codes)

    def forget(self, slots: list[Slot]) -> None:
        """These values are gone with their parameter or optimizer: so does what was worked out for them."""
        self._gone.update(slots)
        if len(self._gone) >= _MANY_GONE:
            self.forget_gone()

    def forget_gone(self) -> None:
        """Forget what was worked out for values that are gone, but for those that are being spoken of."""
        said = self.mentioned()
        gone, self._gone = self._gone - said, self._gone & said
        if not gone:
            return
        for slot in gone:
            slot.drop()
            slot.absent.clear()
            for codes in slot.forms.values():
                codes.clear()
        self.effects.forget(gone)
        parameters = {slot.parameter for slot in gone if slot.optimizer < 0}
        self.unselected -= parameters
        self._samples = {key: found for key, found in self._samples.items() if key[0] not in parameters}
        self._indices_there = {k: found for k, found in self._indices_there.items() if k[0] not in parameters}

    def lose(self, slot: Slot) -> None:
        """From here on the value is not known."""
        self._code(slot, None, _LOST, _SAME, False, 0)

    def discard(self) -> None:
        """Forget what was found and belongs to no event."""
        self.codes.clear()
        self._arrivals = []
        self.reduced = False

    def _bytes(self, slot: Slot, form: Form, op: int, storage: int, before: bool) -> None:
        view: memoryview | bytes | None = None
        length = form.nbytes
        if storage == _FULL and not self._is_kept_whole(length):
            self.reduced = True
            length, storage = self._summary_bytes(form), _SAMPLE
        if self._stream.size + ALIGNMENT + length <= self.until:
            view = slot.shown()
        if view is None:
            self.reduced = True
            self._code(slot, form, op, _DROPPED, before, 0)
            return
        if storage == _SAMPLE:
            view = self._sketch(slot, form).summary[:length]
        self._stream.append_aligned(view, length)
        self._code(slot, form, op, storage, before, length)

    def _is_kept_whole(self, length: int) -> bool:
        fits = self.whole and self._stream.size + ALIGNMENT + length <= self.whole_until
        return self.keyframe or fits or length <= self.small

    def _summary_bytes(self, form: Form) -> int:
        return HEAD + SAMPLE * form.dtype.itemsize if self.sample else HEAD

    def _expect(self, slot: Slot, form: Form, op: int, before: bool) -> None:
        """Make room for a value that is on a device, and send for it."""
        stream, known = self._stream, slot.content
        assert isinstance(known, Known)
        tensor = slot.source() if slot.source is not None else None
        slot.arriving = False
        whole = self._is_kept_whole(form.nbytes)
        length, storage = (form.nbytes, _FULL) if whole else (self._summary_bytes(form), _SAMPLE)
        chosen = slot.parameter not in self.unselected
        if tensor is None or not chosen or stream.size + ALIGNMENT + length > self.until:
            whole, length, storage = form.nbytes <= WHOLE, 0, _DROPPED  # it is only looked at
        self.reduced = self.reduced or (chosen and storage != _FULL)
        changed = self.effects.code(slot, form, op, storage, before, length)
        if tensor is None:
            self.codes.append(changed)
            return
        zero = _ZERO if slot.kind == "grad" and op == _CHANGE else op
        zeros = self.effects.code(slot, form, zero, _ZEROS if length else _DROPPED, before, 0, length)
        same = same_zero = self.effects.skip(slot, length)
        if slot.noting:
            same_zero = self.effects.code(slot, form, zero, _SAME, before, 0, length)
            same = same_zero if op == _DEPOSIT else same
        size = form.nbytes if whole else (length or HEAD) + CHECKSUM
        arrival = Arrival(known, form, size, op, (changed, zeros, same, same_zero), whole)
        if length:
            stream.align()
        if not whole and stream.left < length:  # a summary stands in one block
            self.codes.append(self.effects.skip(slot, stream.left))
            stream.reserve(stream.left)
        self._arrivals.append((len(self.codes), arrival))
        self.codes.append(changed)
        if not whole:
            if length:
                arrival.rooms.append(stream.reserve(length))
            indices = self._indices_on(slot, form, tensor.device) if length > HEAD else None
            self.post.summarise(Asked(elements(tensor), indices, Sketch.complete, slot.parameter, arrival.take))
            return
        source = flat(tensor)
        start = 0
        while start < length:
            room = stream.reserve(length - start)
            arrival.rooms.append(room)
            part = source if room.nbytes == size else source[start : start + room.nbytes]
            self.post.add(part, room.nbytes, arrival.take)
            start += room.nbytes
        if not length:
            self.post.add(source, size, arrival.take)

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

    def _indices_on(self, slot: Slot, form: Form, device: torch.device) -> torch.Tensor:
        key = (slot.parameter, form.nbytes // form.dtype.itemsize, device)
        known = self._indices_there.get(key)
        if known is None:
            here = torch.frombuffer(self._indices(slot, form), dtype=torch.int64).pin_memory()
            known = self._indices_there[key] = here.to(device, non_blocking=True)
        return known

    def _code(self, slot: Slot, form: Form | None, op: int, storage: int, before: bool, length: int) -> None:
        self.codes.append(self.effects.code(slot, form, op, storage, before, length))


assert len(STATISTICS) == 6
