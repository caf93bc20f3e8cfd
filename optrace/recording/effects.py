"""What events changed, interned: most events of a run change the same values in the same way as others did.

A *code* is one change of one value, stored in one way; an *effect* is the codes of one event, and has a number in the
index.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import count
from typing import Any, NamedTuple

from optrace.recording.arriving import Arrival
from optrace.recording.capture import Slot
from optrace.recording.forms import Form
from optrace.trace.format import ALIGNMENT, STATISTICS, Op, Storage
from optrace.trace.writer import TraceWriter

HEAD = len(STATISTICS) * 8
"""Bytes of a sampled value's statistics."""
_SAME, _SAMPLE = int(Storage.SAME), int(Storage.SAMPLE)
_SKIP = 15  # no change at all, though there is room for one
_STATISTICS_ALONE = 1 << 16
_MANY = 1000

Entries = dict[int, tuple[Slot, Form | None, int, int, bool, int, int]]
"""What happened to which value, and how it is stored, by code."""


class Awaited(NamedTuple):
    """An effect that is not known before everything has come."""

    event: int
    codes: tuple[int, ...]
    arrivals: list[tuple[int, Arrival]]
    """Which of the codes they decide."""
    entries: Entries
    """What codes stood for then."""


class Effects:
    """All codes and effects of one recording."""

    def __init__(self, writer: TraceWriter) -> None:
        self._writer = writer
        self._entries: Entries = {}
        self._next_code = count()
        self._skips: dict[int, int] = {}  # by their room
        self._known: dict[tuple[int, ...], int] = {}
        self._late: dict[tuple[int, ...], int] = {}
        self._numbers = count()

    def code(
        self, slot: Slot, form: Form | None, op: int, storage: int, before: bool, length: int, room: int = 0
    ) -> int:
        """The number of one change, stored in one way; `room`: of more bytes than it needs."""
        known = slot.absent if form is None else slot.codes
        key = room << 17 | op << 4 | storage << 1 | before
        if storage == _SAMPLE and length == HEAD:
            key |= _STATISTICS_ALONE  # there may be codes of samples with elements, which are longer
        code = known.get(key)
        if code is None:
            code = known[key] = next(self._next_code)
            self._entries[code] = (slot, form, op, storage, before, length, room or length)
        return code

    def skip(self, slot: Slot, room: int) -> int:
        """The number of no change, with room for one."""
        code = self._skips.get(room)
        if code is None:
            code = self._skips[room] = self.code(slot, None, _SKIP, _SAME, False, 0, room)
        return code

    def known(self, codes: tuple[int, ...], event: int) -> int:
        """The id of the effect that these changes together are; `event` is the first to have it, if it is new."""
        known = self._known.get(codes)
        if known is None:
            known = self._known[codes] = self.number()
            entries = json.dumps(_describe(codes, self._entries), separators=(",", ":"))
            self._writer.row("INSERT INTO effect VALUES (?, ?, ?)", known, event, entries)
        return known

    def awaited(self, codes: tuple[int, ...], event: int, arrivals: list[tuple[int, Arrival]]) -> Awaited:
        """What is known so far of an effect."""
        return Awaited(event, codes, arrivals, self._entries)

    def arrived(self, awaited: Awaited) -> int:
        """The id of an effect, now that everything has come: in this order, on whichever thread."""
        codes = list(awaited.codes)
        for place, arrival in awaited.arrivals:
            codes[place] = arrival.codes[arrival.outcome]
        key = tuple(codes)
        known = self._late.get(key)
        if known is None:
            described = _describe(key, awaited.entries)
            known = next(self._numbers) if described else -1
            self._late[key] = known
            if described:
                entries = json.dumps(described, separators=(",", ":"))
                self._writer.late_row("INSERT INTO effect VALUES (?, ?, ?)", known, awaited.event, entries)
        return known

    def number(self) -> int:
        """An effect's id that no other has."""
        return next(self._numbers)

    def later(self) -> set[int]:
        """The effects that later events may have, beside new ones; where they are many, none."""
        if len(self._known) + len(self._late) > _MANY:
            self._known.clear()
            self._late = {}
        return {*self._known.values(), *self._late.values()}

    def mentioned(self, codes: Iterable[int]) -> set[Slot]:
        """The values that these changes are of."""
        return {self._entries[code][0] for code in codes}

    def forget(self, gone: set[Slot]) -> None:
        """No event changes these values any more."""
        dead = {code for code, entry in self._entries.items() if entry[0] in gone}
        self._entries = {code: entry for code, entry in self._entries.items() if code not in dead}
        self._known = {codes: known for codes, known in self._known.items() if dead.isdisjoint(codes)}
        self._late = {}
        self._skips = {room: code for room, code in self._skips.items() if code not in dead}


def _describe(codes: tuple[int, ...], entries: Entries) -> list[list[Any]]:
    """The entries as the index holds them; offsets follow from lengths and alignment."""
    described = []
    offset = 0
    for code in codes:
        slot, form, op, storage, before, length, room = entries[code]
        if room:
            offset += -offset % ALIGNMENT
        dtype, shape = (form.text, form.shape) if form is not None else ("", ())
        whose = [slot.parameter, slot.kind, slot.optimizer]
        if op != _SKIP:
            described.append([*whose, op, storage, int(before), dtype, list(shape), offset, length])
        offset += room
    return described


assert max(Op) < _SKIP
