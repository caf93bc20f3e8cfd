"""Clipping, schedulers, loss scaling and loaded state, against what torch did."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.optim import lr_scheduler
from witness import Witness, iterations, kinds

import optrace


def model_and_optimizer(**options: Any) -> tuple[nn.Module, torch.optim.SGD]:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    return model, torch.optim.SGD(model.parameters(), **{"lr": 0.1, **options})


def backward(model: nn.Module) -> None:
    (model(torch.randn(5, 3)) * 7).square().mean().backward()


def norm(parameters: Iterator[torch.Tensor], norm_type: float = 2.0) -> float:
    whole = torch.cat([p.grad.reshape(-1) for p in parameters if p.grad is not None])
    return float(torch.linalg.vector_norm(whole.double(), norm_type))


# Clipping


@pytest.mark.parametrize("norm_type", [2.0, 1, float("inf")])
@pytest.mark.parametrize("foreach", [None, True, False])
def test_clip_norm(path: Path, norm_type: float, foreach: bool | None) -> None:
    model, optimizer = model_and_optimizer()
    truth = []
    with optrace.record(path) as recording:
        witness = Witness(recording, model.named_parameters(), optimizer)
        for _ in range(2):
            optimizer.zero_grad()
            backward(model)
            before = norm(model.parameters(), norm_type)
            returned = clip_grad_norm_(model.parameters(), 0.5, norm_type, foreach=foreach)
            witness.look()
            truth.append((before, float(returned), norm(model.parameters(), norm_type)))
            optimizer.step()
    trace = optrace.load(path)
    assert iterations(trace) == [["zero_grad", "backward", "clip", "step"]] * 2
    witness.check(trace)
    clips = [event for event in trace.events if event.kind == "clip"]
    for event, (before, returned, after) in zip(clips, truth, strict=True):
        assert event.detail["norm_before"] == pytest.approx(before, rel=1e-6)
        assert event.detail["norm_before"] == pytest.approx(returned, rel=1e-6)
        assert event.detail["norm_after"] == pytest.approx(after, rel=1e-6)
        assert event.detail["max_norm"] == 0.5
        assert event.detail["parameters"] == [0, 1, 2, 3]


def test_clipping_in_other_ways(path: Path) -> None:
    model, optimizer = model_and_optimizer()
    first = next(model.parameters())
    with optrace.record(path) as recording:
        witness = Witness(recording, model.named_parameters(), optimizer)
        backward(model)
        clip_grad_value_(model.parameters(), 0.01)
        witness.look()
        torch.nn.utils.clip_grad_norm_(first, 1e-3)
        witness.look()
        torch.nn.utils.clip_grad_norm_((p for p in model.parameters()), max_norm=1e-4)
        witness.look()
        clip_grad_norm_([], 1.0)
        torch.nn.utils.clip_grads_with_norm_(model.parameters(), 1e-5, torch.tensor(1.0))
        witness.look()
    trace = optrace.load(path)
    assert kinds(trace) == ["backward", *["clip"] * 5]
    assert trace.events[1].detail["clip_value"] == 0.01
    assert trace.events[2].detail["parameters"] == [0]
    witness.check(trace)


def test_a_clip_that_raises(path: Path) -> None:
    model, _ = model_and_optimizer()
    with optrace.record(path):
        backward(model)
        model[0].weight.grad.fill_(float("nan"))  # type: ignore[index, union-attr]
        with pytest.raises(RuntimeError, match="non-finite"):
            clip_grad_norm_(model.parameters(), 1.0, error_if_nonfinite=True)
    trace = optrace.load(path)
    assert [(event.kind, event.failed) for event in trace.events] == [
        ("backward", False),
        ("mutation", False),
        ("clip", True),
    ]
    assert np.isnan(trace.events[-1].detail["norm_before"])


# Schedulers


def sequential(optimizer: torch.optim.Optimizer) -> Any:
    warm = lr_scheduler.LinearLR(optimizer, 0.1, total_iters=2)
    return lr_scheduler.SequentialLR(optimizer, [warm, lr_scheduler.ExponentialLR(optimizer, 0.5)], milestones=[2])


def chained(optimizer: torch.optim.Optimizer) -> Any:
    return lr_scheduler.ChainedScheduler(
        [lr_scheduler.ConstantLR(optimizer, 0.1, total_iters=2), lr_scheduler.ExponentialLR(optimizer, 0.5)]
    )


class Halving(lr_scheduler.LRScheduler):
    """Somebody's own."""

    def get_lr(self) -> list[float]:  # type: ignore[override]
        return [base * 0.5**self.last_epoch for base in self.base_lrs]

    def step(self, epoch: Any = None) -> None:
        super().step()


