"""The two files of bytes: events and tensors, checked against their checksums before use."""

from __future__ import annotations

import mmap
import os
from bisect import bisect_right
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from optrace.errors import DamagedError, TraceError
from optrace.trace.format import EVENTS_FILE, RECORD, RECORD_FIELDS, TENSORS_FILE
from optrace.trace.index import Index

RECORD_DTYPE = np.dtype(RECORD_FIELDS)
assert RECORD_DTYPE.itemsize == RECORD.size
_MASK = (1 << 64) - 1
_BLOCK = 16_384
"""Records read at a time: their bytes fit into a processor's cache."""


class _Checked:
    """A file of which every named segment has a checksum."""

    def __init__(self, folder: Path, name: str, index: Index) -> None:
        self._path = folder / name
        self._name = name
        self._index = index
        self._starts: list[int] = []
        self._segments: list[tuple[int, int, int]] = []  # offset, length, digest
        self._sound: set[int] = set()
        self._map: mmap.mmap | None = None
        try:
            self._fd = os.open(self._path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise TraceError(f"cannot read {self._path}: {error.strerror}") from error

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._map = None  # arrays handed out may still look into it

    @property
    def length(self) -> int:
        """Bytes that the index names, all of them whole."""
        if not self._segments:
            return 0
        offset, length, _ = self._segments[-1]
        return offset + length

    def update(self) -> None:
        """Learn of segments committed since."""
        rows = self._index.rows(
            "SELECT offset, length, digest FROM segment WHERE file = ? AND offset >= ? ORDER BY offset",
            (self._name, self.length),
        )
        for row in rows:
            if not all(isinstance(number, int) for number in row) or row[0] != self.length or row[1] <= 0:
                raise DamagedError(f"{self._path} is damaged: its segments do not follow one another")
            self._starts.append(row[0])
            self._segments.append(row)
        if rows:
            self._remap()

    def _remap(self) -> None:
        size = os.fstat(self._fd).st_size
        if size < self.length:
            raise DamagedError(f"{self._path} is damaged: it ends at byte {size}, the index says {self.length}")
        try:
            self._map = mmap.mmap(self._fd, size, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise TraceError(f"cannot read {self._path}: {error}") from error

    def view(self, offset: int, length: int) -> memoryview:
        """Bytes, after every segment they lie in was checked."""
        if offset < 0 or length < 0 or offset + length > self.length:
            raise DamagedError(f"{self._path} is damaged: {length} bytes at {offset} are not in it")
        if length == 0 or self._map is None:
            return memoryview(b"")
        place = bisect_right(self._starts, offset) - 1
        while place < len(self._segments) and self._segments[place][0] < offset + length:
            if place not in self._sound:
                self._check(place)
            place += 1
        return memoryview(self._map)[offset : offset + length]

    def _check(self, place: int) -> None:
        offset, length, digest = self._segments[place]
        assert self._map is not None
        if offset + length > os.fstat(self._fd).st_size:  # reading past the end of a map would kill us
            raise DamagedError(f"{self._path} is damaged: it was cut off at byte {os.fstat(self._fd).st_size}")
        with memoryview(self._map)[offset : offset + length] as piece:
            if xxhash.xxh3_64_intdigest(piece) != digest & _MASK:
                raise DamagedError(f"{self._path} is damaged: bytes {offset} to {offset + length} fail their checksum")
        self._sound.add(place)
        self._let_go(offset, length)

    def _let_go(self, offset: int, length: int) -> None:
        """Take pages out of this process's memory; the system keeps them, and brings them back when read."""
        if self._map is not None and hasattr(self._map, "madvise"):
            first = offset // mmap.PAGESIZE * mmap.PAGESIZE
            self._map.madvise(mmap.MADV_DONTNEED, first, offset + length - first)


class Tensors(_Checked):
    """The tensors' bytes."""

    def __init__(self, folder: Path, index: Index) -> None:
        super().__init__(folder, TENSORS_FILE, index)

    def read(self, offset: int, length: int) -> bytes:
        if offset + length > self.length:
            self.update()
        return bytes(self.view(offset, length))


class Events(_Checked):
    """The event records."""

    def __init__(self, folder: Path, index: Index) -> None:
        super().__init__(folder, EVENTS_FILE, index)
        self._records: np.ndarray[Any, Any] = np.empty(0, RECORD_DTYPE)
        self._columns: dict[str, np.ndarray[Any, Any]] = {}

    def __len__(self) -> int:
        return len(self._records)

    @property
    def records(self) -> np.ndarray[Any, Any]:
        """All records. Raises `DamagedError` where the file was cut off: reading past its end would kill us."""
        if self._fd >= 0 and os.fstat(self._fd).st_size < self.length:
            raise DamagedError(f"{self._path} is damaged: it was cut off while it was open")
        return self._records

    def refresh(self) -> int:
        """Take in committed records; how many there are now."""
        self.update()
        if self.length % RECORD.size:
            raise DamagedError(f"{self._path} is damaged: it ends inside a record")
        count = self.length // RECORD.size
        if count != len(self):
            self._records = np.frombuffer(self.view(0, self.length), RECORD_DTYPE)
            self._columns.clear()
        return count

    def column(self, name: str) -> np.ndarray[Any, Any]:
        """One field of all records, contiguous."""
        if name not in self._columns:
            self.take(name)
        return self._columns[name]

    def take(self, *names: str) -> None:
        """Read these fields in one pass over the file, and let go of its pages: the columns are what is used."""
        missing = [name for name in names if name not in self._columns]
        records = self.records
        found = {name: np.empty(len(records), records.dtype[name]) for name in missing}
        for start in range(0, len(records) if missing else 0, _BLOCK):
            block = records[start : start + _BLOCK]
            for name, column in found.items():
                column[start : start + _BLOCK] = block[name]
            self.let_go(start, start + len(block))
        self._columns |= found

    def let_go(self, first: int, stop: int) -> None:
        """Take records out of this process's memory, until they are read again."""
        self._let_go(first * RECORD.size, (stop - first) * RECORD.size)
