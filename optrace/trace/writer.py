"""Writing a trace: the training thread appends, one writer thread puts it on disk.

The training thread copies bytes into preallocated blocks and returns; it waits only when all
blocks are full, so memory stays bounded and a slow disk slows training instead of eating RAM.
The writer wakes every 50 ms (or 16 MB), writes the bytes, and then commits the rows that name
them. This module imports neither NumPy nor torch: loading them here could change how the user's
own program sets them up.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from optrace.trace.forks import in_sqlite
from optrace.trace.format import EVENTS_FILE, INDEX_FILE, RECORD, SCHEMA, TENSORS_FILE
from optrace.trace.pieces import Segment
from optrace.trace.ring import Chunk, Ring
from optrace.trace.seal import seal
from optrace.trace.stream import FAR_FUTURE, WAKE_BLOCKS, Block, Stream

COMMIT_SECONDS = 0.05
TENSOR_BLOCK, TENSOR_BLOCKS = 4 << 20, 16  # 64 MiB between the training and the disk
EVENT_BLOCK, EVENT_BLOCKS = RECORD.size * 4096, 16
MOST_ROWS = 20_000  # rows of the index between the training and the disk
ROW_BYTES = 48  # what a row takes beside its texts, its indexes included
PAGE, LOG_SHARE = 4096, 100  # the log may grow to a hundredth of the budget before it is worked in
COMMIT_PAGES = 24  # pages that one commit may add to it at most, as a rule
LOSS = struct.Struct("<d")
LOSS_AT = RECORD.size - 12  # the loss's place in a record


def _weight(value: Any) -> int:
    """Roughly how many bytes a value takes as JSON."""
    kind = value.__class__
    if kind is str:
        return len(value) + 4
    if kind is dict:
        return sum(len(key) + 4 + _weight(item) for key, item in value.items())
    if kind is list or kind is tuple:
        return len(value) * 8 if not value or value[0].__class__ in (int, float) else sum(map(_weight, value))
    return 20


def _number(value: Any) -> Any:
    """What JSON does not know: a tensor of one element is its number, anything else its text."""
    item = getattr(value, "item", None)
    return item() if item is not None else repr(value)


class TraceWriter:
    """The files of one trace being recorded.

    Everything that adds to it holds `lock`; whatever is complete when the lock is free is
    committed together. `row` queues a row of the index.
    """

    def __init__(
        self, folder: Path, on_failure: Callable[[BaseException], None], budget: int = 0, last: int | None = None
    ) -> None:
        self.folder = folder
        self.row_bytes = 0
        """What all rows queued so far come to in the index, roughly."""
        self.free = 1 << 62
        """Bytes free on the disk when last looked at."""
        self._counted = 0  # of the row bytes, those that the index's measured size has in it
        self._index_bytes = 0
        self.lock = threading.RLock()
        self.failed = False
        self.rows: list[tuple[str, tuple[Any, ...]]] = []
        self._on_failure = on_failure
        self._wake = threading.Event()
        self._stopping = False
        self._committed = 0.0  # when last
        self._segments: list[Segment] = []
        self.chunks: list[Chunk] = []
        """Chunks of a ring that have begun, for the writer to take in."""
        self.crowded = 0
        """Bytes that the ring has to let go before there is room for more."""
        self.after_commit: Callable[[], None] = lambda: None
        """Called by the writer after each commit, and each time it finds nothing to commit."""
        self.before_close: Callable[[], None] = lambda: None
        """Called by the writer when all is written, before a ring lets go for the last time."""
        self.after_close: Callable[[], None] = lambda: None
        """Called by the writer when all is written and closed."""
        self._late: deque[Callable[[], None]] = deque()
        self._settling = threading.Lock()  # held by whoever does what is late
        self._late_rows: list[tuple[str, tuple[Any, ...]]] = []
        self._late_bytes = 0
        folder.mkdir(parents=True, exist_ok=True)  # the recording has made way; a file that is there is an error
        self.events = Stream(folder / EVENTS_FILE, EVENT_BLOCK, EVENT_BLOCKS, self._wake)
        self.tensors = Stream(folder / TENSORS_FILE, TENSOR_BLOCK, TENSOR_BLOCKS, self._wake)
        self._index_path = str(folder / INDEX_FILE)
        self._index = sqlite3.connect(folder / INDEX_FILE, isolation_level=None, check_same_thread=False)
        # The log begins after the tables: a trace that is killed before the log was worked in can be told for one.
        self._index.executescript(f"PRAGMA synchronous = OFF; BEGIN; {SCHEMA} COMMIT;")
        self._index.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;")
        # Reading makes the log. By it whoever opens the trace before the first commit knows that more will come.
        self._index.execute("SELECT * FROM meta").fetchall()
        # The log counts as part of the trace: of a small one it must stay small.
        pages = min(4000, max(16, budget // LOG_SHARE // PAGE)) if budget else 4000
        self._index.execute(f"PRAGMA wal_autocheckpoint = {pages}")
        self._index.execute(f"PRAGMA journal_size_limit = {pages * PAGE}")
        self._log = (pages + COMMIT_PAGES) * PAGE  # what it may come to, counted from the start
        self.ring: Ring | None = None
        if last is not None:
            self._index.execute("BEGIN")
            self.ring = Ring(folder, self._index, last)
            self._index.execute("COMMIT")
        self._measure(0)
        self._thread = threading.Thread(target=self._run, name="optrace-writer", daemon=True)
        self._thread.start()

    def row(self, statement: str, *values: Any) -> None:
        """Queue an SQL statement for the next commit."""
        self.rows.append((statement, values))
        size = ROW_BYTES
        for value in values:
            if value.__class__ is str or value.__class__ is bytes:
                size += len(value)
        self.row_bytes += size

    def detail(self, event: int, detail: dict[str, Any]) -> None:
        """Queue an event's details; tensors in it (on a device, say) are read by the writer."""
        self.row("INSERT INTO detail VALUES (?, ?)", event, lambda: json.dumps(detail, default=_number))
        self.row_bytes += _weight(detail)

    def late_loss(self, block: memoryview, place: int, loss: Any) -> None:
        """The loss of the record at `place` is read by the writer, just before the block is written."""
        self.later(lambda: LOSS.pack_into(block, place + LOSS_AT, float(loss)))

    def later(self, task: Callable[[], None]) -> None:
        """What is to be done, in this order, before the bytes and rows that are being added now are written."""
        self._late.append(task)

    def late_row(self, statement: str, *values: Any) -> None:
        """`row`, for such a task. It is committed with the records that the task is about."""
        self._late_rows.append((statement, values))
        self._late_bytes += ROW_BYTES + sum(len(value) for value in values if value.__class__ is str)

    def settle_late(self, count: int | None = None) -> None:
        """Do what is late: all of it, or so many tasks."""
        with self._settling:
            while self._late and count != 0:
                self._late[0]()
                self._late.popleft()
                count = None if count is None else count - 1

    def hurry(self) -> None:
        """There is much to do."""
        self._wake.set()

    def finish(self) -> None:
        """Write and commit everything and close the files, waiting for nothing."""
        self._stopping = True
        self._wake.set()

    def stop(self) -> None:
        """Write and commit everything, then close the files. Raises nothing."""
        self.finish()
        self._thread.join()

    @property
    def appended(self) -> int:
        """Bytes given to it so far; grows with everything that makes the trace larger."""
        return self.tensors.size + self.events.size + self.row_bytes + self._late_bytes

    @property
    def used(self) -> int:
        """What the trace takes on disk once everything is written, its index and log included."""
        released = 0 if self.ring is None else self.ring.released
        rows = self.row_bytes + self._late_bytes - self._counted
        return self.tensors.size + self.events.size - released + self._index_bytes + rows

    def wait_for_rows(self) -> None:
        """Wait, holding no lock, until the writer has taken the queued rows and made room: both stay bounded."""
        while (len(self.rows) > MOST_ROWS or self.crowded) and not self.failed and not self._stopping:
            self._wake.set()
            time.sleep(0.001)

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._wake.wait(COMMIT_SECONDS)
                self._wake.clear()
                self._drain()
            self._drain()
            while self.rows or self.events.full or self.tensors.full:
                self._drain()
            self.before_close()
            if self.ring is not None:
                with contextlib.suppress(OSError, sqlite3.Error):  # for want of room: then it holds more
                    self._let_go(self.ring, 0)
            self._close_index()
        except BaseException as failure:
            self.failed = True
            self.events.release()
            self.tensors.release()
            self._on_failure(failure)
            self._keep_what_is_whole()
        finally:
            self.events.close()
            self.tensors.close()
        self.after_close()

    def _drain(self) -> None:
        """Write full blocks; if no event is half made, also what is in the current ones, and commit."""
        streams = (self.tensors, self.events)
        full = [[stream.full.popleft() for _ in range(len(stream.full))] for stream in streams]
        self.settle_late()  # before these are written, and after they were full
        for stream, blocks in zip(streams, full, strict=True):
            self._write_full(stream, blocks)
        if not self._due():
            return
        # An event in the making holds the lock; it may be waiting for the blocks freed above.
        if not self.lock.acquire(timeout=FAR_FUTURE if self._stopping else 0.001):
            return
        try:
            cut = [(s, list(s.full), s.block, s.block.used) for s in streams]
            for stream in streams:
                stream.full.clear()
            rows, self.rows = self.rows, []
            chunks, self.chunks = self.chunks, []
            crowded = self.crowded
            counted = self.row_bytes
        finally:
            self.lock.release()
        self.settle_late()
        with self._settling:
            rows += self._late_rows
            self._late_rows = []
            counted += self._late_bytes
        for stream, blocks, block, used in cut:
            self._write_full(stream, blocks)
            stream.write(block, used, self._segments)
        self._committed = time.monotonic()
        if rows or self._segments:
            with in_sqlite():
                self._commit(rows)
            self._measure(counted)
        if self.ring is not None and (chunks or crowded):
            self.ring.add(chunks)
            if not self._stopping:
                self._let_go(self.ring, crowded)
                self._measure(counted)
        self.after_commit()

    def _write_full(self, stream: Stream, blocks: list[Block]) -> None:
        for block in blocks:
            stream.write(block, block.used, self._segments, hurry=len(blocks) >= WAKE_BLOCKS)
            stream.recycle(block)

    def _let_go(self, ring: Ring, crowded: int) -> None:
        """Remove the iterations that are not needed any more."""
        first = ring.needless(crowded)
        if first is not None:
            with in_sqlite():
                target, name, segments = ring.let_go(first, ring.base + self.events.offset // RECORD.size)
            self.events.go_on_in(target, name, sum(length for _, _, length, _ in segments))
        if crowded:
            self.crowded = 0

    def _due(self) -> bool:
        """Whether it is time for a commit, which cuts a block in two: not each time that blocks are full."""
        enough = self._stopping or self.crowded > 0 or len(self.rows) > MOST_ROWS // 2
        return enough or time.monotonic() - self._committed >= COMMIT_SECONDS * 0.9

    def _measure(self, counted: int) -> None:
        """How large the index is, with its log, now that the first `counted` row bytes are in it."""
        size = 0
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(OSError):
                found = os.stat(self._index_path + suffix).st_size
                size += max(found, self._log) if suffix == "-wal" else found
        self._index_bytes, self._counted = size, counted
        with contextlib.suppress(OSError, AttributeError):
            disk = os.statvfs(self.folder)
            self.free = disk.f_bavail * disk.f_frsize

    def _commit(self, rows: list[tuple[str, tuple[Any, ...]]]) -> None:
        execute = self._index.execute
        execute("BEGIN")
        try:
            for statement, values in rows:
                execute(statement, tuple(v() if callable(v) else v for v in values))
            self._index.executemany("INSERT INTO segment VALUES (?, ?, ?, ?)", self._segments)
            execute("COMMIT")
        except BaseException:
            if self._index.in_transaction:
                execute("ROLLBACK")
            raise
        self._segments = []

    def _close_index(self) -> None:
        with in_sqlite():
            self._index.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            # A second process that is reading the trace keeps it in WAL mode; that is as good.
            for _ in range(10):
                try:
                    self._index.execute("PRAGMA journal_mode = DELETE")
                    break
                except sqlite3.OperationalError:
                    time.sleep(0.01)
            self._index.close()
        seal(self.folder)

    def _keep_what_is_whole(self) -> None:
        """After a failure: what was committed stays readable, with nothing left to recover."""
        with contextlib.suppress(sqlite3.Error):
            self._close_index()
