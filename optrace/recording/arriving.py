"""Values on their way from a device: the room in the trace that waits for them, and what they turn out to be.

Whether an event changed a value is seen by its bytes, and these come later. So its event is written with room for
them, and what became of each is filled in when they have come, in the order in which they were sent for: by the writer,
before it writes that room, or by the training where it has to know at once.
"""

from __future__ import annotations

import math
import struct
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import torch
import xxhash

from optrace.recording import devices
from optrace.recording.capture import SMALL, Form, Known, Slot, view_at
from optrace.recording.sampling import agree
from optrace.trace.format import STATISTICS, Op
from optrace.trace.writer import TENSOR_BLOCK, TraceWriter

PINNED = 8 * TENSOR_BLOCK
"""Bytes on their way at most, in pinned memory and, the same again, on the devices. Where there is no more room the
training waits for those sent first."""
_HURRY = PINNED // 4  # bytes on their way that are worth waking the writer for
CHANGED, ZERO, SAME, STILL_ZERO = range(4)  # what a value can turn out to be
_STATISTICS = struct.Struct(f"<{len(STATISTICS)}d")
CHECKSUM = 8  # bytes that come with a summary and are not kept
_NORM = STATISTICS.index("norm")
EFFECT, EFFECT_AT = struct.Struct("<i"), struct.calcsize("<BBHIIIqfiii")  # its place in a record
_INIT, _RESTATED = int(Op.INIT), int(Op.RESTATED)


class Arrival:
    """One value on its way."""

    __slots__ = ("_parts", "_state", "_whole", "codes", "form", "known", "learn", "left", "op", "outcome")

    def __init__(
        self, known: Known, form: Form, length: int, op: int, codes: tuple[int, ...] = (), whole: bool = True
    ) -> None:
        self.known = known
        self.form = form
        self.left = length
        self.op = op
        self.codes = codes
        """The changes that it can turn out to be, by outcome."""
        self.learn = True
        """What it is counts from now on as what is known of the value."""
        self.outcome = CHANGED
        self._whole = whole
        self._parts: list[bytes] = []
        self._state: Any = None

    def take(self, part: memoryview) -> None:
        """The next of its bytes have come."""
        self.left -= part.nbytes
        if not self._whole or self.form.nbytes <= SMALL:
            self._parts.append(part.tobytes())
        else:
            self._state = self._state or xxhash.xxh3_64()
            self._state.update(part)
        if not self.left:
            self._judge()

    def _judge(self) -> None:
        content: Any
        if self._whole:
            content = self._state.intdigest() if self._state is not None else b"".join(self._parts)
            zero = content == self.form.zero
            same = content == self.known.content
        else:
            told = b"".join(self._parts)
            statistics, checksum = _STATISTICS.unpack_from(told), told[-CHECKSUM:]
            content = (statistics, checksum)
            zero = statistics[_NORM] == 0 and not any(checksum)  # where some are -0.0, their bits count
            same = _alike(content, self.known.content)
        if same and self.form is self.known.form and self.op != _RESTATED:
            self.outcome = STILL_ZERO if zero else SAME
        elif zero:
            self.outcome = ZERO
        if self.learn:
            self.known.content, self.known.form = content, self.form


def _alike(one: Any, other: Any) -> bool:
    """Whether two summaries tell of the same content: the same checksum, and statistics as far as both were taken."""
    return type(other) is tuple and one[1] == other[1] and all(map(agree, one[0], other[0]))


class Pinned:
    """Pinned memory, given out and given back in order."""

    def __init__(self) -> None:
        self.tensor = torch.empty(PINNED, dtype=torch.uint8, device="cpu", pin_memory=True)
        self.view = view_at(self.tensor.data_ptr(), PINNED)
        self.used = 0
        self._given: deque[tuple[int, int]] = deque()
        self._next = 0
        self._lock = threading.Lock()

    def take(self, length: int) -> int:
        """Where `length` bytes are free; -1 for nowhere."""
        with self._lock:
            if not self._given:
                self._next = 0
            first = self._given[0][0] if self._given else PINNED
            place = self._next
            if self._given and place <= first:
                end = first
            elif place + length <= PINNED:
                end = PINNED
            else:
                place, end = 0, first
            if place + length > end:
                return -1
            self._next = place + length
            self._given.append((place, length))
            self.used += length
            return place

    def free_first(self) -> None:
        """What was given out first is free again."""
        with self._lock:
            self.used -= self._given.popleft()[1]


Piece = tuple[torch.Tensor, "memoryview | None", Arrival]


