"""One file of a trace on its way to the disk: the training thread fills blocks, the writer thread drains them.

The blocks are few and used again and again: where all are full, the training waits.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

from optrace.trace.format import ALIGNMENT
from optrace.trace.output import LEAST, Output, aligned
from optrace.trace.pieces import PIECE, Segment, checksum

WAKE_BLOCKS = 4  # full blocks that are worth waking the writer for
FAR_FUTURE = 3600.0


class WriteFailed(Exception):
    """The writer has stopped; `__cause__` says why."""


class Block:
    """Some of a stream's bytes on their way to the disk."""

    __slots__ = ("data", "file", "used", "written")

    def __init__(self, size: int) -> None:
        self.data = aligned(size)
        self.used = 0
        self.written = 0  # touched by the writer thread alone
        self.file: str | None = None  # that its bytes begin


class Stream:
    """An append-only file that one side fills (under the recorder's lock) and the writer drains."""

    def __init__(self, path: Path, block_size: int, blocks: int, wake: threading.Event) -> None:
        self.name = path.name
        self.size = 0  # bytes appended
        self.block_size = block_size
        self.block = Block(block_size)
        self.full: deque[Block] = deque()
        self.failed = False
        self.leaving: Callable[[], None] = lambda: None
        """Called before a block that is full is handed over."""
        self._folder = path.parent
        self._output = self._open(self.name)
        self._free: deque[Block] = deque()
        self._more = blocks - 1  # blocks that may still be allocated
        self._room = threading.Event()
        self._wake = wake
        self._offset = 0  # bytes on disk

    def append(self, data: memoryview | bytes, length: int) -> None:
        """Copy `length` bytes. Waits while every block is full."""
        block = self.block
        end = block.used + length
        if end <= self.block_size:
            block.data[block.used : end] = data
            block.used = end
        else:
            self._append_across(memoryview(data), length)
        self.size += length

    def append_aligned(self, data: memoryview | bytes, length: int) -> None:
        """Pad to the alignment, then append."""
        block = self.block
        start = block.used + (-self.size % ALIGNMENT)
        end = start + length
        if end <= self.block_size:
            block.data[start:end] = data  # what the padding skips is zero, or was written before
            self.size += end - block.used
            block.used = end
        else:
            self.align()
            self.append(data, length)

    def take(self, length: int) -> int:
        """Make room for `length` aligned bytes in the current block: where in its data; -1 for no room."""
        block = self.block
        used = block.used
        start = used + (-self.size % ALIGNMENT)
        end = start + length
        if end > self.block_size:
            return -1
        self.size += end - used
        block.used = end
        return start

    def align(self) -> int:
        """Pad to the alignment; the offset where the next bytes will stand."""
        padding = -self.size % ALIGNMENT
        if padding:
            block = self.block
            if block.used + padding <= self.block_size:
                block.used += padding  # what it skips is zero, or was written before
                self.size += padding
            else:
                self.append(b"\0" * padding, padding)
        return self.size

    @property
    def left(self) -> int:
        """Bytes that the current block still takes."""
        return self.block_size - self.block.used

    def reserve(self, most: int) -> memoryview:
        """Room for some of the next bytes, up to `most`, that are filled in before the block is written."""
        if not self.left:
            self._next_block()
        block = self.block
        start, block.used = block.used, min(block.used + most, self.block_size)
        self.size += block.used - start
        return block.data[start : block.used]

    def begin_file(self, name: str) -> None:
        """What is appended from now on goes into a file of this name; offsets go on. Waits as `append` does."""
        self.align()
        self._next_block()
        self.block.file = name

    def next_block(self) -> Block:
        """The block that takes the next bytes, empty; the one before is done. Waits while every block is full."""
        self._next_block()
        return self.block

    def _append_across(self, data: memoryview, length: int) -> None:
        start = 0
        while start < length:
            block = self.block
            count = min(length - start, self.block_size - block.used)
            if count == 0:
                self._next_block()
                continue
            block.data[block.used : block.used + count] = data[start : start + count]
            block.used += count
            start += count

    def _next_block(self) -> None:
        self.leaving()
        self.full.append(self.block)
        if len(self.full) >= WAKE_BLOCKS:
            self._wake.set()
        while True:
            try:
                self.block = self._free.pop()  # the one used last is still in the cache
                return
            except IndexError:
                pass
            if self._more:
                self._more -= 1
                self.block = Block(self.block_size)
                return
            self._room.clear()
            if not self._free and not self.failed:
                self._wake.set()
                self._room.wait(FAR_FUTURE)
            if self.failed:
                raise WriteFailed

    # The writer's side.

    def write(self, block: Block, used: int, segments: list[Segment], hurry: bool = False) -> None:
        """Write a block up to `used`, adding a checksum row for each piece. `hurry`: do not wait for the disk."""
        if block.file is not None:
            name, block.file = block.file, None
            self._go_on_in(self._open(name), name, self._offset)
        if block.written < used:
            self._output.write(block.data[block.written : used], hurry)
        while block.written < used:
            piece = block.data[block.written : min(used, block.written + PIECE)]
            segments.append((self.name, self._offset, len(piece), checksum(piece)))
            self._offset += len(piece)
            block.written += len(piece)

    def go_on_in(self, descriptor: int, name: str, offset: int) -> None:
        """Write into another file from now on; the next byte's offset there, in the index's count."""
        self._go_on_in(Output(descriptor), name, offset)

    def _go_on_in(self, output: Output, name: str, offset: int) -> None:
        self._output.close()
        self._output, self.name, self._offset = output, name, offset

    @property
    def offset(self) -> int:
        """Bytes on disk, in the index's count."""
        return self._offset

    def _open(self, name: str) -> Output:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_BINARY", 0)
        path = self._folder / name
        return Output(os.open(path, flags, 0o644), path if self.block_size > LEAST else None)

    def recycle(self, block: Block) -> None:
        block.used = block.written = 0
        self._free.append(block)
        self._room.set()

    def release(self) -> None:
        """Let a waiting training thread go: nothing more will be written."""
        self.failed = True
        self._room.set()

    def close(self) -> None:
        self._output.close()
