"""Damaged, foreign and hostile traces: a clear error or the right answer, nothing else."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from whole import attempt

import optrace
from optrace.cli.main import main
from optrace.errors import DamagedError, LookupFailed, TraceError
from optrace.trace.format import EVENTS_FILE, INDEX_FILE, SEAL_FILE, TENSORS_FILE, VERSIONS
from optrace.trace.seal import seal


@pytest.fixture
def copied(sample_trace: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sample_trace, tmp_path / "copy.optrace"))


@pytest.fixture(scope="module")
def truth(sample_trace: Path) -> str:
    return attempt(sample_trace)


def test_the_sample_is_read_the_same_each_time(sample_trace: Path, truth: str) -> None:
    assert attempt(sample_trace) == truth
    with optrace.load(sample_trace) as trace:
        assert trace.complete
        assert len(trace.events) == 43
        assert trace.exactness("big", "param", at=0) is not None


# Files that are gone, cut or of something else


def test_no_trace_there(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="no trace at"):
        optrace.load(tmp_path / "nothing.optrace")
    with pytest.raises(TraceError, match="not a trace"):
        optrace.load(tmp_path)
    file = tmp_path / "file.optrace"
    file.write_bytes(b"")
    with pytest.raises(TraceError, match="not a trace"):
        optrace.load(file)


@pytest.mark.parametrize("name", [INDEX_FILE, EVENTS_FILE, TENSORS_FILE])
def test_a_file_is_gone(copied: Path, name: str) -> None:
    (copied / name).unlink()
    with pytest.raises(TraceError):
        optrace.load(copied)


@pytest.mark.parametrize("name", [INDEX_FILE, EVENTS_FILE, TENSORS_FILE])
@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.99])
def test_a_file_is_cut(copied: Path, name: str, part: float, truth: str) -> None:
    data = (copied / name).read_bytes()
    (copied / name).write_bytes(data[: int(len(data) * part)])
    assert attempt(copied) in ("TraceError", "DamagedError")


@pytest.mark.parametrize("name", [INDEX_FILE, EVENTS_FILE, TENSORS_FILE])
def test_a_file_is_random(copied: Path, name: str) -> None:
    (copied / name).write_bytes(random.Random(1).randbytes((copied / name).stat().st_size))
    assert attempt(copied) in ("TraceError", "DamagedError")


def test_a_seal_that_is_broken_or_gone(copied: Path, truth: str) -> None:
    """One other bit in the index is noticed, and half a seal; a trace that was killed has none and can be read."""
    seal_file, index = copied / SEAL_FILE, copied / INDEX_FILE
    seal_file.write_bytes(b"0123456789abcdef\n")
    assert attempt(copied) == "DamagedError"
    seal_file.write_bytes(b"\xff")
    assert attempt(copied) == "DamagedError"
    seal_file.unlink()
    assert attempt(copied) == truth
    seal_file.mkdir()
    assert attempt(copied) == "TraceError"
    seal_file.rmdir()
    data = index.read_bytes()
    index.write_bytes(data.replace(b'"lr": 0.01', b'"lr": 0.03'))
    assert data != index.read_bytes()
    assert attempt(copied) not in (truth, "DamagedError")  # nothing tells it from what was recorded
    index.write_bytes(data)
    seal(copied)
    index.write_bytes(data.replace(b'"lr": 0.01', b'"lr": 0.03'))
    assert attempt(copied) == "DamagedError"


@pytest.mark.parametrize("name", [EVENTS_FILE, TENSORS_FILE])
def test_bytes_behind_the_end_do_not_matter(copied: Path, name: str, truth: str) -> None:
    """After a kill there are bytes that no committed row names."""
    with open(copied / name, "ab") as file:
        file.write(b"half a record")
    assert attempt(copied) == truth


@pytest.mark.parametrize("name", [INDEX_FILE, EVENTS_FILE, TENSORS_FILE])
def test_a_folder_where_a_file_should_be(copied: Path, name: str) -> None:
    (copied / name).unlink()
    (copied / name).mkdir()
    assert attempt(copied) in ("TraceError", "DamagedError")


@pytest.mark.parametrize("checked", [False, True])
def test_cut_while_it_is_open(copied: Path, checked: bool) -> None:
    """A memory map over a file that shrinks must not kill the process, also where its bytes were read before."""
    trace = optrace.load(copied)
    if checked:
        trace.value("2.weight", at=int(trace.writes("2.weight", "param")[0]))
    with open(copied / TENSORS_FILE, "r+b") as file:
        file.truncate(10)
    with pytest.raises(DamagedError):
        [trace.value("2.weight", at=int(number)) for number in trace.writes("2.weight", "param")]


def test_another_programs_database(tmp_path: Path) -> None:
    folder = tmp_path / "other.optrace"
    folder.mkdir()
    other = sqlite3.connect(folder / INDEX_FILE)
    other.execute("CREATE TABLE meta (key TEXT, value TEXT)")
    other.execute("PRAGMA application_id = 77")
    other.commit()
    other.close()
    with pytest.raises(TraceError, match="another program"):
        optrace.load(folder)
    (folder / INDEX_FILE).write_bytes(b"PK\x03\x04 some archive")
    with pytest.raises(TraceError, match="another format"):
        optrace.load(folder)
    (folder / INDEX_FILE).write_bytes(b"")
    with pytest.raises(TraceError, match="empty"):
        optrace.load(folder)


@pytest.mark.parametrize(("version", "words"), [(max(VERSIONS) + 1, "newer"), (0, "record it again")])
def test_another_version(copied: Path, version: int, words: str) -> None:
    edit(copied, f"PRAGMA user_version = {version}")
    with pytest.raises(TraceError, match=words):
        optrace.load(copied)


@pytest.mark.parametrize("key", ["last", "events", "reason"])
@pytest.mark.parametrize("value", [None, -1, 2**70, "x", [], {}, 1e300, float("inf"), True], ids=repr)
def test_made_up_gaps(copied: Path, key: str, value: Any) -> None:
    with optrace.load(copied) as trace:
        gap = trace.gaps[-1]
        detail = {**trace.event(gap.seq).detail, key: value}
    with contextlib.closing(sqlite3.connect(copied / INDEX_FILE)) as index, index:
        index.execute("UPDATE detail SET value = ? WHERE event = ?", (json.dumps(detail), gap.seq))
    seal(copied)
    assert len(attempt(copied)) > 0
    edit(copied, f"DELETE FROM detail WHERE event = {gap.seq}")
    assert attempt(copied) == "DamagedError"


# Rows that somebody made up


def edit(path: Path, *statements: str) -> None:
    (path / SEAL_FILE).unlink(missing_ok=True)
    index = sqlite3.connect(path / INDEX_FILE)
    index.execute("PRAGMA writable_schema = OFF")
    for statement in statements:
        index.execute(statement)
    index.commit()
    index.close()


def change_effects(path: Path, change: Callable[[list[Any]], None]) -> None:
    index = sqlite3.connect(path / INDEX_FILE)
    for number, entries in index.execute("SELECT id, entries FROM effect").fetchall():
        rows = json.loads(entries)
        for row in rows:
            change(row)
        index.execute("UPDATE effect SET entries = ? WHERE id = ?", (json.dumps(rows), number))
    index.commit()
    index.close()
    seal(path)


@pytest.mark.parametrize(
    "pid", ["99999999999999999999", '"12"', "null", "[]", "{}", "Infinity", "NaN", "1.5", "0", "-1"]
)
def test_a_made_up_process_does_not_run(copied: Path, pid: str, capsys: pytest.CaptureFixture[str]) -> None:
    edit(copied, f"UPDATE meta SET value = '{pid}' WHERE key = 'pid'", "DELETE FROM meta WHERE key = 'ended'")
    with optrace.load(copied) as trace:
        assert trace.running() is False
        assert trace.killed()
        assert len(list(trace.follow())) == 43
    assert main(["info", str(copied)]) == 0
    assert "its process was killed" in capsys.readouterr().out


def test_a_process_runs_whoever_started_it(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(copied, "DELETE FROM meta WHERE key = 'ended'")
    with optrace.load(copied) as trace:
        assert trace.running()  # this one

        def refuse(pid: int, signal: int) -> None:
            raise PermissionError

        monkeypatch.setattr("os.kill", refuse)
        assert trace.running()
        assert not trace.killed()


# An entry is [parameter, kind, optimizer, op, storage, before, dtype, shape, offset, nbytes].
@pytest.mark.parametrize("position", range(10))
@pytest.mark.parametrize(
    "value",
    [-1, 1 << 62, 1 << 80, 1e300, None, "text", "\x1b[31m", [], [1 << 40, 1 << 40], [-1], [[]], {}, True],
    ids=repr,
)
def test_made_up_entries(copied: Path, position: int, value: Any) -> None:
    def change(row: list[Any]) -> None:
        row[position] = value

    change_effects(copied, change)
    attempt(copied)


@pytest.mark.parametrize("storage", range(-1, 8))
@pytest.mark.parametrize("shape", [[10**6, 10**6], [10**12], [], [0], [2**63], [1] * 100, [3, -3]], ids=repr)
def test_made_up_shapes(copied: Path, storage: int, shape: list[int]) -> None:
    def change(row: list[Any]) -> None:
        row[4], row[7] = storage, shape

    change_effects(copied, change)
    attempt(copied)


TABLES = ["meta", "parameter", "binding", "model", "optimizer", "groups", "source", "site", "stack", "effect"]
TABLES += ["detail", "thread", "sample", "segment", "phase"]
VALUES = ["NULL", "-1", "9e99", "'text'", "x'ff00fe'", "CAST(x'ff' AS TEXT)", "'[[[['", "9223372036854775807"]


@pytest.mark.parametrize("table", TABLES)
def test_every_column_of_every_table(sample_trace: Path, tmp_path: Path, table: str) -> None:
    index = sqlite3.connect(sample_trace / INDEX_FILE)
    columns = [row[1] for row in index.execute(f"PRAGMA table_info({table})")]
    index.close()
    for number, (column, value) in enumerate((c, v) for c in columns for v in VALUES):
        folder = Path(shutil.copytree(sample_trace, tmp_path / f"{number}.optrace"))
        try:
            edit(folder, f"UPDATE OR REPLACE {table} SET {column} = {value}")
        except sqlite3.Error:
            shutil.rmtree(folder)
            continue
        attempt(folder)
        shutil.rmtree(folder)


@pytest.mark.parametrize("table", TABLES)
def test_a_table_is_empty_or_gone(sample_trace: Path, tmp_path: Path, table: str) -> None:
    for number, statement in enumerate([f"DELETE FROM {table}", f"DROP TABLE {table}"]):
        folder = Path(shutil.copytree(sample_trace, tmp_path / f"{number}.optrace"))
        edit(folder, statement)
        result = attempt(folder)
        if statement.startswith("DROP"):
            assert result == "DamagedError"


@pytest.mark.parametrize("nested", ["[" * 100_000, '{"a":' * 100_000], ids=["lists", "objects"])
@pytest.mark.parametrize(
    ("table", "column"),
    [("effect", "entries"), ("detail", "value"), ("meta", "value"), ("groups", "value"), ("stack", "sites")],
)
def test_deep_json(copied: Path, table: str, column: str, nested: str) -> None:
    edit(copied, f"UPDATE {table} SET {column} = '{nested}'")
    assert attempt(copied) == "DamagedError"


def test_no_statement_of_the_file_is_run(copied: Path) -> None:
    """A view in place of a table could run for ever."""
    edit(
        copied,
        "DROP TABLE thread",
        "CREATE VIEW thread AS WITH RECURSIVE n(id, name) AS "
        "(SELECT 1, 'x' UNION ALL SELECT id + 1, 'x' FROM n) SELECT * FROM n",
    )
    with pytest.raises(TraceError):
        optrace.load(copied)


RECORD_PLACES = {
    "kind": (0, "<B", [11, 255]),
    "thread": (4, "<I", [99, 2**32 - 1]),
    "iteration": (8, "<I", [7, 2**32 - 1]),
    "index": (12, "<I", [2**32 - 1]),
    "stack": (32, "<i", [-2, 9999, -(2**31)]),
    "optimizer": (36, "<i", [77, -2]),
    "groups": (40, "<i", [999, -5]),
    "effect": (44, "<i", [9999, -2, 2**31 - 1]),
    "offset": (48, "<q", [-8, 2**62, -(2**63)]),
}


@pytest.mark.parametrize("field", RECORD_PLACES)
def test_made_up_records_under_a_right_checksum(sample_trace: Path, tmp_path: Path, field: str) -> None:
    import xxhash

    place, layout, values = RECORD_PLACES[field]
    for number, value in enumerate(values):
        folder = Path(shutil.copytree(sample_trace, tmp_path / f"{number}.optrace"))
        data = bytearray((folder / EVENTS_FILE).read_bytes())
        for record in range(5 * 64, len(data), 64 * 3):
            struct.pack_into(layout, data, record + place, value)
        (folder / EVENTS_FILE).write_bytes(data)
        index = sqlite3.connect(folder / INDEX_FILE)
        rows = index.execute("SELECT offset, length FROM segment WHERE file = ?", (EVENTS_FILE,)).fetchall()
        for offset, length in rows:
            digest = xxhash.xxh3_64_intdigest(bytes(data[offset : offset + length]))
            signed = digest - (1 << 64) if digest >> 63 else digest
            index.execute("UPDATE segment SET digest = ? WHERE file = ? AND offset = ?", (signed, EVENTS_FILE, offset))
        index.commit()
        index.close()
        seal(folder)
        attempt(folder)


# Asking for what is not there


def test_what_does_not_exist_is_named_with_the_nearest(sample_trace: Path) -> None:
    with optrace.load(sample_trace) as trace:
        with pytest.raises(LookupFailed, match=r"did you mean '2\.weight'"):
            trace.value("2.wieght")
        with pytest.raises(LookupFailed, match="exp_avg"):
            trace.value("2.weight", "exp_avgs")
        with pytest.raises(LookupFailed, match="norm"):
            trace.statistics("2.weight", statistic="normm")
        for position in ("99:0", "0:99", "-1:0", "0:-1", 10**9, -(10**9)):
            with pytest.raises(LookupFailed, match="there is no"):
                trace.event(position)
        for position in ("", "x", "1:2:3", (1,), (1, 2, 3), object(), "1:x", [None, None]):
            with pytest.raises(LookupFailed, match="not a position"):
                trace.event(position)
        with pytest.raises(IndexError):
            trace.events[43]
        with pytest.raises(IndexError):
            trace.iterations[99]
        with pytest.raises(KeyError):
            trace.parameters["nothing"]


def test_sequences_behave_like_sequences(sample_trace: Path) -> None:
    with optrace.load(sample_trace) as trace:
        events = list(trace.events)
        assert [event.seq for event in events] == list(range(43))  # four turns of ten, a gap after each of three
        assert trace.events[-1] == events[-1]
        assert trace.events[np.int64(3)] == events[3]
        assert list(trace.events[5:9]) == events[5:9]
        assert list(trace.events[::-7]) == events[::-7]
        assert list(trace.events[10:30][2:8:3]) == events[10:30][2:8:3]
        assert list(reversed(trace.events)) == events[::-1]
        assert events[7] in trace.events
        assert trace.iterations[-1].index == len(trace.iterations) - 1
        assert [iteration.index for iteration in trace.iterations] == list(range(len(trace.iterations)))
        value = trace.value("2.bias")
        assert value is not None
        with pytest.raises(ValueError, match="read-only"):
            value[0] = 1