class Post:
    """Sends for values on devices, and hands them out as they come."""

    def __init__(self, writer: TraceWriter) -> None:
        self._writer = writer
        self._pinned: Pinned | None = None
        self._pieces: dict[torch.device, list[Piece]] = {}
        self._waiting = 0  # bytes
        self.waits = 0
        """How often the training has waited for a device."""
        writer.tensors.leaving = self.send

    def add(self, source: torch.Tensor, room: memoryview | None, arrival: Arrival) -> None:
        """Send for flat bytes with the next batch; they go into `room`, if there is any."""
        self._pieces.setdefault(source.device, []).append((source, room, arrival))
        self._waiting += len(source)

    def send(self) -> None:
        """Send for what was added."""
        pieces, self._pieces, self._waiting = self._pieces, {}, 0
        for device, batch in pieces.items():
            lane = devices.lane_of(device)
            assert lane is not None
            if self._pinned is None:
                self._pinned = Pinned()
            sources = [source for source, _, _ in batch]
            rooms = [(len(source), room, arrival) for source, room, arrival in batch]
            length = sum(map(len, sources))
            place = self._pinned.take(length)
            while place < 0:
                self.waits += 1
                self._writer.settle_late(1)
                place = self._pinned.take(length)
            with torch.no_grad():
                done = lane.fetch(sources, self._pinned.tensor[place : place + length])
            self._writer.later(self._delivery(done, place, rooms))
            if self._pinned.used > _HURRY:
                self._writer.hurry()

    def certain(self, changes: list[tuple[Slot, int]], learn: bool = False) -> list[tuple[Slot, int]]:
        """Wait for values that may have changed by hand: those that did, and how. `learn`: no event will tell it."""
        late = [slot.arriving and (learn or op != _INIT) for slot, op in changes]
        if not any(late):
            return changes
        self.waits += 1
        self._writer.settle_late()  # with what they were is known how to look at what they are
        looks = [
            self._look(slot, op, learn) if is_late else None for (slot, op), is_late in zip(changes, late, strict=True)
        ]
        self.send()
        self._writer.settle_late()
        found = []
        for (slot, op), look in zip(changes, looks, strict=True):
            if look is not None and look.outcome in (SAME, STILL_ZERO):
                slot.arriving = False
                continue
            zero = look is not None and look.outcome == ZERO and op == Op.CHANGE and slot.kind == "grad"
            found.append((slot, int(Op.ZERO) if zero else op))
        return found

    def _look(self, slot: Slot, op: int, learn: bool) -> Arrival | None:
        """Send for a value that will not be kept."""
        tensor = slot.source() if slot.source is not None else None
        if tensor is None or slot.form is None or not isinstance(slot.content, Known):
            return None
        whole = type(slot.content.content) is not tuple
        sources = [flat(tensor)] if whole else summary(tensor, None, True)
        arrival = Arrival(slot.content, slot.form, sum(map(len, sources)), op, (), whole)
        arrival.learn = learn
        for source in sources:
            for start in range(0, len(source), TENSOR_BLOCK):
                if self._waiting + TENSOR_BLOCK > PINNED // 2:
                    self.send()
                self.add(source[start : start + TENSOR_BLOCK], None, arrival)
        return arrival

    def _delivery(
        self, done: Any, place: int, rooms: list[tuple[int, memoryview | None, Arrival]]
    ) -> Callable[[], None]:
        pinned = self._pinned
        assert pinned is not None

        def deliver() -> None:
            done.synchronize()
            at = place
            for length, room, arrival in rooms:
                part = pinned.view[at : at + length]
                if room is not None:
                    room[:] = part
                arrival.take(part)
                at += length
            pinned.free_first()

        return deliver


def flat(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor's elements as flat bytes, on its device, in row-major order."""
    source = tensor.detach()
    if source.is_conj() or source.is_neg():
        source = source.resolve_conj().resolve_neg()
    return source.contiguous().view(-1).view(torch.uint8)


_nothing: dict[torch.device, torch.Tensor] = {}
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def summary(tensor: torch.Tensor, indices: torch.Tensor | None, complete: bool) -> list[torch.Tensor]:
    """What is kept of a large tensor, as flat bytes on its device: statistics, then the elements at `indices`.

    `complete`: all statistics, else norm and count of non-finite elements, and nan for the others. After these comes
    what is not kept, and by which a change is seen: the sum of all elements' bits, as integers.
    """
    whole = tensor.detach().resolve_conj().resolve_neg().contiguous().view(-1)
    parts = torch.view_as_real(whole).view(-1) if whole.is_complex() else whole
    work = whole.abs() if whole.is_complex() else whole
    if not work.is_floating_point():
        work = work.double()
    elif work.element_size() == 1:  # few operations know these
        work = work.float()
    norm = torch.linalg.vector_norm(work, dtype=torch.float64)
    nonfinite = work.numel() - torch.isfinite(work).sum(dtype=torch.float64)
    if complete:
        low, high = torch.aminmax(work)
        mean = work.sum(dtype=torch.float64) / work.numel()
        zeros = work.numel() - torch.count_nonzero(work)
        found = [norm, mean, low.double(), high.double(), zeros.double(), nonfinite]
    else:
        nothing = _nothing.get(whole.device)
        if nothing is None:
            nothing = _nothing[whole.device] = torch.full((), math.nan, dtype=torch.float64, device=whole.device)
        found = [norm, nothing, nothing, nothing, nothing, nonfinite]
    elements = [] if indices is None else [whole.index_select(0, indices)]
    checksum = parts.view(_INTEGERS[parts.element_size()]).sum(dtype=torch.int64)
    return [flat(part) for part in (torch.stack(found), *elements, checksum)]