SCHEDULERS: dict[str, Callable[[torch.optim.Optimizer], Any]] = {
    "StepLR": lambda o: lr_scheduler.StepLR(o, 2),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [1, 3]),
    "ConstantLR": lambda o: lr_scheduler.ConstantLR(o, 0.3, 2),
    "LinearLR": lambda o: lr_scheduler.LinearLR(o),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.9),
    "PolynomialLR": lambda o: lr_scheduler.PolynomialLR(o, 3),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 3),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 2),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.1, 2),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=6),
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda epoch: 1 / (1 + epoch)),
    "MultiplicativeLR": lambda o: lr_scheduler.MultiplicativeLR(o, lambda epoch: 0.9),
    "ReduceLROnPlateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=0),
    "SequentialLR": sequential,
    "ChainedScheduler": chained,
    "Halving": Halving,
}


@pytest.mark.parametrize("made", ["before", "while"])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler(path: Path, name: str, made: str) -> None:
    model, _ = model_and_optimizer()
    groups = [{"params": list(model[0].parameters())}, {"params": list(model[1].parameters()), "lr": 0.02}]  # type: ignore[index]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)

    def rates() -> list[float]:
        return [float(group["lr"]) for group in optimizer.param_groups]

    scheduler = SCHEDULERS[name](optimizer) if made == "before" else None
    truth = []
    with optrace.record(path):
        scheduler = scheduler or SCHEDULERS[name](optimizer)
        for _ in range(4):
            backward(model)
            optimizer.step()
            before = rates()
            if name == "ReduceLROnPlateau":
                scheduler.step(1.0)
            else:
                scheduler.step()
            truth.append((before, rates()))
    trace = optrace.load(path)
    assert iterations(trace) == [["backward", "step", "scheduler_step"]] * 4
    steps = [event for event in trace.events if event.kind == "scheduler_step"]
    assert [(event.detail["lr_before"], event.detail["lr_after"]) for event in steps] == truth
    assert {event.detail["scheduler"] for event in steps} == {name}
    assert {event.optimizer.name for event in steps if event.optimizer} == {"SGD"}
    assert [("settings" in event.detail) for event in steps] == [True, False, False, False]
    used = [[group.hyper["lr"] for group in trace.groups(e)] for e in trace.events if e.kind == "step"]
    assert used == [before for before, _ in truth]


def test_two_schedulers(path: Path) -> None:
    model, optimizer = model_and_optimizer()
    one, two = lr_scheduler.ExponentialLR(optimizer, 0.9), lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    with optrace.record(path):
        for _ in range(2):
            backward(model)
            optimizer.step()
            one.step()
            two.step()
    trace = optrace.load(path)
    assert iterations(trace) == [["backward", "step", "scheduler_step", "scheduler_step"]] * 2
    assert [e.detail["id"] for e in trace.events if e.kind == "scheduler_step"] == [0, 1, 0, 1]


# Loss scaling


