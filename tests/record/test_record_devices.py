"""Tensors that cannot be read where they are: copied, and only where something says that they were written to.

Transposed tensors take the part of those on a device that has no streams. What happens on one that has is tested in
test_record_on_devices.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import optrace
from optrace.recording import devices

KINDS = ("param", "grad", "exp_avg", "exp_avg_sq", "momentum_buffer")
OPTIMIZERS: list[tuple[Any, dict[str, Any]]] = [
    (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    (torch.optim.SGD, {"lr": 0.1, "fused": True}),
    (torch.optim.Adam, {"lr": 0.1, "foreach": True}),
    (torch.optim.Adam, {"lr": 0.1, "fused": True}),
]


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """`cuda` where there is one; on the CPU transposed tensors stand for remote ones."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU here")
    if request.param == "cpu":
        monkeypatch.setattr(devices, "is_remote", lambda tensor: not tensor.is_contiguous())
    return str(request.param)


def weights(device: str) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(30, 20 + i).to(device).t().requires_grad_() for i in range(5)]


def turn(tensors: list[torch.Tensor], optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    torch.stack([(tensor * 2.0 + 1.0).square().mean() for tensor in tensors]).sum().backward()
    optimizer.step()


def values(tensors: list[torch.Tensor], optimizer: torch.optim.Optimizer) -> dict[tuple[int, str], torch.Tensor]:
    found = {(i, "param"): tensor for i, tensor in enumerate(tensors)}
    found |= {(i, "grad"): tensor.grad for i, tensor in enumerate(tensors) if tensor.grad is not None}
    for i, tensor in enumerate(tensors):
        found |= {(i, name): value for name, value in optimizer.state.get(tensor, {}).items() if name in KINDS}
    return {key: value.detach().cpu().clone() for key, value in found.items()}


@pytest.mark.parametrize("kind", OPTIMIZERS, ids=str)
def test_every_value_is_the_one_there_was(tmp_path: Path, device: str, kind: tuple[Any, dict[str, Any]]) -> None:
    bare = weights(device)
    untouched = kind[0](bare, **kind[1])
    tensors = weights(device)
    optimizer = kind[0](tensors, **kind[1])
    truth = []
    with optrace.record(tmp_path / "run.optrace") as recording:
        for _ in range(6):
            turn(bare, untouched)
            turn(tensors, optimizer)
            truth.append(values(tensors, optimizer))
    assert recording.failure is None
    for one, other in zip(bare, tensors, strict=True):
        assert torch.equal(one, other)
    trace = optrace.load(tmp_path / "run.optrace")
    names = list(trace.parameters)[-len(tensors) :]  # the bare loop's were met first
    steps = [event for event in trace.events if event.kind == "step"][1::2]
    for step, expected in zip(steps, truth, strict=True):
        for (number, name), value in expected.items():
            found = trace.value(names[number], name, at=step)
            assert found is not None
            assert found.tobytes() == value.contiguous().numpy().tobytes()


def test_writes_by_hand_between_events(tmp_path: Path, device: str) -> None:
    """One that torch counts is seen at once; one through `.data` with the next step."""
    tensors = weights(device)
    optimizer = torch.optim.SGD(tensors, lr=0.1)
    truth = []
    with optrace.record(tmp_path / "run.optrace"):
        for number in range(6):
            with torch.no_grad():
                if number == 2:
                    tensors[1].mul_(0.5)
                if number == 4:
                    tensors[1].data.mul_(0.5)
            turn(tensors, optimizer)
            truth.append(tensors[1].detach().cpu().clone())
    trace = optrace.load(tmp_path / "run.optrace")
    mutations = [event for event in trace.events if event.kind == "mutation"]
    assert [str(event.position) for event in mutations] == ["1:3"]  # after the step of turn 1
    name = list(trace.parameters)[1]
    for step, expected in zip((event for event in trace.events if event.kind == "step"), truth, strict=True):
        found = trace.value(name, at=step)
        assert found is not None
        assert found.tobytes() == expected.contiguous().numpy().tobytes()


def test_clipping_is_seen(tmp_path: Path, device: str) -> None:
    tensors = weights(device)
    optimizer = torch.optim.SGD(tensors, lr=0.1)
    with optrace.record(tmp_path / "run.optrace"):
        for _ in range(3):
            optimizer.zero_grad()
            torch.stack([tensor.square().sum() for tensor in tensors]).sum().backward()
            torch.nn.utils.clip_grad_norm_(tensors, 0.5)
            clipped = tensors[3].grad
            assert clipped is not None
            expected = clipped.cpu().clone()
            optimizer.step()
    trace = optrace.load(tmp_path / "run.optrace")
    clip = [event for event in trace.events if event.kind == "clip"][-1]
    found = trace.value(list(trace.parameters)[3], "grad", at=clip)
    assert found is not None
    assert found.tobytes() == expected.contiguous().numpy().tobytes()
