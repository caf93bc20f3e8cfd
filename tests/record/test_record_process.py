"""Threads, forks, several recordings, an end without a stop: what surrounds a recording in a real process."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from small import ZBS, turn, with_momentum
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from witness import Witness, bits, iterations, kinds

import optrace


def test_recording_inside_recording(path: Path) -> None:
    with optrace.record(path):
        with pytest.raises(optrace.OptraceError, match="already recording into"):
            optrace.record(path.with_name("other.optrace")).start()
        turn(*with_momentum())
    assert kinds(optrace.load(path)) == ZBS
    assert not path.with_name("other.optrace").exists()


def test_a_decorator_and_start_stop(path: Path) -> None:
    model, optimizer = with_momentum()

    @optrace.record(path)
    def train() -> str:
        turn(model, optimizer)
        return "done"

    assert train() == "done"
    assert train.__name__ == "train"
    assert train() == "done"
    turn(model, optimizer)
    assert kinds(optrace.load(path)) == ZBS
    assert kinds(optrace.load(path.with_name("run-2.optrace"))) == ZBS
    recording = optrace.record(path, overwrite=True)
    recording.stop()
    recording.start()
    assert recording.active
    turn(model, optimizer)
    turn(model, optimizer)
    recording.stop()
    recording.stop()
    assert not recording.active
    assert kinds(optrace.load(path)) == ZBS * 2


def test_never_overwrites_what_is_no_trace(path: Path) -> None:
    path.mkdir()
    (path / "thesis.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(optrace.OptraceError):
            optrace.record(path, overwrite=overwrite).start()
    assert (path / "thesis.txt").read_text() == "years of work"
    plain = path.with_name("file.optrace")
    plain.write_text("mine")
    with pytest.raises(optrace.OptraceError):
        optrace.record(plain, overwrite=True).start()
    assert plain.read_text() == "mine"


def test_a_recording_in_the_middle_of_a_run(path: Path) -> None:
    """State and gradients that were there before are known from the first event on."""
    model, optimizer = with_momentum()
    turn(model, optimizer)
    with optrace.record(path) as recording:
        witness = Witness(recording, model.named_parameters(), optimizer)
        optrace.mark("first")
        witness.look()
        optimizer.zero_grad()
        witness.look()
    witness.check(optrace.load(path))


def test_an_empty_recording(path: Path) -> None:
    with optrace.record(path):
        pass
    trace = optrace.load(path)
    assert len(trace.events) == len(trace.iterations) == len(trace.marks) == 0
    assert list(trace.follow()) == []
    assert trace.complete
    with pytest.raises(optrace.OptraceError, match="no events"):
        trace.event(0)


def test_two_loops_in_two_threads(path: Path) -> None:
    pairs = [with_momentum(), with_momentum()]
    names = ["first", "second"]
    finals: dict[str, list[bytes]] = {}

    def train(name: str, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        seen = []
        for _ in range(30):
            turn(model, optimizer)
            seen.append(bits(model.weight))  # type: ignore[arg-type]
        finals[name] = seen

    models = {name: model for name, (model, _) in zip(names, pairs, strict=True)}
    with optrace.record(path, model=models):
        threads = [
            threading.Thread(target=train, args=(name, *pair), name=name)
            for name, pair in zip(names, pairs, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    trace = optrace.load(path)
    assert len({event.position for event in trace.events}) == len(trace.events)
    assert {event.thread for event in trace.events} == set(names)
    for name in names:
        mine = [event for event in trace.events if event.thread == name]
        assert [event.kind for event in mine if event.kind != "mutation"] == ZBS * 30
        steps = [event for event in mine if event.kind == "step"]
        found = [trace.value(f"{name}.weight", at=event) for event in steps]
        assert [value.tobytes() for value in found if value is not None] == finals[name]


def test_a_loop_in_a_thread_and_none_in_the_main_one(path: Path) -> None:
    model, optimizer = with_momentum()
    with optrace.record(path):
        worker = threading.Thread(target=lambda: [turn(model, optimizer) for _ in range(3)], name="worker")
        worker.start()
        worker.join()
    trace = optrace.load(path)
    assert iterations(trace) == [ZBS] * 3
    assert {event.thread for event in trace.events} == {"worker"}


def test_data_loader_workers(path: Path) -> None:
    model, optimizer = with_momentum()
    data = DataLoader(TensorDataset(torch.randn(8, 3)), batch_size=4, num_workers=1, multiprocessing_context="fork")
    with optrace.record(path) as recording:
        for (batch,) in data:
            optimizer.zero_grad()
            model(batch).sum().backward()
            optimizer.step()
    assert recording.failure is None
    assert iterations(optrace.load(path)) == [ZBS] * 2


def _child(model: nn.Module, optimizer: Any, queue: Any) -> None:
    from optrace.recording.session import current

    optrace.mark("before it trains")
    queue.put((current() is None, torch.Tensor.backward.__module__))
    turn(model, optimizer)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_records_nothing_before_it_trains_and_then_beside_its_parent(path: Path) -> None:
    model, optimizer = with_momentum()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    with optrace.record(path):
        turn(model, optimizer)
        torch.set_num_threads(1)
        child = context.Process(target=_child, args=(model, optimizer, queue))
        child.start()
        child.join(30)
        if child.is_alive():
            child.kill()
        assert child.exitcode == 0
        turn(model, optimizer)
    assert queue.get(timeout=5) == (True, "torch._tensor")
    with optrace.load(path) as trace:
        assert kinds(trace) == ZBS * 2
        assert list(trace.processes) == ["main", "process-1"]
        assert kinds(trace.processes["process-1"]) == ZBS


def test_nothing_is_printed(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with optrace.record(path):
        turn(*with_momentum())
    assert capfd.readouterr() == ("", "")


def test_a_script_that_exits_without_stopping(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import torch, optrace, sys\n"
        "optrace.record('run.optrace').start()\n"
        "w = torch.ones(2, requires_grad=True)\n"
        "w.sum().backward()\n"
        "sys.exit(3)\n"
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "")
    trace = optrace.load(tmp_path / "run.optrace")
    assert trace.complete
    assert trace.value("w", "grad").tolist() == [1, 1]  # type: ignore[union-attr]


def test_a_trace_that_was_killed_can_be_replaced(path: Path, tmp_path: Path) -> None:
    left = tmp_path / "left.optrace"
    with optrace.record(path):
        while not len(optrace.load(path).parameters):
            weight = torch.ones(1, requires_grad=True)
            optimizer = torch.optim.SGD([weight], 0.1)
            weight.backward()
            optimizer.step()
        shutil.copytree(path, left)  # as a kill -9 would leave it
    with optrace.record(left, overwrite=True):
        pass
    assert optrace.load(left).complete
    assert not optrace.load(left).events


def test_killed_in_a_gap_the_trace_says_so(tmp_path: Path) -> None:
    script = """
        import os, sys, time, torch
        import optrace
        weight = torch.nn.Parameter(torch.ones(2))
        optimizer = torch.optim.SGD([weight], lr=0.1)
        with optrace.record(sys.argv[1], until=5):
            for turn in range(40):
                optimizer.zero_grad()
                weight.sum().backward()
                optimizer.step()
            time.sleep(0.5)
            os.kill(os.getpid(), 9)
    """
    path = tmp_path / "run.optrace"
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script), str(path)], check=False, timeout=120)
    assert done.returncode == -9
    with optrace.load(path) as trace:
        (gap,) = trace.gaps
        assert gap.seq == len(trace.events) - 1 == 15
        assert gap.first == 5
        assert 64 <= gap.events <= 105  # as often as it doubles
        assert 26 <= gap.last <= 39
        assert trace.exactness("weight") == "not kept"
