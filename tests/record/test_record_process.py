"""Threads, forks, other default settings, several recordings: what surrounds a recording in a real process."""

from __future__ import annotations

import copy
import io
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from witness import Witness, bits, iterations, kinds

import optrace

ZBS = ["zero_grad", "backward", "step"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.optrace"


def turn(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(torch.ones(2, 3)).square().mean().backward()
    optimizer.step()


def small() -> tuple[nn.Module, torch.optim.Optimizer]:
    model = nn.Linear(3, 2)
    return model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)


# Starting and stopping


def test_recording_inside_recording(path: Path) -> None:
    with optrace.record(path):
        with pytest.raises(optrace.OptraceError, match="already recording into"):
            optrace.record(path.with_name("other.optrace")).start()
        turn(*small())
    assert kinds(optrace.load(path)) == ZBS
    assert not path.with_name("other.optrace").exists()


def test_a_decorator_and_start_stop(path: Path) -> None:
    model, optimizer = small()

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
    model, optimizer = small()
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


# Threads


def test_two_loops_in_two_threads(path: Path) -> None:
    pairs = [small(), small()]
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
    model, optimizer = small()
    with optrace.record(path):
        worker = threading.Thread(target=lambda: [turn(model, optimizer) for _ in range(3)], name="worker")
        worker.start()
        worker.join()
    trace = optrace.load(path)
    assert iterations(trace) == [ZBS] * 3
    assert {event.thread for event in trace.events} == {"worker"}


# Other processes


def test_data_loader_workers(path: Path) -> None:
    model, optimizer = small()
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
    model, optimizer = small()
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


# Copies and other settings


def test_copies_and_pickles_made_while_recording(path: Path) -> None:
    model, optimizer = small()
    with optrace.record(path) as recording:
        turn(model, optimizer)
        twin = copy.deepcopy(model)
        again = pickle.loads(pickle.dumps(optimizer))
        buffer = io.BytesIO()
        torch.save({"model": model, "optimizer": optimizer.state_dict()}, buffer)
        turn(model, optimizer)
        turn(twin, torch.optim.SGD(twin.parameters(), lr=0.1))
        again.step()
        optrace.mark("end")
        witness = Witness(recording, model.named_parameters(), optimizer)
        witness.look()
    assert recording.failure is None
    buffer.seek(0)
    loaded = torch.load(buffer, weights_only=False)
    assert not isinstance(loaded, str)
    witness.check(optrace.load(path))


def test_no_grad_and_inference_mode(path: Path) -> None:
    model, optimizer = small()
    with optrace.record(path) as recording:
        witness = Witness(recording, model.named_parameters(), optimizer)
        for _ in range(2):
            turn(model, optimizer)
            witness.look()
            with torch.no_grad():
                model.weight.mul_(0.5)  # type: ignore[operator, union-attr]
                optrace.mark("inside no_grad")
                witness.look()
            with torch.inference_mode():
                model(torch.ones(2, 3))
                optrace.mark("inside inference")
                witness.look()
            with torch.inference_mode():
                gradient = torch.ones(2)
            model.bias.grad = gradient  # type: ignore[union-attr, assignment]
            optrace.mark("a gradient made in inference mode")
            witness.look()
            model.bias.grad = None  # type: ignore[union-attr, assignment]
    assert recording.failure is None
    witness.check(optrace.load(path))


def test_default_dtype_and_device(path: Path) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            ghost = nn.Linear(2, 2)
        model, optimizer = small()
        with optrace.record(path, model=model) as recording:
            witness = Witness(recording, model.named_parameters(), optimizer)
            torch.set_default_dtype(torch.float16)
            optimizer.zero_grad()
            model(torch.ones(2, 3, dtype=torch.float64)).sum().backward()
            witness.look()
            with torch.device("meta"):
                optimizer.step()
                optrace.mark("on another default device")
            witness.look()
    finally:
        torch.set_default_dtype(torch.float32)
    assert recording.failure is None
    assert ghost.weight.is_meta
    witness.check(optrace.load(path))


def test_anomaly_mode_and_torch_function_modes(path: Path) -> None:
    class Counting(torch.overrides.TorchFunctionMode):
        calls = 0

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            Counting.calls += 1
            return func(*args, **(kwargs or {}))

    def run(recording: optrace.record | None) -> int:
        Counting.calls = 0
        model, optimizer = small()
        with torch.autograd.set_detect_anomaly(True), Counting():
            turn(model, optimizer)
        return Counting.calls

    run(None)
    bare = run(None)
    with optrace.record(path) as recording:
        assert run(recording) == bare
    assert recording.failure is None
    assert kinds(optrace.load(path)) == ZBS


def test_a_profiler_sees_no_operation_of_ours(path: Path) -> None:
    """For tensors in ordinary memory, recording runs no torch operation at all."""

    def operations() -> list[str]:
        model, optimizer = small()
        turn(model, optimizer)
        with torch.profiler.profile() as profile:
            turn(model, optimizer)
        return sorted(event.key for event in profile.key_averages() for _ in range(event.count))

    def names(all_of_them: list[str]) -> set[str]:
        return {name for name in all_of_them if name.startswith("aten::")}

    bare = operations()
    with optrace.record(path):
        recorded = operations()
    assert names(recorded) - names(bare) <= {"aten::detach", "aten::item", "aten::_local_scalar_dense"}


def test_a_gradient_hook_on_the_parameter(path: Path) -> None:
    model, optimizer = small()
    model.weight.register_hook(lambda gradient: gradient * 2)  # type: ignore[union-attr, operator]
    with optrace.record(path) as recording:
        witness = Witness(recording, model.named_parameters(), optimizer)
        for _ in range(2):
            turn(model, optimizer)
            witness.look()
    witness.check(optrace.load(path))


def test_memory_is_not_held(path: Path) -> None:
    import gc
    import weakref

    with optrace.record(path):
        model, optimizer = small()
        turn(model, optimizer)
        alive = [weakref.ref(thing) for thing in (model, optimizer, model.weight)]
        del model, optimizer
        gc.collect()
        assert [reference() for reference in alive] == [None] * 3


# The scripts' own output


def test_nothing_is_printed(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with optrace.record(path):
        turn(*small())
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
