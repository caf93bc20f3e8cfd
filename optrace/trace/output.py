"""One growing file, written past the system's page cache where that is possible and asked for.

Bytes that nobody reads again soon need not be copied into memory that the system first has to find and clear: that
takes a core ten times as long as handing them to the disk, and the core is one that the training wants. But such a
write lasts as long as the disk does, so whoever is in a hurry takes the way that has been quicker.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from pathlib import Path

from optrace.trace.pieces import write_all

PAGE = 4096
"""Bytes to which memory, place in the file and length of a direct write are aligned."""
LEAST = 256 << 10
"""Bytes that are worth a direct write."""
AGAIN = 16
"""In a hurry, one write in so many goes the way that was slower, to see whether it still is."""


class Output:
    """An append-only file. Whether its system takes direct writes is found out by the first one."""

    def __init__(self, descriptor: int, path: Path | None = None) -> None:
        """An open file, and where it is, if it is empty and direct writes may be tried."""
        self._file = descriptor
        self._direct = -1
        self._position = 0
        self._took: dict[bool, float] = {}  # seconds a byte, lately, of direct writes and of others
        self._hurried = 0
        self.passed = 0
        """Bytes that went past the page cache."""
        bypass = getattr(os, "O_DIRECT", 0)
        if path is not None and bypass:
            with contextlib.suppress(OSError):  # it knows no such thing: tmpfs, some network file systems
                self._direct = os.open(path, os.O_WRONLY | bypass)

    def write(self, data: memoryview, hurry: bool) -> None:
        """Append; `hurry`: the quicker way. Memory of direct writes is aligned as the place in the file is."""
        head = -self._position % PAGE
        body = (len(data) - head) // PAGE * PAGE
        if self._direct < 0 or body < LEAST:
            self._append(data)
            return
        direct = not hurry or self._is_quicker()
        start = time.monotonic()
        done = 0
        if direct:
            self._append(data[:head])
            done = head + self._pass(data[head : head + body])
        self._append(data[done:])
        took = (time.monotonic() - start) / len(data)
        self._took[direct] = 0.7 * self._took.get(direct, took) + 0.3 * took

    def _is_quicker(self) -> bool:
        """Whether to pass the page cache now."""
        self._hurried += 1
        if len(self._took) < 2:
            return True not in self._took  # what has not been tried
        return (self._took[True] <= self._took[False]) == (self._hurried % AGAIN != 0)

    def close(self) -> None:
        os.close(self._file)
        self._give_up()

    def _append(self, data: memoryview) -> None:
        write_all(self._file, data)
        self._position += len(data)

    def _pass(self, data: memoryview) -> int:
        """How many bytes went past the page cache: all of them, or those before the first that would not."""
        done = 0
        try:
            while done < len(data):
                done += os.pwrite(self._direct, data[done:], self._position + done)
        except OSError:  # not here, or not now; if the disk is full an ordinary write says so
            self._give_up()
        self._position += done
        self.passed += done
        return done

    def _give_up(self) -> None:
        if self._direct >= 0:
            os.close(self._direct)
            self._direct = -1


def aligned(size: int) -> memoryview:
    """Memory that begins at a page."""
    memory = bytearray(size + PAGE)
    start = -ctypes.addressof(ctypes.c_char.from_buffer(memory)) % PAGE
    return memoryview(memory)[start : start + size]
