"""Backward in its variants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small import ZBS, loss_of, parts
from torch import nn
from torch.utils.checkpoint import checkpoint
from witness import Witness, iterations, kinds

import optrace


def test_ways_to_call_backward(path: Path) -> None:
    weight = torch.tensor([1.0, 2.0], requires_grad=True)
    with optrace.record(path) as recording:
        witness = Witness(recording, {"weight": weight})
        loss = (weight * 3).sum()
        loss.backward(retain_graph=True)
        witness.look()
        loss.backward()
        witness.look()
        torch.autograd.backward([weight.sum(), (weight * 2).sum()])
        witness.look()
        (weight * 2).backward(gradient=torch.tensor([1.0, 10.0]))
        witness.look()
        weight.square().sum().backward(create_graph=False, inputs=[weight])
        witness.look()
        weight.square().sum().backward(torch.tensor(0.5))
        witness.look()
        weight.sum().backward()
        weight.grad = None
        (weight * 0).sum().backward()
        witness.look()
        (weight * 0).sum().backward()
        witness.look()
    trace = optrace.load(path)
    assert kinds(trace) == ["backward"] * 7 + ["zero_grad"] + ["backward"] * 2
    assert [event.loss for event in trace.events] == [9, 9, 9, None, 5, 5, 3, None, 0, 0]
    assert trace.events[1].detail["same_graph_as"] == 0
    assert all(event.depth == 0 for event in trace.events)
    witness.check(trace)


@pytest.mark.filterwarnings("ignore:Using backward")
def test_create_graph(path: Path) -> None:
    weight = torch.tensor([1.0, 2.0], requires_grad=True)
    with optrace.record(path) as recording:
        witness = Witness(recording, {"weight": weight})
        weight.pow(3).sum().backward(create_graph=True)
        witness.look()
        assert weight.grad is not None
        weight.grad.square().sum().backward()
        witness.look()
        weight.grad = None
    trace = optrace.load(path)
    assert kinds(trace)[:2] == ["backward"] * 2
    witness.check(trace)


def test_autograd_grad_deposits_nothing(path: Path) -> None:
    weight = torch.tensor([1.0, 2.0], requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.5)
    with optrace.record(path):
        (gradient,) = torch.autograd.grad(weight.square().sum(), weight)
        weight.grad = gradient
        optimizer.step()
    trace = optrace.load(path)
    assert kinds(trace)[-1] == "step"
    assert trace.before("weight", "grad", at=-1).tolist() == [2, 4]  # type: ignore[union-attr]
    assert trace.value("weight").tolist() == [0, 0]  # type: ignore[union-attr]


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_is_one_backward(path: Path, reentrant: bool) -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with optrace.record(path) as recording:
        witness = Witness(recording, model.named_parameters(), optimizer)
        for _ in range(2):
            optimizer.zero_grad()
            inputs = torch.ones(3, 2, requires_grad=True)
            out = checkpoint(model, inputs, use_reentrant=reentrant)
            assert isinstance(out, torch.Tensor)
            out.square().mean().backward()
            witness.look()
            optimizer.step()
            witness.look()
    trace = optrace.load(path)
    assert iterations(trace) == [ZBS] * 2
    witness.check(trace)


def test_graphs_kept_alive_are_counted(path: Path) -> None:
    model, optimizer = parts()
    total: Any = 0
    with optrace.record(path):
        for _ in range(3):
            loss = loss_of(model)
            loss.backward()
            optimizer.step()
            total += loss
    backwards = [event for event in optrace.load(path).events if event.kind == "backward"]
    assert backwards[-1].live_graphs == 3
