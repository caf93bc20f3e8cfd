"""Other default settings, modes, hooks, a profiler: what surrounds a recording inside torch."""

from __future__ import annotations

import copy
import io
import pickle
from pathlib import Path
from typing import Any

import torch
from small import ZBS, turn, with_momentum
from torch import nn
from witness import Witness, kinds

import optrace


def test_copies_and_pickles_made_while_recording(path: Path) -> None:
    model, optimizer = with_momentum()
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
    model, optimizer = with_momentum()
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
        model, optimizer = with_momentum()
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
        model, optimizer = with_momentum()
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
        model, optimizer = with_momentum()
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
    model, optimizer = with_momentum()
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
        model, optimizer = with_momentum()
        turn(model, optimizer)
        alive = [weakref.ref(thing) for thing in (model, optimizer, model.weight)]
        del model, optimizer
        gc.collect()
        assert [reference() for reference in alive] == [None] * 3
