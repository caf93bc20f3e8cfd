"""Thousands of damaged and hostile traces: each ends in a clear error or a correct read, soon, and runs nothing."""

from __future__ import annotations

import contextlib
import importlib
import os
import pkgutil
import random
import re
import resource
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import xxhash
from torch import nn
from whole import attempt

import optrace
from optrace.trace.format import INDEX_FILE, SEAL_FILE
from optrace.trace.seal import seal

SECONDS = 20.0  # of the processor's time for one trace
MEMORY = 512 << 20  # bytes that reading may take beyond what the sound trace took
CASES = 500
PARTS = [pytest.param(range(20), id="quick")]
PARTS += [pytest.param(range(n, n + CASES), id=str(n), marks=pytest.mark.slow) for n in range(CASES, 6 * CASES, CASES)]
FORBIDDEN = ("pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.remove")
FORBIDDEN += ("os.rename", "os.mkdir", "os.truncate", "subprocess.Popen", "socket.connect", "ctypes.dlopen")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

# What reading does besides reading


_seen: list[str] | None = None


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _seen is None:
        return
    if event in FORBIDDEN or (event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING):
        _seen.append(f"{event} {arguments[:1]}")


sys.addaudithook(_watch)
for module in pkgutil.walk_packages(optrace.__path__, "optrace."):  # what is imported later is compiled later
    if not module.name.startswith(("optrace.tui", "optrace.__main__", "optrace.notebook")):
        importlib.import_module(module.name)


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Fails where what is inside runs something, writes, or does not come to an end."""
    global _seen

    def too_long(number: int, frame: Any) -> None:
        raise AssertionError(f"reading took more than {SECONDS} s")

    before = signal.signal(signal.SIGPROF, too_long)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    _seen = done = []
    try:
        yield
    finally:
        _seen = None
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    assert done == []


# Traces to damage


@pytest.fixture(scope="session")
def killed_trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trace as it lies there while it is recorded, or after a kill: rows in the log, no seal."""
    path = tmp_path_factory.mktemp("killed") / "run.optrace"
    recording = optrace.record(tmp_path_factory.mktemp("live") / "run.optrace", capture="sampled").start()
    try:
        model = nn.Linear(70, 70)
        optimizer = torch.optim.AdamW(model.parameters())
        for _ in range(8):
            optimizer.zero_grad()
            model(torch.ones(1, 70)).sum().backward()
            optimizer.step()
        while len(optrace.load(recording.path).events) < 20:
            pass
        shutil.copytree(recording.path, path)
    finally:
        recording.stop()
    return path


@pytest.fixture(scope="session")
def ring_trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last iterations of a longer run: its numbers begin late, its bytes lie in several files."""
    path = tmp_path_factory.mktemp("ring") / "run.optrace"
    model = nn.Sequential(nn.Linear(30, 30), nn.Linear(30, 2))
    optimizer = torch.optim.AdamW(model.parameters())
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    with optrace.record(path, last=6):
        for turn in range(3000):
            optimizer.zero_grad()
            model(torch.ones(1, 30)).sum().backward()
            optimizer.step()
            schedule.step()
            optrace.log(turn=turn)
            if turn > 30 and list(path.glob("events-*.bin")):  # older iterations have been let go
                break
            time.sleep(0.002)
    with optrace.load(path) as trace:
        assert trace.iterations[0].index != 0 or not trace.iterations[0].recorded
    return path


@pytest.fixture(scope="session")
def processes_trace(sample_trace: Path, squeezed_trace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two ranks of a process group, and a process beside them."""
    path = tmp_path_factory.mktemp("processes") / "run.optrace"
    for name, source in {"rank-0": sample_trace, "rank-1": sample_trace, "process-1": squeezed_trace}.items():
        shutil.copytree(source, path / name)
    for rank in range(2):
        with contextlib.closing(sqlite3.connect(path / f"rank-{rank}" / INDEX_FILE)) as index, index:
            group = f'{{"rank": {rank}, "size": 2, "backend": "gloo"}}'
            index.execute("INSERT INTO meta VALUES ('process_group', ?)", (group,))
        seal(path / f"rank-{rank}")
    return path


@pytest.fixture(params=["sample_trace", "squeezed_trace", "killed_trace", "ring_trace", "processes_trace"])
def sound_trace(request: pytest.FixtureRequest) -> Path:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Path)
    return found


# Ways to damage them


def _bits(chance: random.Random, data: bytearray) -> None:
    for _ in range(chance.choice([1, 1, 1, 2, 8])):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _run(chance: random.Random, data: bytearray) -> None:
    length, start = chance.choice([1, 8, 64, 512, 4096]), chance.randrange(len(data))
    filling = chance.choice([b"\0", b"\xff", None])
    data[start : start + length] = chance.randbytes(length) if filling is None else filling * length


def _cut(chance: random.Random, data: bytearray) -> None:
    del data[chance.randrange(len(data)) :]


def _grow(chance: random.Random, data: bytearray) -> None:
    data.extend(chance.choice([b"\0" * 64, chance.randbytes(100), bytes(data)]))


def _move(chance: random.Random, data: bytearray) -> None:
    length, start, to = chance.choice([1, 8, 64, 4096]), chance.randrange(len(data)), chance.randrange(len(data))
    data[to : to + length] = data[start : start + length]


def _drop(chance: random.Random, data: bytearray) -> None:
    start = chance.randrange(len(data))
    del data[start : start + chance.choice([1, 8, 64, 4096])]


DAMAGES: list[Callable[[random.Random, bytearray], None]] = [_bits, _bits, _run, _cut, _grow, _move, _drop]


