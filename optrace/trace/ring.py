"""Letting go of the oldest iterations: what is on disk stays an ordinary trace that begins with a gap.

The run is cut into chunks of iterations. Each begins with every value stored once more, in a file of tensors of its
own. When the first chunk is not needed any more, a new file of events is written: the gap, then what is kept. In the
first event that is kept, values stored once more become values seen anew, as after any other gap. All that the index
has to say about it is committed at once, and the old files are removed after that. So whatever the moment of a
`kill -9`, the index names files that are whole: the old ones or the new ones.

Events keep their number in the whole run in the index: the ring says which number the file's first one has.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import struct
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optrace.trace.format import (
    EFFECT,
    EFFECT_AT,
    EVENTS_FILE,
    KIND_CODES,
    RECORD,
    RING,
    RING_VERSION,
    TENSORS_RANGE,
    Flag,
    Op,
    Storage,
    events_file,
    tensors_file,
)
from optrace.trace.pieces import PIECE, Segment, checksum, write_all

ALL = (1 << 63) - 1  # more events than any run has
SEEN = struct.Struct("<q")  # how many events the live check has looked at, as it tells
FOUND = -1  # what it tells instead once it has found an error
LOOK_NOW = b"!"  # what it is told when the recording ends
Value = tuple[int, str, int]
"""Parameter, kind, optimizer (-1 for none)."""
_EFFECT = 11  # place among a record's fields
_RESTATED, _INIT, _GONE, _LOST = int(Op.RESTATED), int(Op.INIT), int(Op.GONE), int(Op.LOST)
_SAME = int(Storage.SAME)
_NAN = float("nan")


@dataclass(frozen=True)
class Needed:
    """Rows of a table that events from a chunk on may refer to: some of those made before it, and all made later."""

    numbers: frozenset[int]
    made: int
    """How many had been made before."""

    def __contains__(self, number: int) -> bool:
        return number >= self.made or number in self.numbers

    def and_also(self, numbers: Iterable[int]) -> Needed:
        return Needed(self.numbers.union(numbers), self.made)


@dataclass(frozen=True)
class Chunk:
    """Some iterations of the run, from the first event that holds all values to before the next chunk's."""

    number: int
    event: int
    """Its first event's number in the whole run."""
    iteration: int
    index: int
    file: int
    """Where its file of tensors begins, among all tensors."""
    offset: int
    """Where its first event's bytes begin."""
    own: tuple[int, int]
    """Ids kept free for the effects of the gap before it and of its first event after that."""
    held: tuple[Value, ...]
    """All values known then."""
    absent: tuple[Value, ...]
    """Those of them that were not there."""
    needed: Mapping[str, Needed]
    """By table."""


FIRST = Chunk(0, 0, 0, 0, 0, 0, (-1, -1), (), (), {})


