"""Every wrapper is gone when a recording ends, however it ended."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.optim import Optimizer
from torch.optim import optimizer as optimizer_module
from torch.optim.lr_scheduler import LRScheduler

import optrace

kept_copies = {"norm": clip_grad_norm_, "value": clip_grad_value_, "backward": torch.autograd.backward}


class Mine(torch.optim.SGD):
    def zero_grad(self, set_to_none: bool = True) -> None:
        super().zero_grad(set_to_none)

    def load_state_dict(self, state_dict: Any) -> None:
        super().load_state_dict(state_dict)


class MySchedule(LRScheduler):
    def get_lr(self) -> list[float]:  # type: ignore[override]
        return [1.0 for _ in self.base_lrs]

    def step(self, epoch: Any = None) -> None:
        super().step(epoch)


def everything() -> dict[tuple[str, str], int]:
    """The identity of every function of torch's classes and of every module."""
    found: dict[tuple[str, str], int] = {}
    classes: set[type] = {torch.Tensor, torch.nn.Parameter, torch.amp.GradScaler, nn.Module}
    todo: list[type] = [Optimizer, LRScheduler, nn.Module, torch.amp.GradScaler]
    while todo:
        cls = todo.pop()
        classes.add(cls)
        todo += type.__subclasses__(cls)
    for cls in classes:
        for name, value in list(vars(cls).items()):
            if type(value) is types.FunctionType:
                found[f"{cls.__module__}.{cls.__qualname__} {id(cls)}", name] = id(value)
    for module_name, module in list(sys.modules.items()):
        if type(module) is types.ModuleType and not module_name.startswith("optrace"):
            for name, value in list(vars(module).items()):
                if type(value) is types.FunctionType:
                    found[module_name, name] = id(value)
    for hooks in ("_global_optimizer_pre_hooks", "_global_optimizer_post_hooks"):
        found[hooks, "count"] = len(getattr(optimizer_module, hooks))
    for name, value in vars(nn.modules.module).items():
        if name.startswith("_global") and isinstance(value, dict):
            found["torch.nn.modules.module", name] = len(value)
    return found


def train() -> None:
    model = nn.Linear(2, 2)
    optimizer = Mine(model.parameters(), lr=0.1)
    schedule = MySchedule(optimizer)
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.ones(1, 2)).sum().backward()
        clip_grad_norm_(model.parameters(), 1.0)
        clip_grad_value_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()


def warm_up() -> None:
    """Torch wraps `step` in a class when its first optimizer is made, and imports some modules late."""
    train()
    torch.optim.SGD(nn.Linear(1, 1).parameters())


def differences(before: dict[tuple[str, str], int]) -> set[tuple[str, str]]:
    after = everything()
    return {key for key in before if after.get(key) != before[key]}


def test_wrappers_are_there_and_then_gone(tmp_path: Path) -> None:
    warm_up()
    before = everything()
    with optrace.record(tmp_path / "run.optrace"):
        changed = differences(before)
        assert any(name == "clip_grad_norm_" and place == __name__ for place, name in changed)
        assert any(name == "backward" and "Tensor" in place for place, name in changed)
        train()
    assert differences(before) == set()
    assert clip_grad_norm_ is kept_copies["norm"]
    assert torch.nn.utils.clip_grad_norm_ is kept_copies["norm"]
    assert torch.autograd.backward is kept_copies["backward"]
    with optrace.load(tmp_path / "run.optrace") as trace:
        wanted = ["zero_grad", "backward", "clip", "clip", "step", "scheduler_step"]
        assert [event.kind for event in trace.events] == wanted * 2


def test_after_an_exception_in_the_block(tmp_path: Path) -> None:
    warm_up()
    before = everything()

    @optrace.record(tmp_path / "run.optrace")
    def run() -> None:
        train()
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run()
    assert differences(before) == set()
    assert len(optrace.load(tmp_path / "run.optrace").events) == 12


def test_after_exceptions_inside_the_calls(tmp_path: Path) -> None:
    warm_up()
    before = everything()
    weight = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1)

    def closure() -> Any:
        raise ZeroDivisionError

    recording = optrace.record(tmp_path / "run.optrace").start()
    with pytest.raises(ZeroDivisionError):
        optimizer.step(closure)
    with pytest.raises(RuntimeError, match="scalar"):
        (weight * 2).backward()
    recording.stop()
    assert differences(before) == set()


def test_after_the_recorder_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    warm_up()
    before = everything()
    with optrace.record(tmp_path / "missing" / ".." / "a-file" / "run.optrace") as recording:
        train()
    assert differences(before) == set()
    assert recording.failure is None
    (tmp_path / "file").write_text("in the way")
    with optrace.record(tmp_path / "file" / "run.optrace") as recording:
        train()
    assert differences(before) == set()
    assert recording.failure is not None
    assert capsys.readouterr().err.count("\n") == 1


def test_classes_made_while_recording(tmp_path: Path) -> None:
    warm_up()
    with optrace.record(tmp_path / "run.optrace"):

        class Late(torch.optim.SGD):
            def zero_grad(self, set_to_none: bool = True) -> None:
                super().zero_grad(set_to_none)

        class LateSchedule(torch.optim.lr_scheduler.StepLR):
            def step(self, epoch: Any = None) -> None:
                super().step()

        own, own_step = Late.__dict__["zero_grad"], LateSchedule.__dict__["step"]
        weight = torch.ones(1, requires_grad=True)
        optimizer = Late([weight], lr=0.1)
        schedule = LateSchedule(optimizer, 1)
        optimizer.zero_grad()
        weight.sum().backward()
        optimizer.step()
        schedule.step()
    assert Late.__dict__["zero_grad"] is own
    assert LateSchedule.__dict__["step"] is own_step
    trace = optrace.load(tmp_path / "run.optrace")
    assert [event.kind for event in trace.events] == ["zero_grad", "backward", "step", "scheduler_step"]


def test_copies_taken_while_recording(tmp_path: Path) -> None:
    """A module imported while a recording runs has the wrapper by `from … import`; it gets the real one back."""
    late = types.ModuleType("imported_late")
    sys.modules["imported_late"] = late
    try:
        with optrace.record(tmp_path / "run.optrace"):
            exec("from torch.nn.utils import clip_grad_norm_", late.__dict__)
        assert late.clip_grad_norm_ is kept_copies["norm"]  # type: ignore[attr-defined]
    finally:
        del sys.modules["imported_late"]


def test_somebody_elses_wrapper_over_ours_stays(tmp_path: Path) -> None:
    original = torch.Tensor.backward
    with optrace.record(tmp_path / "run.optrace"):
        ours = torch.Tensor.backward

        def theirs(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            return ours(self, *args, **kwargs)

        torch.Tensor.backward = theirs  # type: ignore[method-assign]
    try:
        assert torch.Tensor.backward is theirs
        weight = torch.ones(1, requires_grad=True)
        weight.sum().backward()
        assert weight.grad is not None
    finally:
        torch.Tensor.backward = original  # type: ignore[method-assign]
