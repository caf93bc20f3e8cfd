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
from optrace.recording.capture import Known, Slot, view_at
from optrace.recording.forms import SMALL, Form
from optrace.recording.summaries import CHECKSUM, Asked, Summaries, Take, elements, flat
from optrace.trace.format import STATISTICS, Op
from optrace.trace.writer import TENSOR_BLOCK, TraceWriter

PINNED = 8 * TENSOR_BLOCK
"""Bytes on their way at most, in pinned memory and, the same again, on the devices. Where there is no more room the
training waits for those sent first."""
_HURRY = PINNED // 4  # bytes on their way that are worth waking the writer for
CHANGED, ZERO, SAME, STILL_ZERO = range(4)  # what a value can turn out to be
_STATISTICS = struct.Struct(f"<{len(STATISTICS)}d")
SUMMARY = _STATISTICS.size + CHECKSUM
"""Bytes of a summary without a sample, and with what is not kept."""
_NORM = STATISTICS.index("norm")
_INIT, _RESTATED = int(Op.INIT), int(Op.RESTATED)


class Arrival:
    """One value on its way."""

    __slots__ = ("_parts", "_state", "_whole", "codes", "form", "known", "learn", "left", "op", "outcome", "rooms")

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
        self.rooms: deque[memoryview] = deque()
        """Where its bytes go; what there is no room for is only looked at."""
        self._whole = whole
        self._parts: list[bytes] = []
        self._state: Any = None

    def take(self, part: memoryview) -> None:
        """The next of its bytes have come."""
        self.left -= part.nbytes
        self._fill(part)
        if not self._whole or self.form.nbytes <= SMALL:
            self._parts.append(part.tobytes())
        else:
            self._state = self._state or xxhash.xxh3_64()
            self._state.update(part)
        if not self.left:
            self._judge()

    def _fill(self, part: memoryview) -> None:
        while part and self.rooms:
            room = self.rooms.popleft()
            count = min(len(room), len(part))
            room[:count] = part[:count]
            part = part[count:]
            if count < len(room):
                self.rooms.appendleft(room[count:])

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
    """Whether two summaries tell of the same content: the same checksum, and a norm that rounding explains."""
    if type(other) is not tuple or one[1] != other[1]:
        return False
    norm, before = one[0][_NORM], other[0][_NORM]
    return norm != norm or norm == before or math.isclose(norm, before, rel_tol=1e-9)


class Pinned:
    """Pinned memory, given out and given back in order."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor
        self.size = tensor.numel()
        self.view = view_at(tensor.data_ptr(), self.size)
        self.used = 0
        self._given: deque[tuple[int, int]] = deque()
        self._next = 0
        self._lock = threading.Lock()

    def take(self, length: int) -> int:
        """Where `length` bytes are free; -1 for nowhere."""
        with self._lock:
            if not self._given:
                self._next = 0
            first = self._given[0][0] if self._given else self.size
            place = self._next
            if self._given and place <= first:
                end = first
            elif place + length <= self.size:
                end = self.size
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


class Post:
    """Sends for values on devices, and hands them out as they come."""

    def __init__(self, writer: TraceWriter) -> None:
        self._writer = writer
        self._pinned: Pinned | None = None
        self._pieces: dict[torch.device, list[tuple[torch.Tensor, int, Take]]] = {}
        self._waiting = 0  # bytes
        self._summaries = Summaries(lambda source, take: self.add(source, source.numel(), take))
        self.waits = 0
        """How often the training has waited for a device."""

    def add(self, source: torch.Tensor, length: int, take: Take) -> None:
        """Send for so many flat bytes with the next batch; `take` is called when they have come."""
        self._pieces.setdefault(source.device, []).append((source, length, take))
        self._waiting += length

    def summarise(self, asked: Asked) -> None:
        """Send for a value's summary with the next batch."""
        self._summaries.add(asked)

    def send(self) -> None:
        """Send for what was added."""
        self._summaries.send()
        pieces, self._pieces, self._waiting = self._pieces, {}, 0
        for device, batch in pieces.items():
            lane = devices.lane_of(device)
            assert lane is not None
            if self._pinned is None:
                self._pinned = Pinned(torch.empty(PINNED, dtype=torch.uint8, device="cpu", pin_memory=True))
            sources = [source for source, _, _ in batch]
            takes = [(length, take) for _, length, take in batch]
            length = sum([length for _, length, _ in batch])
            place = self._pinned.take(length)
            while place < 0:
                self.waits += 1
                self._writer.settle_late(1)
                place = self._pinned.take(length)
            done = lane.fetch(sources, self._pinned.tensor[place : place + length])
            self._writer.later(self._delivery(done, place, takes))
            if self._pinned.used > _HURRY:
                self._writer.hurry()

    def certain(self, changes: list[tuple[Slot, int]], learn: bool = False) -> list[tuple[Slot, int]]:
        """Wait for values that may have changed by hand: those that did, and how. `learn`: no event will tell it."""
        if not any(slot.arriving and (learn or op != _INIT) for slot, op in changes):
            return changes
        self.waits += 1
        self._writer.settle_late()  # with what they were is known how to look at what they are
        looks = self.look(changes, learn)
        self._writer.settle_late()
        found = []
        for (slot, op), look in zip(changes, looks, strict=True):
            if look is not None and look.outcome in (SAME, STILL_ZERO):
                slot.arriving = False
                continue
            zero = look is not None and look.outcome == ZERO and op == Op.CHANGE and slot.kind == "grad"
            found.append((slot, int(Op.ZERO) if zero else op))
        return found

    def look(self, changes: list[tuple[Slot, int]], learn: bool = True) -> list[Arrival | None]:
        """Send for values that are not kept. `learn`: what they are counts as known, for no event will tell it."""
        late = [slot.arriving and (learn or op != _INIT) for slot, op in changes]
        looks = [
            self._look(slot, op, learn) if is_late else None for (slot, op), is_late in zip(changes, late, strict=True)
        ]
        self.send()
        return looks

    def _look(self, slot: Slot, op: int, learn: bool) -> Arrival | None:
        """Send for a value that will not be kept."""
        tensor = slot.source() if slot.source is not None else None
        if tensor is None or slot.form is None or not isinstance(slot.content, Known):
            return None
        whole = type(slot.content.content) is not tuple
        arrival = Arrival(slot.content, slot.form, slot.form.nbytes if whole else SUMMARY, op, (), whole)
        arrival.learn = learn
        if not whole:
            self.summarise(Asked(elements(tensor), None, True, slot.parameter, arrival.take))
            return arrival
        source = flat(tensor)
        for start in range(0, slot.form.nbytes, TENSOR_BLOCK):
            if self._waiting + TENSOR_BLOCK > PINNED // 2:
                self.send()
            part = source[start : start + TENSOR_BLOCK]
            self.add(part, part.numel(), arrival.take)
        return arrival

    def _delivery(self, done: Any, place: int, takes: list[tuple[int, Take]]) -> Callable[[], None]:
        pinned = self._pinned
        assert pinned is not None

        def deliver() -> None:
            done.synchronize()
            at = place
            for length, take in takes:
                take(pinned.view[at : at + length])
                at += length
            pinned.free_first()

        return deliver