class Ring:
    """The chunks on disk. Used by the writer thread alone, once it runs."""

    def __init__(self, folder: Path, index: sqlite3.Connection, last: int) -> None:
        self.last = last
        """How many iterations were asked for."""
        self.released = 0
        """Bytes that have been let go."""
        self.short = False
        """The last time, iterations were let go for want of room."""
        self.iteration = 0
        """The first iteration that is kept."""
        self.seen = ALL
        """Events of the run that the live check has looked at: an error in later ones may be found yet."""
        self._folder = folder
        self._index = index
        self._chunks = [FIRST]
        self._file = 0
        self.base = 0
        """The number in the whole run of the first event in the file."""
        self._missing = 0  # events that the trace does not hold, up to where it begins
        index.execute(f"PRAGMA user_version = {RING_VERSION}")
        index.execute("INSERT INTO meta VALUES (?, ?)", (RING, self._facts(EVENTS_FILE, 0)))

    @property
    def first(self) -> Chunk:
        """The chunk that the trace begins with."""
        return self._chunks[0]

    @property
    def may_let_go(self) -> bool:
        """Whether it holds more than the chunk that is being written."""
        return len(self._chunks) > 1

    def add(self, chunks: list[Chunk]) -> None:
        """Chunks that have begun."""
        self._chunks += chunks

    def needless(self, crowded: int) -> Chunk | None:
        """The chunk that the trace could begin with; None where all are needed.

        Up to where errors were looked for: what leads to one that is found later must still be there then.
        `crowded`: for want of room so many bytes go in any case, the oldest.
        """
        newest = [self._chunks[0], *(c for c in self._chunks if c.event <= self.seen)][-1]
        fitting = [c for c in self._chunks[1:] if newest.iteration - c.iteration >= self.last]
        if fitting:
            self.short = False
            return fitting[-1]
        if crowded and len(self._chunks) > 1:
            oldest, *others = self._chunks
            enough = (c for c in others if c.file - oldest.file + (c.event - self.base) * RECORD.size >= crowded)
            first = next(enough, others[-1])
            self.short = others[-1].iteration - first.iteration < self.last
            return first
        return None

    def let_go(self, first: Chunk, events: int) -> tuple[int, str, list[Segment]]:
        """Begin the trace with this chunk; `events` is how many events of the run are on disk.

        The new file of events, open for appending, its name, and its segments, which are committed.
        """
        old = self._folder / events_file(self._file)
        name = events_file(self._file + 1)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_BINARY", 0)
        target = os.open(self._folder / name, flags, 0o644)
        try:
            segments, missing = self._commit(first, old, target, name, events)
        except BaseException:
            os.close(target)
            with contextlib.suppress(OSError):
                os.unlink(self._folder / name)
            raise
        gone = [old]
        while self._chunks[0] is not first:
            gone.append(self._folder / tensors_file(self._chunks.pop(0).number))
        for path in gone:
            with contextlib.suppress(OSError):
                self.released += path.stat().st_size
                os.unlink(path)
        self.released -= sum(segment[2] for segment in segments)
        self._file, self.base, self._missing = self._file + 1, first.event - 1, missing
        self.iteration = first.iteration
        return target, name, segments

    def _commit(self, first: Chunk, old: Path, target: int, name: str, events: int) -> tuple[list[Segment], int]:
        execute = self._index.execute
        with open(old, "rb") as source:
            at_begin = source.read((first.event - self.base) * RECORD.size)
            kept_first = source.read(RECORD.size)
            missing = self._count_missing(at_begin, first)
            fields = RECORD.unpack(kept_first)
            entries = self._seen_anew(fields[_EFFECT], first)
            segments: list[Segment] = []
            head = self._gap(at_begin[-RECORD.size :], fields[3], first)
            head += kept_first[:EFFECT_AT] + EFFECT.pack(first.own[1]) + kept_first[EFFECT_AT + EFFECT.size :]
            left = (events - first.event - 1) * RECORD.size
            offset = 0
            while head or left:
                piece = head + source.read(min(left, PIECE - len(head)))
                left -= len(piece) - len(head)
                head = b""
                write_all(target, piece)
                segments.append((name, offset, len(piece), checksum(piece)))
                offset += len(piece)
        execute("BEGIN")
        try:
            self._delete(first, old.name)
            self._index.executemany("INSERT INTO segment VALUES (?, ?, ?, ?)", segments)
            lost = [[*value, _LOST, _SAME, 0, "", [], 0, 0] for value in first.held]
            rows = [(first.own[0], first.event - 1, lost), (first.own[1], first.event, entries)]
            for number, event, value in rows:
                execute("INSERT INTO effect VALUES (?, ?, ?)", (number, event, _json(value)))
            detail = {
                "last": first.iteration - (first.index == 0),
                "events": missing,
                "reason": "let go, for there is no room for more in the budget"
                if self.short
                else f"let go, for the last {self.last:,} were asked for",
            }
            execute("INSERT INTO detail VALUES (?, ?)", (first.event - 1, _json(detail)))
            execute("UPDATE meta SET value = ? WHERE key = ?", (self._facts(name, first.event - 1), RING))
            execute("COMMIT")
        except BaseException:
            if self._index.in_transaction:
                execute("ROLLBACK")
            raise
        return segments, missing

    def _count_missing(self, records: bytes, first: Chunk) -> int:
        """Events of the run that the trace will not hold: those let go, and those that gaps among them stand for."""
        gap = KIND_CODES["gap"]
        count = self._missing
        for place, number in enumerate(range(self.base, first.event)):
            if records[place * RECORD.size] != gap:
                count += 1
            elif place or not self._missing:  # the ring's own gap has been counted
                rows = self._index.execute("SELECT value FROM detail WHERE event = ?", (number,)).fetchall()
                count += int(json.loads(rows[0][0])["events"])
        return count

    def _seen_anew(self, effect: int, first: Chunk) -> list[list[Any]]:
        """What the first event changed, as it is said after a gap: every value is there for the first time, or gone."""
        rows = self._index.execute("SELECT entries FROM effect WHERE id = ?", (effect,)).fetchall()
        entries: list[list[Any]] = json.loads(rows[0][0]) if rows else []
        places = {(e[0], e[1]): place for place, e in enumerate(entries) if e[3] == _RESTATED and e[5]}
        found = []
        for place, entry in enumerate(entries):
            restated = places.get((entry[0], entry[1]), -1)
            if place == restated:
                found.append([*entry[:3], _INIT, *entry[4:]])
            elif place > restated:
                found.append(entry)
        after = next((place for place, entry in enumerate(found) if not entry[5]), len(found))
        found[after:after] = [[*value, _GONE, _SAME, 1, "", [], 0, 0] for value in first.absent]
        return found

    def _gap(self, last: bytes, thread: int, first: Chunk) -> bytes:
        """The event that stands for everything before the chunk."""
        time = RECORD.unpack(last)[6]
        flags = int(Flag.DETAIL | Flag.EXACT)
        fields = [KIND_CODES["gap"], 0, flags, thread, 0, 0, time, time * 1e-9, -1, -1, -1, first.own[0]]
        return RECORD.pack(*fields, first.offset, _NAN, 0)

    def _delete(self, first: Chunk, events: str) -> None:
        """Rows that nothing refers to any more."""
        execute = self._index.execute
        execute("DELETE FROM segment WHERE file = ?", (events,))
        execute(
            "DELETE FROM segment WHERE file > ? AND file < ? AND offset < ?",
            (*TENSORS_RANGE, first.file),
        )
        execute("DELETE FROM detail WHERE event < ?", (first.event,))
        for table in ("effect", "parameter", "optimizer", "groups", "members"):
            self._delete_needless(table, first.needed[table])
        for table in ("placement", "sample"):
            numbers = execute(f"SELECT DISTINCT parameter FROM {table}").fetchall()
            gone = [row for row in numbers if row[0] not in first.needed["parameter"]]
            self._index.executemany(f"DELETE FROM {table} WHERE parameter = ?", gone)
        self._delete_names(first)
        self._delete_sites(first.needed["stack"])

    def _delete_needless(self, table: str, needed: Needed | Container[int]) -> None:
        """Rows whose number nothing refers to any more."""
        rows = self._index.execute(f"SELECT id FROM {table}").fetchall()
        self._index.executemany(f"DELETE FROM {table} WHERE id = ?", [row for row in rows if row[0] not in needed])

    def _delete_names(self, first: Chunk) -> None:
        """Names of parameters that are not there, and those that another has taken the place of before this chunk.

        A model that is gone keeps its names for a parameter until another model has named that.
        """
        parameters, models = first.needed["parameter"], first.needed["model"]
        rows = self._index.execute("SELECT id, parameter, name, model, event FROM binding ORDER BY id").fetchall()
        rows = [row for row in rows if row[1] in parameters]
        newest = {row[1:4]: row[0] for row in rows}
        model_of = {row[1]: row[3] for row in rows}
        kept = {
            number: model
            for number, parameter, name, model, event in rows
            if (model in models or model_of[parameter] == model)
            and (event >= first.event or newest[parameter, name, model] == number)
        }
        self._delete_needless("binding", kept)
        self._delete_needless("model", models.and_also(kept.values()))

    def _delete_sites(self, stacks: Needed) -> None:
        """Chains of calls that nothing kept came from, and their lines."""
        execute = self._index.execute
        makers = execute("SELECT stack FROM model UNION SELECT stack FROM optimizer").fetchall()
        self._delete_needless("stack", stacks.and_also(number for (number,) in makers))
        chains = execute("SELECT sites FROM stack").fetchall()
        self._delete_needless("site", {site for (sites,) in chains for site in json.loads(sites)})

    def _facts(self, events: str, base: int) -> str:
        return _json({"last": self.last, "events": events, "base": base})


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
