"""The files of bytes: events and tensors, checked against their checksums before use."""

from __future__ import annotations

import mmap
import os
import weakref
from bisect import bisect_right
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from optrace.errors import DamagedError, TraceError
from optrace.trace.format import BYTES_FILE, EVENTS_FILE, RECORD, RECORD_FIELDS, TENSORS_FILE, TENSORS_RANGE
from optrace.trace.index import Index

RECORD_DTYPE = np.dtype(RECORD_FIELDS)
assert RECORD_DTYPE.itemsize == RECORD.size
_MASK = (1 << 64) - 1
_BLOCK = 16_384
"""Records read at a time: their bytes fit into a processor's cache."""


class _File:
    """One file, mapped. Its first byte stands at `start` among the bytes of all files of its kind."""

    def __init__(self, path: Path, start: int) -> None:
        self.path = path
        self.start = start
        self._map: mmap.mmap | None = None
        try:
            self._fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise TraceError(f"cannot read {path}: {error.strerror}") from error
        self._closing = weakref.finalize(self, os.close, self._fd)  # a trace need not be closed by who loads it

    def close(self) -> None:
        self._closing()
        self._fd = -1
        self._map = None  # arrays handed out may still look into it

    @property
    def open(self) -> bool:
        return self._fd >= 0

    @property
    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def remap(self, length: int) -> None:
        """Map what is there by now, which is at least `length` bytes."""
        size = self.size
        if size < length:
            raise DamagedError(f"{self.path} is damaged: it ends at byte {size}, the index says {length}")
        try:
            self._map = mmap.mmap(self._fd, size, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise TraceError(f"cannot read {self.path}: {error}") from error

    def piece(self, offset: int, length: int) -> memoryview:
        """Bytes, by their offset among those of all files."""
        place = offset - self.start
        if self._map is None or place < 0 or place + length > len(self._map):
            raise DamagedError(f"{self.path} is damaged: {length} bytes at {offset} are not in it")
        return memoryview(self._map)[place : place + length]

    def read(self, offset: int, length: int) -> bytes:
        """A copy, by way of the system's own: to map what is read once takes longer than to copy it."""
        if self._map is None or not hasattr(os, "pread"):
            return bytes(self.piece(offset, length))
        found = os.pread(self._fd, length, offset - self.start)
        if len(found) < length:
            raise DamagedError(f"{self.path} is damaged: it was cut off at byte {self.size}")
        return found

    def let_go(self, offset: int, length: int) -> None:
        """Take pages out of this process's memory; the system keeps them, and brings them back when read."""
        if self._map is not None and hasattr(self._map, "madvise"):
            place = offset - self.start
            first = place // mmap.PAGESIZE * mmap.PAGESIZE
            self._map.madvise(mmap.MADV_DONTNEED, first, place + length - first)


class _Checked:
    """Bytes in one file or several, of which every named segment has a checksum."""

    def __init__(self, folder: Path, index: Index) -> None:
        self._folder = folder
        self._index = index
        self._files: list[_File] = []
        self._starts: list[int] = []
        self._segments: list[tuple[int, int, int, _File]] = []  # offset, length, digest, where
        self._sound: set[int] = set()

    def close(self) -> None:
        for file in self._files:
            file.close()

    @property
    def length(self) -> int:
        """Where the bytes end that the index names, all of them whole."""
        if not self._segments:
            return 0
        offset, length, *_ = self._segments[-1]
        return offset + length

    def _rows(self) -> list[tuple[Any, ...]]:
        """Segments committed since: file, offset, length, digest; in the order of their offsets."""
        raise NotImplementedError

    def update(self) -> None:
        """Learn of segments committed since."""
        grown: dict[_File, int] = {}  # and their lengths
        end, last = self.length, ""
        for name, offset, length, digest in self._rows():
            if not (type(offset) is type(length) is type(digest) is int and type(name) is str):
                raise DamagedError(f"{self._folder} is damaged: its segments cannot be read")
            if name != last:
                file, last = self._file(name, offset), name
            if length <= 0 or offset < 0 or offset != (end if self._segments else file.start):
                raise DamagedError(f"{file.path} is damaged: its segments do not follow one another")
            self._starts.append(offset)
            self._segments.append((offset, length, digest, file))
            end = offset + length
            grown[file] = end - file.start
        for file, whole in grown.items():
            file.remap(whole)

    def _file(self, name: str, offset: int) -> _File:
        """The file of the segment that begins at `offset`: the last one known, or the one that begins there."""
        if not self._files or self._files[-1].path.name != name:
            if not BYTES_FILE.fullmatch(name):
                raise DamagedError(f"{self._folder} is damaged: it names a file that no recording writes")
            self._files.append(_File(self._folder / name, offset))
        return self._files[-1]

    def view(self, offset: int, length: int) -> memoryview:
        """Bytes of one file, after every segment they lie in was checked."""
        file = self._sound_file(offset, length)
        return file.piece(offset, length) if file is not None else memoryview(b"")

    def _sound_file(self, offset: int, length: int) -> _File | None:
        """The file that some bytes lie in, after every segment they lie in was checked; None for no bytes."""
        if offset < 0 or length < 0 or offset + length > self.length:
            raise DamagedError(f"{self._folder} is damaged: {length} bytes at {offset} are not in it")
        if length == 0:
            return None
        first = place = bisect_right(self._starts, offset) - 1
        if place < 0:
            raise DamagedError(f"{self._folder} is damaged: {length} bytes at {offset} are not in it")
        while place < len(self._segments) and self._segments[place][0] < offset + length:
            place = place + 1 if place in self._sound else self._check(place, offset + length)
        return self._segments[first][3]

    def _check(self, place: int, until: int) -> int:
        """Check a segment, and with it those after it that begin before `until`; where to go on.

        They are small, and there are thousands: what does not fit into a processor's cache is read in several goes.
        """
        begin, _, _, file = self._segments[place]
        stop = place + 1
        while stop < len(self._segments):
            offset, length, _, where = self._segments[stop]
            if offset >= until or where is not file or offset + length - begin > _BLOCK * RECORD.size:
                break
            stop += 1
        last, length, _, _ = self._segments[stop - 1]
        data = memoryview(file.read(begin, last + length - begin))
        for offset, length, digest, _ in self._segments[place:stop]:
            if xxhash.xxh3_64_intdigest(data[offset - begin : offset - begin + length]) != digest & _MASK:
                first = offset - file.start
                raise DamagedError(f"{file.path} is damaged: bytes {first} to {first + length} fail their checksum")
        self._sound.update(range(place, stop))
        return stop


class Tensors(_Checked):
    """The tensors' bytes."""

    def __init__(self, folder: Path, index: Index, several: bool = False) -> None:
        """`several`: they lie in a file for each chunk of iterations."""
        super().__init__(folder, index)
        self._several = several
        if not several:
            self._files.append(_File(folder / TENSORS_FILE, 0))

    def _rows(self) -> list[tuple[Any, ...]]:
        if self._several:
            query = "SELECT * FROM segment WHERE file > ? AND file < ? AND offset >= ? ORDER BY offset"
            return self._index.rows(query, (*TENSORS_RANGE, self.length))
        query = "SELECT * FROM segment WHERE file = ? AND offset >= ? ORDER BY offset"
        return self._index.rows(query, (TENSORS_FILE, self.length))

    def read(self, offset: int, length: int) -> bytes:
        if offset + length > self.length:
            self.update()
        file = self._sound_file(offset, length)
        # Not from the map: of a file that was cut off since, that would be the end of this process.
        return file.read(offset, length) if file is not None else b""


class Events(_Checked):
    """The event records."""

    def __init__(self, folder: Path, index: Index, name: str = EVENTS_FILE) -> None:
        super().__init__(folder, index)
        self.name = name
        self._files.append(_File(folder / name, 0))
        self._records: np.ndarray[Any, Any] = np.empty(0, RECORD_DTYPE)
        self._columns: dict[str, np.ndarray[Any, Any]] = {}

    def _rows(self) -> list[tuple[Any, ...]]:
        query = "SELECT * FROM segment WHERE file = ? AND offset >= ? ORDER BY offset"
        return self._index.rows(query, (self.name, self.length))

    def __len__(self) -> int:
        return len(self._records)

    @property
    def records(self) -> np.ndarray[Any, Any]:
        """All records. Raises `DamagedError` where the file was cut off: reading past its end would kill us."""
        file = self._files[0]
        if file.open and file.size < self.length:
            raise DamagedError(f"{file.path} is damaged: it was cut off while it was open")
        return self._records

    def refresh(self) -> int:
        """Take in committed records; how many there are now."""
        self.update()
        if self.length % RECORD.size:
            raise DamagedError(f"{self._files[0].path} is damaged: it ends inside a record")
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
        count, file = len(self.records), self._files[0]
        found = {name: np.empty(count, RECORD_DTYPE[name]) for name in missing}
        for start in range(0, count if missing else 0, _BLOCK):
            size = min(_BLOCK, count - start)
            block = np.frombuffer(file.read(start * RECORD.size, size * RECORD.size), RECORD_DTYPE)
            for name, column in found.items():
                column[start : start + size] = block[name]
        self._columns |= found

    def let_go(self, first: int, stop: int) -> None:
        """Take records out of this process's memory, until they are read again."""
        self._files[0].let_go(first * RECORD.size, (stop - first) * RECORD.size)