@pytest.mark.parametrize("fused", [False, True])
def test_grad_scaler(path: Path, fused: bool) -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
    scales, losses = [], []
    with optrace.record(path) as recording:
        witness = Witness(recording, model.named_parameters(), optimizer)
        for turn in range(4):
            optimizer.zero_grad()
            loss = model(torch.ones(2, 3)).mean() * (float("inf") if turn == 1 else 1.0)
            scaled = scaler.scale(loss)
            losses.append(float(scaled.detach()))
            scaled.backward()
            witness.look()
            if turn != 3:
                scaler.unscale_(optimizer)
                witness.look()
            scaler.step(optimizer)
            witness.look()
            before = scaler.get_scale()
            scaler.update()
            scales.append((before, scaler.get_scale()))
            witness.look()
    trace = optrace.load(path)
    usual = ["zero_grad", "backward", "unscale", "step", "scaler_update"]
    found = iterations(trace)
    assert found[:3] == [usual] * 3
    assert found[3] in (usual, ["zero_grad", "backward", "step", "scaler_update"])
    steps = [event for event in trace.events if event.kind == "step"]
    assert [event.skipped for event in steps] == [False, True, False, False]
    updates = [event for event in trace.events if event.kind == "scaler_update"]
    assert [(event.detail["scale_before"], event.detail["scale_after"]) for event in updates] == scales
    backwards = [event for event in trace.events if event.kind == "backward"]
    assert [event.detail["scale"] for event in backwards] == [before for before, _ in scales]
    assert [event.loss for event in backwards] == losses
    unscales = [event for event in trace.events if event.kind == "unscale"]
    assert [event.detail["found_inf"] for event in unscales][:3] == [[0.0], [1.0], [0.0]]
    assert all(event.optimizer is not None for event in steps + unscales)
    witness.check(trace)


def test_a_scaler_that_is_off(path: Path) -> None:
    model, optimizer = model_and_optimizer()
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    with optrace.record(path):
        for _ in range(2):
            optimizer.zero_grad()
            scaler.scale(model(torch.ones(2, 3)).mean()).backward()
            scaler.unscale_(optimizer)
            scaler.step(optimizer)
            scaler.update()
    assert iterations(optrace.load(path)) == [["zero_grad", "backward", "step"]] * 2


# Loading


def test_loading_state(path: Path) -> None:
    model, optimizer = model_and_optimizer(momentum=0.9)
    backward(model)
    optimizer.step()
    saved = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    with optrace.record(path) as recording:
        witness = Witness(recording, model.named_parameters(), optimizer)
        optimizer.zero_grad()
        witness.look()
        backward(model)
        witness.look()
        optimizer.step()
        witness.look()
        model.load_state_dict(saved[0])
        witness.look()
        optimizer.load_state_dict(saved[1])
        witness.look()
        backward(model)
        optimizer.step()
        witness.look()
        optimizer.load_state_dict(torch.optim.SGD(model.parameters(), lr=0.01).state_dict())
        witness.look()
    trace = optrace.load(path)
    assert kinds(trace) == [
        "zero_grad",
        "backward",
        "step",
        "load_state",
        "load_state",
        "backward",
        "step",
        "load_state",
    ]
    assert [e.detail["of"] for e in trace.events if e.kind == "load_state"] == ["module", "optimizer", "optimizer"]
    assert trace.groups(-1)[0].hyper["lr"] == 0.01
    witness.check(trace)


def test_loading_that_fails(path: Path) -> None:
    model, optimizer = model_and_optimizer()
    with optrace.record(path):
        with pytest.raises(RuntimeError, match="Missing key"):
            model.load_state_dict({})
        with pytest.raises(ValueError, match="parameter group"):
            optimizer.load_state_dict({"state": {}, "param_groups": []})
        backward(model)
    trace = optrace.load(path)
    assert [(e.kind, e.failed) for e in trace.events] == [
        ("load_state", True),
        ("load_state", True),
        ("backward", False),
    ]


def test_loading_by_assignment(path: Path) -> None:
    """`assign=True` puts new parameters under the old names."""
    model, _ = model_and_optimizer()
    with optrace.record(path):
        backward(model)
        model.load_state_dict({k: v + 1 for k, v in model.state_dict().items()}, assign=True)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        backward(model)
        optimizer.step()
    trace = optrace.load(path)
    assert kinds(trace) == ["backward", "load_state", "backward", "step"]
    assert len(trace.parameters) == 8
    assert [b.name for b in trace.bindings].count("0.weight") == 2
