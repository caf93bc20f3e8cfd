"""Gradients cleared by any call or by hand, and what is changed from outside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small import ZBS, loss_of, parts
from torch import nn
from witness import Witness, iterations, kinds

import optrace


def clear_model(model: nn.Module, optimizer: Any) -> None:
    model.zero_grad()


def clear_to_zero(model: nn.Module, optimizer: Any) -> None:
    optimizer.zero_grad(set_to_none=False)


@pytest.mark.parametrize("clear", [clear_model, clear_to_zero])
def test_clearing_calls(path: Path, clear: Callable[..., None]) -> None:
    model, optimizer = parts()
    with optrace.record(path) as recording:
        witness = Witness(recording, model.named_parameters(), optimizer)
        for _ in range(2):
            clear(model, optimizer)
            witness.look()
            loss_of(model).backward()
            witness.look()
            optimizer.step()
            witness.look()
    trace = optrace.load(path)
    assert iterations(trace) == [ZBS] * 2
    assert not any(event.by_hand for event in trace.events)
    witness.check(trace)


def set_none(model: nn.Module) -> None:
    for parameter in model.parameters():
        parameter.grad = None


def zero_in_place(model: nn.Module) -> None:
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.grad.zero_()


def zero_by_data(model: nn.Module) -> None:
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.grad.data.fill_(0)


def zero_all_at_once(model: nn.Module) -> None:
    torch._foreach_zero_([p.grad for p in model.parameters() if p.grad is not None] or [torch.ones(1)])


def new_zeros(model: nn.Module) -> None:
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)


def delete(model: nn.Module) -> None:
    for parameter in model.parameters():
        del parameter.grad


@pytest.mark.parametrize("clear", [set_none, zero_in_place, zero_by_data, zero_all_at_once, new_zeros, delete])
def test_clearing_by_hand(path: Path, clear: Callable[[nn.Module], None]) -> None:
    model, optimizer = parts()
    loss_of(model).backward()
    with optrace.record(path) as recording:
        witness = Witness(recording, model.named_parameters(), optimizer)
        for _ in range(3):
            loss_of(model).backward()
            witness.look()
            optimizer.step()
            witness.look()
            clear(model)
    trace = optrace.load(path)
    assert iterations(trace) == [["backward", "step", "zero_grad"]] * 3
    assert [event.by_hand for event in trace.events if event.kind == "zero_grad"] == [True] * 3
    witness.check(trace)


def test_weight_clipping_and_averages_through_data(path: Path) -> None:
    model, optimizer = parts()
    average = nn.Linear(2, 1)
    nn.init.constant_(model.weight, 0.5)
    nn.init.constant_(model.bias, 0.5)
    with optrace.record(path, model={"live": model, "ema": average}) as recording:
        names = [(f"live.{n}", p) for n, p in model.named_parameters()]
        names += [(f"ema.{n}", p) for n, p in average.named_parameters()]
        witness = Witness(recording, names, optimizer)
        for _ in range(3):
            optimizer.zero_grad()
            loss_of(model).backward()
            optimizer.step()
            for parameter in model.parameters():
                parameter.data.clamp_(-0.1, 0.1)
            for slow, fast in zip(average.parameters(), model.parameters(), strict=True):
                slow.data.mul_(0.9).add_(fast.data, alpha=0.1)
            optrace.mark("here")
            witness.look()
    trace = optrace.load(path)
    assert set(trace.parameters) == {"live.weight", "live.bias", "ema.weight", "ema.bias"}
    assert iterations(trace) == [[*ZBS, "mutation", "mark"]] * 3
    assert {(change.parameter, change.kind) for change in trace.effect(3)} == {(n, "param") for n in range(4)}
    witness.check(trace)


def test_assigning_data_and_gradients(path: Path) -> None:
    model, optimizer = parts()
    with optrace.record(path) as recording:
        witness = Witness(recording, model.named_parameters(), optimizer)
        loss_of(model).backward()
        witness.look()
        model.weight.data = torch.tensor([[5.0, 6.0]])
        optrace.mark("swapped")
        witness.look()
        model.weight.grad = torch.tensor([[1.0, 2.0]])
        optrace.mark("given")
        witness.look()
        model.weight.grad.mul_(2)
        optrace.mark("changed")
        witness.look()
        optimizer.step()
        witness.look()
    trace = optrace.load(path)
    assert kinds(trace) == ["backward", "mutation", "mark", "mutation", "mark", "mutation", "mark", "step"]
    witness.check(trace)


def test_a_hook_before_the_step_that_writes_gradients_through_data(path: Path) -> None:
    weight = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1)

    def triple(*_: Any) -> None:
        assert weight.grad is not None
        weight.grad.data.mul_(3)

    optimizer.register_step_pre_hook(triple)
    with optrace.record(path) as recording:
        witness = Witness(recording, {"weight": weight}, optimizer)
        for _ in range(2):
            optimizer.zero_grad()
            weight.sum().backward()
            witness.look()
            optimizer.step()
            witness.look()
    trace = optrace.load(path)
    assert iterations(trace) == [ZBS] * 2
    witness.check(trace)
