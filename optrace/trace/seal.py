"""The checksum of a finished trace's index.

The index holds a checksum of every piece of the other files, and SQLite none of its own rows: one flipped bit there
would be another learning rate, another name, another tensor's bytes. So when a recording ends, the checksum of the
whole index is put beside it. While it is being recorded, and after it was killed, there is none.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import xxhash

from optrace.trace.format import INDEX_FILE, SEAL_FILE

_PIECE = 1 << 20


def seal(folder: Path) -> None:
    """Write down the checksum of the index as it is now. Raises nothing: a trace without it can be read as well."""
    with contextlib.suppress(OSError):
        log = folder / f"{INDEX_FILE}-wal"
        if log.exists() and log.stat().st_size:
            return  # somebody reads: the index is not in one file yet
        try:
            (folder / SEAL_FILE).write_text(f"{_digest(folder)}\n", encoding="ascii")
        except OSError:
            os.unlink(folder / SEAL_FILE)  # of a full disk: half a checksum is worse than none
            raise


def sound(folder: Path) -> bool:
    """Whether the index is as it was sealed; True as well where it never was. Raises `OSError`."""
    try:
        sealed = (folder / SEAL_FILE).read_bytes()[:64]
    except FileNotFoundError:
        return True
    return not sealed or sealed.strip() == _digest(folder).encode("ascii")


def _digest(folder: Path) -> str:
    digest = xxhash.xxh3_64()
    with open(folder / INDEX_FILE, "rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()
