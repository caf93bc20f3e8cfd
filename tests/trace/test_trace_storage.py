"""What a trace takes on disk, how it is read while it is written, and what a kill or a full disk leaves of it."""

from __future__ import annotations

import gc
import os
import random
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from loops import SCRIPT, check, expected, start, wait_until_running
from torch import nn

import optrace
from optrace.trace import writer as writing
from optrace.trace.format import TENSORS_FILE

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.optrace"


def stored(path: Path) -> int:
    return (path / TENSORS_FILE).stat().st_size


# Nothing unchanged twice


def test_a_step_at_rate_zero_stores_no_parameter(path: Path) -> None:
    weight = torch.randn(1000, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.0)
    with optrace.record(path):
        for _ in range(5):
            optimizer.zero_grad()
            (weight * 2).sum().backward()
            optimizer.step()
    assert stored(path) <= 6 * 4000 + 100  # once the weight, five gradients that were cleared between
    trace = optrace.load(path)
    assert list(trace.writes("weight", "param")) == [0]
    assert trace.value("weight").tobytes() == weight.detach().numpy().tobytes()  # type: ignore[union-attr]


def test_frozen_parameters_are_stored_once(path: Path) -> None:
    model = nn.Sequential(nn.Linear(100, 100), nn.Linear(100, 1))
    model[0].requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with optrace.record(path):
        for _ in range(10):
            optimizer.zero_grad()
            model(torch.ones(1, 100)).sum().backward()
            optimizer.step()
    assert stored(path) < 4 * 10_100 + 10 * 2 * 4 * 110 + 1000


def test_zeros_and_unchanged_gradients_take_nothing(path: Path) -> None:
    weight = torch.randn(1000, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1)
    with optrace.record(path):
        for _ in range(5):
            optimizer.zero_grad(set_to_none=False)
            (weight * 0).sum().backward()
    assert stored(path) <= 4000 + 100
    trace = optrace.load(path)
    grad = trace.value("weight", "grad")
    assert grad is not None
    assert not grad.any()
    assert grad.shape == (1000,)


def test_the_file_holds_no_more_than_what_changed(path: Path) -> None:
    """With Adam everything changes: weight, gradient and two moments each step, and a 0-dim step."""
    weight = torch.randn(5000, requires_grad=True)
    optimizer = torch.optim.Adam([weight])
    with optrace.record(path):
        for turn in range(6):
            optimizer.zero_grad()
            (weight * (turn + 1)).sum().backward()
            optimizer.step()
    assert stored(path) == pytest.approx(20_000 * (1 + 6 * 4), rel=0.01)


# Reading while writing


def test_reading_in_the_same_process(path: Path) -> None:
    weight = torch.ones(3, requires_grad=True)
    with optrace.record(path):
        for _ in range(3):
            weight.sum().backward()
        deadline = time.monotonic() + 20
        trace = optrace.load(path)
        while len(trace.events) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
            trace.refresh()
        assert len(trace.events) == 3
        assert not trace.complete
        assert trace.value("weight", "grad").tolist() == [3, 3, 3]  # type: ignore[union-attr]
        weight.sum().backward()
    assert trace.refresh() == 1
    assert trace.complete
    assert trace.value("weight", "grad").tolist() == [4, 4, 4]  # type: ignore[union-attr]
    trace.close()


def test_opened_before_anything_is_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "COMMIT_SECONDS", 0.5)
    weight = torch.ones(3, requires_grad=True)
    with optrace.record(path), optrace.load(path) as trace:
        assert len(trace.events) == 0
        weight.sum().backward()
        deadline = time.monotonic() + 20
        while not trace.refresh() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert [event.kind for event in trace.events] == ["backward"]


def test_following_from_another_thread(path: Path) -> None:
    weight = torch.ones(3, requires_grad=True)
    found = []

    def follow() -> None:
        with optrace.load(path) as trace:
            for event in trace.follow(poll=0.01):
                value = trace.value("weight", "grad", at=event)
                found.append((event.seq, None if value is None else float(value[0])))

    with optrace.record(path):
        weight.sum().backward()
        reader = threading.Thread(target=follow)
        while True:
            try:
                optrace.load(path).close()
                break
            except optrace.OptraceError:
                time.sleep(0.01)
        reader.start()
        for _ in range(5):
            weight.sum().backward()
            time.sleep(0.03)
    reader.join(20)
    assert not reader.is_alive()
    assert found == [(number, number + 1.0) for number in range(6)]


@posix
def test_another_process_writes(path: Path) -> None:
    process = start(path, 60, pause=0.01)
    try:
        wait_until_running(process)
        sizes = []
        with optrace.load(path) as trace:
            for event in trace.follow(poll=0.01):
                sizes.append(len(trace.events))
                assert event.seq == len(sizes) - 1
            assert check(trace) == 180
        assert len(set(sizes)) > 1, "everything came at once: nothing was followed"
    finally:
        process.kill()
        process.communicate()


# Killed


def killed(path: Path, delay: float, size: int) -> int:
    process = start(path, 10**9, size)
    try:
        wait_until_running(process)
        time.sleep(delay)
    finally:
        process.kill()
        process.communicate()
    trace = optrace.load(path)
    assert not trace.complete
    list(trace.follow())  # ends, since its writer is gone
    count = check(trace, size)
    trace.close()
    with optrace.load(path) as again:
        assert len(again.events) == count
    return count


