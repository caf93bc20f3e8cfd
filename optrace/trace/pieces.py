"""Bytes on their way to a file: in pieces, each under a checksum of its own."""

from __future__ import annotations

import os

import xxhash

PIECE = 1 << 20  # longest run of bytes under one checksum
Segment = tuple[str, int, int, int]
"""A row of the index: file, offset, length, checksum."""


def checksum(piece: bytes | memoryview) -> int:
    """XXH3, 64 bits, as SQLite's signed integers hold it."""
    digest = xxhash.xxh3_64_intdigest(piece)
    return digest - (1 << 64) if digest >> 63 else digest


def write_all(descriptor: int, piece: bytes | memoryview) -> None:
    """Write all of it, however many calls that takes."""
    done = 0
    while done < len(piece):
        done += os.write(descriptor, piece[done:])