@pytest.mark.parametrize("cases", PARTS)
def test_damaged_files(sound_trace: Path, tmp_path: Path, cases: range) -> None:
    """Whatever happened to the bytes of a finished trace, it is noticed, or what is read is what was recorded."""
    path = Path(shutil.copytree(sound_trace, tmp_path / "run.optrace"))
    truth = attempt(path)
    assert len(truth) == 128
    files = {file: file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file() and file.stat().st_size}
    sealed = any(file.name == SEAL_FILE for file in files)
    memory = _peak()
    results: dict[str, int] = {}
    for case in cases:
        chance = random.Random(f"{path.name} {case}")
        file = chance.choice(list(files))
        data = bytearray(files[file])
        chance.choice(DAMAGES)(chance, data)
        file.write_bytes(data)
        with guarded():
            result = attempt(path)
        assert not sealed or result == truth or result.endswith("Error"), (case, file.name)
        results[result] = results.get(result, 0) + 1
        file.write_bytes(files[file])
        for made in set(path.rglob("*")) - set(files):
            if made.is_file():
                made.unlink()  # SQLite's own, beside a log
    assert attempt(path) == truth
    assert results["DamagedError"] > len(cases) // 6
    assert _peak() - memory < MEMORY


# Ways to make traces up


def _tables(index: sqlite3.Connection) -> list[str]:
    return [name for (name,) in index.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]


NUMBERS = ["0", "-1", "1", "7", "4294967295", "9223372036854775807", "1e999", "-1e308", "NaN", "true", "null", '"x"']


def made_up(chance: random.Random, value: Any) -> Any:
    """Another value in place of one in the index."""
    if chance.random() < 0.1:
        return chance.choice([None, 0, -1, 1 << 62, 1e300, "text", b"\xff\0", "[]", "{}", "\x1b[31m\n"])
    if isinstance(value, int):
        near = [value + 1, value - 1, value ^ (1 << chance.randrange(40)), 0, -1, 1 << 31, 1 << 62]
        return min(max(chance.choice(near), -(1 << 63)), (1 << 63) - 1)
    if isinstance(value, str) and value:
        places = list(re.finditer(r"-?\d+(\.\d+)?", value))
        if places and chance.random() < 0.7:
            place = chance.choice(places)
            return value[: place.start()] + chance.choice(NUMBERS) + value[place.end() :]
        at = chance.randrange(len(value))
        return value[:at] + chance.choice(["", "[", '"', "x", "\0", "é"]) + value[at + chance.randrange(2) :]
    if isinstance(value, bytes) and value:
        data = bytearray(value)
        chance.choice(DAMAGES)(chance, data)
        return bytes(data)
    return chance.choice([0, "x", None])


def tamper(chance: random.Random, folder: Path) -> None:
    """Rows and records that no recording writes, under right checksums."""
    with contextlib.closing(sqlite3.connect(folder / INDEX_FILE)) as index:
        index.text_factory = lambda text: text.decode("utf-8", "replace")
        tables = _tables(index)
        for _ in range(chance.choice([0, 1, 1, 2, 5])):
            table = chance.choice(tables)
            columns = [row[1] for row in index.execute(f"PRAGMA table_info({table})")]
            rows = index.execute(f"SELECT rowid, * FROM {table}").fetchall()
            if rows:
                row, place = chance.choice(rows), chance.randrange(len(columns))
                value = made_up(chance, row[1 + place])
                update = f"UPDATE OR REPLACE {table} SET {columns[place]} = ? WHERE rowid = ?"
                with contextlib.suppress(sqlite3.Error):
                    index.execute(update, (value, row[0]))
        if chance.random() < 0.5:
            _tamper_with_records(chance, folder, index)
        index.commit()
    seal(folder)


def _tamper_with_records(chance: random.Random, folder: Path, index: sqlite3.Connection) -> None:
    file = next(folder.glob("events*.bin"))
    data = bytearray(file.read_bytes())
    for _ in range(chance.choice([1, 1, 2, 20])):
        at = chance.randrange(len(data))
        data[at] = chance.choice([0, 1, 2, 10, 127, 128, 255, data[at] ^ (1 << chance.randrange(8))])
    file.write_bytes(data)
    rows = index.execute("SELECT offset, length FROM segment WHERE file = ?", (file.name,)).fetchall()
    for offset, length in rows:
        if isinstance(offset, int) and isinstance(length, int) and 0 <= offset <= offset + length <= len(data):
            digest = xxhash.xxh3_64_intdigest(bytes(data[offset : offset + length]))
            signed = digest - (1 << 64) if digest >> 63 else digest
            index.execute("UPDATE segment SET digest = ? WHERE file = ? AND offset = ?", (signed, file.name, offset))


@pytest.mark.parametrize("cases", PARTS[1:])  # of single rows test_trace_damage.py makes up many in the quick run
def test_hostile_traces(sound_trace: Path, tmp_path: Path, cases: range) -> None:
    """What nobody recorded, under right checksums: a clear error, or whatever it says, within bounds."""
    path = Path(shutil.copytree(sound_trace, tmp_path / "run.optrace"))
    truth = attempt(path)
    folders = [file.parent for file in path.rglob(INDEX_FILE)]
    files = {file: file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}
    memory = _peak()
    results = set()
    for case in cases:
        tamper(random.Random(case), random.Random(case).choice(folders))
        with guarded():
            results.add(attempt(path))
        for file in set(path.rglob("*")) | set(files):
            if file in files:
                file.write_bytes(files[file])
            elif file.is_file():
                file.unlink()
    assert attempt(path) == truth
    assert len(results) > 3
    assert _peak() - memory < MEMORY


def _peak() -> int:
    """The most memory this process has held, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