@posix
def test_killed_at_random_moments(tmp_path: Path) -> None:
    chance = random.Random(3)
    counts = [killed(tmp_path / f"{i}.optrace", chance.uniform(0.02, 0.3), [100, 3, 5000][i]) for i in range(3)]
    assert max(counts) > 10


@posix
@pytest.mark.slow
def test_killed_at_many_random_moments(tmp_path: Path) -> None:
    chance = random.Random(4)
    counts = [
        killed(tmp_path / f"{i}.optrace", chance.uniform(0, 0.5), chance.choice([1, 100, 5000, 300_000]))
        for i in range(20)
    ]
    assert sum(counts) > 100


@posix
def test_little_is_lost_when_killed(path: Path) -> None:
    process = start(path, 10**9, pause=0.005)
    try:
        wait_until_running(process)
        time.sleep(0.7)
        at = time.time()
    finally:
        process.kill()
        process.communicate()
    with optrace.load(path) as trace:
        lost = at - (trace.meta["began"] + trace.events[-1].time)
    assert lost < 0.5


# Disks


@posix
@pytest.mark.parametrize("limit", [40_000, 300_000])
def test_a_full_disk(path: Path, limit: int) -> None:
    """A limit on the size of files fails writes half-way, as a full disk does."""

    def restrict() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path), "400", "2000", "0"],
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=restrict,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "running"
    word, rest = done.stdout.splitlines()[1].split(maxsplit=1)
    assert word == "done"
    assert "None" not in rest
    assert float(rest.rsplit(maxsplit=1)[1]) == pytest.approx(float(expected(400, 2000)[0].sum(dtype=np.float64)))
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("optrace: ")
    assert "the training goes on" in done.stderr
    try:
        trace = optrace.load(path)
    except optrace.OptraceError:
        assert limit < 100_000  # not even the index's tables had room
        return
    check(trace, 2000)


@posix
def test_a_full_disk_while_the_training_waits_for_it(path: Path) -> None:
    """More in flight than the writer's blocks hold: the training must be let go, not hang."""

    def restrict() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path), "60", "1000000", "0"],
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=restrict,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") == 1
    assert check(optrace.load(path), 1_000_000) >= 0


def train() -> torch.Tensor:
    torch.manual_seed(5)
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(4, 3)).square().mean().backward()
        optimizer.step()
    return model.weight.detach()


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="here nobody says which files are open")
@pytest.mark.parametrize("last", [None, 2])
def test_a_trace_that_nobody_closes_keeps_no_file_open(path: Path, last: int | None) -> None:
    with optrace.record(path, last=last):
        for _ in range(20):
            train()
    gc.collect()
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        optrace.check(optrace.load(path))
    gc.collect()
    assert os.listdir("/proc/self/fd") == before


def test_paths_that_cannot_be_written(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("here")
    places = [tmp_path / "file" / "run.optrace", Path("/proc/nowhere/run.optrace"), tmp_path / ("x" * 300)]
    truth = train()
    for place in places:
        with optrace.record(place) as recording:
            assert torch.equal(train(), truth)
        assert recording.failure
        assert not recording.active
        out, err = capfd.readouterr()
        assert out == ""
        assert err.count("\n") == 1
        assert "the training goes on" in err
        assert str(place)[:50] in err


@posix
@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    folder.chmod(0o500)
    with optrace.record(folder / "run.optrace") as recording:
        train()
    assert recording.failure


@posix
def test_a_trace_in_a_read_only_folder_is_readable(path: Path) -> None:
    with optrace.record(path):
        truth = train()
    for file in path.iterdir():
        file.chmod(0o400)
    path.chmod(0o500)
    try:
        before = sorted(file.name for file in path.iterdir())
        assert optrace.load(path).value("weight").tobytes() == truth.numpy().tobytes()  # type: ignore[union-attr]
        assert sorted(file.name for file in path.iterdir()) == before
    finally:
        path.chmod(0o700)


def test_a_trace_can_be_moved(path: Path, tmp_path: Path) -> None:
    with optrace.record(path):
        truth = train()
    other = tmp_path / "other place ? #%20 é"
    path.rename(other)
    trace = optrace.load(other)
    assert trace.value("weight").tobytes() == truth.numpy().tobytes()  # type: ignore[union-attr]
    assert trace.events[0].site is not None
    assert trace.sources[__file__].startswith('"""What a trace takes')


def test_what_a_finished_trace_consists_of(path: Path) -> None:
    with optrace.record(path):
        train()
    names = ["events.bin", "index.sqlite", "index.xxh3", "tensors-0000.bin"]
    assert sorted(file.name for file in path.iterdir()) == names


def test_a_recorder_that_fails_says_so_once(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A tensor whose reading raises in a way nobody foresaw."""

    class Hostile(torch.Tensor):
        @property
        def grad(self):  # type: ignore[no-untyped-def]
            raise RuntimeError("not for you")

    class Holder(nn.Module):
        pass

    holder = Holder()
    with optrace.record(path) as recording:
        one = train()
        holder._parameters["odd"] = torch.ones(2).as_subclass(Hostile).requires_grad_()  # type: ignore[assignment]
        nn.Module.register_module(holder, "inner", nn.Linear(1, 1))
        two = train()
    assert torch.equal(one, two)
    err = capfd.readouterr().err
    assert err.count("\n") <= 1
    trace = optrace.load(path)
    assert len(trace.events) >= 9
    assert (recording.failure is None) == (err == "")
