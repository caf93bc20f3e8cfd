"""Calls inside calls, and calls that fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small import ZBS, loss_of, parts
from torch import nn
from witness import Witness, iterations

import optrace


def test_a_closure_is_inside_its_step(path: Path) -> None:
    model, optimizer = parts()

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        return loss

    with optrace.record(path):
        for _ in range(2):
            optimizer.step(closure)
    trace = optrace.load(path)
    assert iterations(trace) == [ZBS] * 2
    assert [event.depth for event in trace.events] == [1, 1, 0] * 2


def test_a_step_inside_a_step(path: Path) -> None:
    inner_model, inner = parts()
    model, outer = parts()

    def closure() -> torch.Tensor:
        loss_of(inner_model).backward()
        inner.step()
        outer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        return loss

    with optrace.record(path):
        outer.step(closure)
    trace = optrace.load(path)
    assert [(event.kind, event.depth) for event in trace.events] == [
        ("backward", 1),
        ("step", 1),
        ("zero_grad", 1),
        ("backward", 1),
        ("step", 0),
    ]


def test_exceptions_pass_and_later_events_are_fine(path: Path) -> None:
    model, optimizer = parts()
    other_model, other = parts()

    class Stopped(Exception):
        pass

    def bad_closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss_of(model).backward()
        raise Stopped

    def bad_hook(gradient: torch.Tensor) -> torch.Tensor:
        raise Stopped

    with optrace.record(path) as recording:
        witness = Witness(recording, {f"model.{n}": p for n, p in model.named_parameters()}, optimizer)
        with pytest.raises(Stopped):
            optimizer.step(bad_closure)
        optimizer.zero_grad()
        witness.look()
        with pytest.raises(RuntimeError, match="scalar"):
            model(torch.ones(3, 2)).backward()
        handle = model.weight.register_hook(bad_hook)
        with pytest.raises(Stopped):
            loss_of(model).backward()
        handle.remove()
        loss_of(model).backward()
        witness.look()
        optimizer.step()
        witness.look()
        loss_of(other_model).backward()
        other.step()
    trace = optrace.load(path)
    assert [(event.kind, event.depth, event.failed) for event in trace.events] == [
        ("zero_grad", 1, False),
        ("backward", 1, False),
        ("step", 0, True),
        ("zero_grad", 0, False),
        ("backward", 0, True),
        ("backward", 0, True),
        ("backward", 0, False),
        ("step", 0, False),
        ("backward", 0, False),
        ("step", 0, False),
    ]
    witness.check(trace)


def test_many_failed_steps(path: Path) -> None:
    """Frames are reused by the interpreter; an old failed step is not taken for a running one."""
    model, optimizer = parts()

    def fail(depth: int) -> Any:
        if depth:
            return fail(depth - 1)
        raise ValueError

    def attempt(depth: int) -> None:
        if depth:
            attempt(depth - 1)
            return
        with pytest.raises(ValueError):  # noqa: PT011
            optimizer.step(lambda: fail(depth))

    with optrace.record(path):
        for turn in range(40):
            attempt(turn % 5)
            if turn % 3:
                loss_of(model).backward()
            if turn % 2:
                optimizer.zero_grad()
            attempt(turn % 7)
            optimizer.step(lambda: loss_of(model))
    trace = optrace.load(path)
    assert {event.depth for event in trace.events} == {0}
    failed = [event.failed for event in trace.events if event.kind == "step"]
    assert failed == [True, True, False] * 40


def test_the_last_step_failed(path: Path) -> None:
    _, optimizer = parts()
    with optrace.record(path), pytest.raises(ZeroDivisionError):
        optimizer.step(lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    trace = optrace.load(path)
    assert [(event.kind, event.failed) for event in trace.events] == [("step", True)]


def test_stepping_inside_backward(path: Path) -> None:
    model = nn.Linear(2, 2)
    optimizers = {p: torch.optim.SGD([p], lr=0.1, momentum=0.9) for p in model.parameters()}

    def step(parameter: torch.Tensor) -> None:
        optimizers[parameter].step()
        optimizers[parameter].zero_grad()

    handles = [parameter.register_post_accumulate_grad_hook(step) for parameter in model.parameters()]
    with optrace.record(path) as recording:
        witness = Witness(recording, model.named_parameters(), *optimizers.values())
        for _ in range(3):
            loss_of(model).backward()
            witness.look()
    for handle in handles:
        handle.remove()  # the hooks hold the optimizers, and these the parameters
    trace = optrace.load(path)
    assert iterations(trace) == [["step", "zero_grad", "step", "zero_grad", "backward"]] * 3
    assert [event.depth for event in trace.events] == [1, 1, 1, 1, 0] * 3
    assert not any(event.by_hand or event.failed for event in trace.events)
    witness.check(trace)
    deposits = [c for e in trace.events for c in trace.effect(e) if c.kind == "grad" and c.op.name == "DEPOSIT"]
    assert len(deposits) == 6
