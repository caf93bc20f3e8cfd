"""A trace as it lay on disk after each of its events, while it was still being recorded."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import xxhash

import optrace
from optrace.trace.format import EVENTS_FILE, INDEX_FILE, RECORD, RECORD_FIELDS, SEAL_FILE


def prefixes(path: Path, step: int = 1) -> Iterator[Path]:
    """The trace's first events alone, unfinished: 1, 1 + step, …; one after the other, in the same folder."""
    import numpy as np

    copy = path.with_name(f"{path.stem}-begun{path.suffix}")
    records = np.fromfile(path / EVENTS_FILE, RECORD_FIELDS)
    for count in range(1, len(records) + 1, step):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(path, copy)
        (copy / SEAL_FILE).unlink(missing_ok=True)
        begun = records[:count]
        data = begun.tobytes()
        (copy / EVENTS_FILE).write_bytes(data)
        digest = xxhash.xxh3_64_intdigest(data)
        groups = int(begun["groups"].max())
        with sqlite3.connect(copy / INDEX_FILE) as index:
            index.execute("DELETE FROM meta WHERE key IN ('ended', 'failure', 'raised')")
            index.execute("DELETE FROM segment WHERE file = ?", (EVENTS_FILE,))
            signed = digest - (1 << 64) if digest >> 63 else digest
            index.execute("INSERT INTO segment VALUES (?, 0, ?, ?)", (EVENTS_FILE, count * RECORD.size, signed))
            # What is known of an event before it is written: what came into being with it.
            for table, column in [("parameter", "first_event"), ("binding", "event"), ("model", "event")]:
                index.execute(f"DELETE FROM {table} WHERE {column} > ?", (count,))
            index.execute("DELETE FROM optimizer WHERE event > ?", (count,))
            index.execute("DELETE FROM effect WHERE first_event >= ?", (count,))
            index.execute("DELETE FROM detail WHERE event >= ?", (count,))
            known = {number for (number,) in index.execute("SELECT id FROM optimizer")}
            for number, optimizer in index.execute("SELECT id, optimizer FROM groups ORDER BY id").fetchall():
                first = (
                    number
                    == index.execute("SELECT MIN(id) FROM groups WHERE optimizer = ?", (optimizer,)).fetchone()[0]
                )
                if optimizer not in known or (number > groups and not first):
                    index.execute("DELETE FROM groups WHERE id = ?", (number,))
        yield copy
    shutil.rmtree(copy, ignore_errors=True)


def errors_of_prefixes(path: Path, step: int = 1) -> dict[int, list[str]]:
    """What the live check would take for an error, by how many events there were."""
    found: dict[int, list[str]] = {}
    for number, begun in enumerate(prefixes(path, step)):
        with optrace.load(begun) as trace:
            errors = [str(finding) for finding in optrace.check(trace) if finding.severity == "error"]
        if errors:
            found[1 + number * step] = errors
    return found
