"""Writing past the page cache: the same bytes in the same place, whatever the file system makes of it."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path

import pytest

from optrace.trace.output import LEAST, PAGE, Output, aligned

BLOCK = 1 << 20


def takes_direct_writes(folder: Path) -> bool:
    if not hasattr(os, "O_DIRECT"):
        return False
    probe = folder / "probe"
    try:
        file = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_DIRECT)
    except OSError:
        return False
    try:
        return os.pwrite(file, aligned(LEAST), 0) == LEAST
    except OSError:
        return False
    finally:
        os.close(file)


def fill(path: Path, hurries: float, direct: bool = True) -> tuple[bytes, Output]:
    """Blocks written as a stream writes them: in a few parts each, cut anywhere. What should be in the file."""
    chance = random.Random(0)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND)
    output = Output(file, path if direct else None)
    block = aligned(BLOCK)
    expected = bytearray()
    for _ in range(12):
        block[:] = chance.randbytes(BLOCK)
        written = 0
        while written < BLOCK:
            used = min(BLOCK, written + chance.choice([1, 8, PAGE, 5000, 300_001, BLOCK]))
            output.write(block[written:used], hurry=chance.random() < hurries)
            written = used
        expected += block
    output.close()
    return bytes(expected), output


@pytest.mark.parametrize("hurries", [0.0, 0.4, 1.0])
def test_every_byte_is_where_it_belongs(tmp_path: Path, hurries: float) -> None:
    expected, output = fill(tmp_path / "file", hurries)
    assert (tmp_path / "file").read_bytes() == expected
    assert (output.passed > 0) == takes_direct_writes(tmp_path)


def test_memory_that_holds_no_such_writes(tmp_path: Path) -> None:
    """tmpfs, where there is one: of old it refuses to open such a file."""
    folder = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else tmp_path
    path = folder / f"optrace-test-{os.getpid()}"
    try:
        expected, _ = fill(path, 0.0)
        assert path.read_bytes() == expected
    finally:
        path.unlink()


@pytest.mark.parametrize("refused", [0, 3])
def test_a_file_system_that_refuses_when_it_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: int
) -> None:
    if not takes_direct_writes(tmp_path):
        pytest.skip("no file system here that takes direct writes")
    pwrite, calls = os.pwrite, 0

    def refuse(file: int, data: memoryview, offset: int) -> int:
        nonlocal calls
        calls += 1
        if calls > refused:
            raise OSError(errno.EINVAL, "Invalid argument")
        return pwrite(file, data[: PAGE + len(data) // 2 // PAGE * PAGE], offset)  # and takes less than it was given

    monkeypatch.setattr(os, "pwrite", refuse)
    expected, _ = fill(tmp_path / "file", 0.0)
    assert (tmp_path / "file").read_bytes() == expected
    assert calls == refused + 1


def test_without_it_nothing_passes_the_cache(tmp_path: Path) -> None:
    expected, output = fill(tmp_path / "file", 0.0, direct=False)
    assert (tmp_path / "file").read_bytes() == expected
    assert output.passed == 0
