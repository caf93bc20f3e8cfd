"""Values of every dtype and layout, bit for bit; and what parameters are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from witness import Witness, bits, kinds

import optrace


def varied(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    """Values with every kind of bit: signs, fractions, infinities, -0."""
    source = torch.linspace(-3, 3, int(np.prod(shape)), dtype=torch.float64).reshape(shape)
    if dtype.is_complex:
        return torch.complex(source, source.flip(0) if source.ndim else source).to(dtype)
    return source.to(dtype)


DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.complex64,
    torch.complex128,
]


FLOAT8 = [
    torch.float8_e4m3fn,
    torch.float8_e4m3fnuz,
    torch.float8_e5m2,
    torch.float8_e5m2fnuz,
    torch.float8_e8m0fnu,
]


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (5,), (4, 3), (9, 17)])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dtypes_of_parameters_and_gradients(path: Path, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    weight = varied(dtype, *shape).requires_grad_()
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    with optrace.record(path) as recording:
        witness = Witness(recording, {"weight": weight}, optimizer)
        for _ in range(3):
            optimizer.zero_grad()
            witness.look()
            (weight * weight.conj()).sum().abs().backward()
            witness.look()
            optimizer.step()
            witness.look()
    trace = optrace.load(path)
    witness.check(trace)
    found = trace.parameters["weight"]
    assert (found.shape, found.dtype, found.bare) == (shape, str(dtype).removeprefix("torch."), True)


@pytest.mark.parametrize("dtype", FLOAT8, ids=str)
def test_float8(path: Path, dtype: torch.dtype) -> None:
    weight = nn.Parameter(torch.linspace(0.1, 3, 6).to(dtype), requires_grad=dtype is not torch.float8_e8m0fnu)
    with optrace.record(path, optimizer=None) as recording:
        witness = Witness(recording, {"weight": weight})
        holder = nn.ParameterDict({"weight": weight})
        optrace.mark("first")
        witness.look()
        weight.data = torch.linspace(0.5, 4, 6).to(dtype)
        optrace.mark("second")
        witness.look()
    del holder
    witness.check(optrace.load(path))


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), -0.0, 1e-45, 0.0],
    ids=str,
)
def test_odd_numbers(path: Path, value: float) -> None:
    weight = torch.tensor([1.0, value, -2.0] * 40, requires_grad=True)
    with optrace.record(path) as recording:
        witness = Witness(recording, {"weight": weight})
        (weight * torch.tensor(value)).sum().backward()
        witness.look()
        weight.data.fill_(value)
        optrace.mark("filled")
        witness.look()
    trace = optrace.load(path)
    witness.check(trace)
    assert np.signbit(trace.value("weight")[0]) == np.signbit(value)  # type: ignore[index]


def test_nan_payloads_and_minus_zero_are_kept(path: Path) -> None:
    weight = nn.Parameter(torch.zeros(4))
    weight.data.view(torch.int32).copy_(torch.tensor([0x7FC00001, -0x7FFFFF, -(2**31), 1], dtype=torch.int32))
    expected = bits(weight)
    with optrace.record(path):
        model = nn.ParameterDict({"weight": weight})
        optrace.mark("only")
    del model
    assert optrace.load(path).value("weight").tobytes() == expected  # type: ignore[union-attr]


def test_channels_last_and_transposed(path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2))
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model[2].weight = nn.Parameter(torch.randn(16, 2).t())
    assert not model[0].weight.is_contiguous()
    assert not model[2].weight.is_contiguous()
    optimizer = torch.optim.Adam(model.parameters())
    with optrace.record(path) as recording:
        witness = Witness(recording, model.named_parameters(), optimizer)
        for _ in range(3):
            optimizer.zero_grad()
            witness.look()
            model(torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)).square().sum().backward()
            witness.look()
            optimizer.step()
            witness.look()
            model[0].weight.data[0, 0, 0, 0] = 7.0
            optrace.mark("changed")
            witness.look()
    witness.check(optrace.load(path))


def test_expanded_and_shared_gradients(path: Path) -> None:
    one, two = torch.ones(4, requires_grad=True), torch.ones(4, requires_grad=True)
    with optrace.record(path) as recording:
        witness = Witness(recording, {"one": one, "two": two})
        (one.sum() + two.sum()).backward()
        witness.look()
        one.grad = torch.tensor(3.0).expand(4)
        optrace.mark("expanded")
        witness.look()
        two.grad = one.grad
        optrace.mark("shared")
        witness.look()
        two.grad = torch.arange(8.0)[::2]
        optrace.mark("strided")
        witness.look()
        two.grad.add_(1)
        optrace.mark("changed")
        witness.look()
    witness.check(optrace.load(path))


def test_views_of_one_flat_buffer(path: Path) -> None:
    """Parameters that are slices of one buffer, as in flattened models; a write to the buffer changes both."""
    buffer = torch.zeros(10)
    model = nn.Module()
    model.one, model.two = nn.Parameter(buffer[:4]), nn.Parameter(buffer[4:].view(2, 3))
    with optrace.record(path) as recording:
        witness = Witness(recording, model.named_parameters())
        optrace.mark("start")
        witness.look()
        buffer.copy_(torch.arange(10.0))
        optrace.mark("filled")
        witness.look()
    trace = optrace.load(path)
    assert kinds(trace) == ["mark", "mutation", "mark"]
    witness.check(trace)


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("dimensions", [1, 2])
def test_sparse_gradients(path: Path, dimensions: int) -> None:
    weight = nn.Parameter(torch.randn(6, 3))
    model = nn.ParameterDict({"weight": weight})
    with optrace.record(path) as recording:
        witness = Witness(recording, model.named_parameters())
        indices = torch.tensor([[1, 4, 1, 0]]) if dimensions == 1 else torch.tensor([[1, 4, 1], [0, 2, 0]])
        values = torch.randn(4, 3) if dimensions == 1 else torch.randn(3)
        weight.grad = torch.sparse_coo_tensor(indices, values, (6, 3), is_coalesced=False)
        optrace.mark("uncoalesced")
        witness.look()
        weight.grad = weight.grad.coalesce()
        optrace.mark("coalesced")
        witness.look()
        weight.grad = torch.sparse_coo_tensor(indices[:, :0], values[:0], (6, 3))
        optrace.mark("empty")
        witness.look()
        weight.grad = torch.zeros(6, 3)
        optrace.mark("dense")
        witness.look()
    found = optrace.load(path)
    stored = found.sparse("weight", "grad", at=found.marks[0])
    assert stored is not None
    assert np.array_equal(stored[0], indices.numpy())
    assert stored[1].tobytes() == values.numpy().tobytes()
    witness.check(found)


def test_sparse_embedding_accumulates(path: Path) -> None:
    model = nn.Embedding(10, 4, sparse=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with optrace.record(path) as recording:
        witness = Witness(recording, model.named_parameters(), optimizer)
        for _ in range(2):
            model(torch.tensor([1, 2, 2])).sum().backward()
            witness.look()
            model(torch.tensor([2, 9])).sum().backward()
            witness.look()
            optimizer.step()
            witness.look()
            optimizer.zero_grad()
            witness.look()
    witness.check(optrace.load(path))


def test_meta_and_lazy_parameters(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = nn.Sequential(nn.LazyLinear(3), nn.Linear(3, 1))
    nowhere = nn.Linear(2, 2, device="meta")
    with optrace.record(path) as recording:
        optrace.mark("before")
        model(torch.ones(1, 5))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        witness = Witness(recording, [(n, p) for n, p in model.named_parameters()], optimizer)
        for _ in range(2):
            optimizer.zero_grad()
            model(torch.ones(1, 5)).sum().backward()
            witness.look()
            optimizer.step()
            witness.look()
    assert recording.failure is None
    assert nowhere.weight.is_meta
    assert "failed" not in capsys.readouterr().err
    trace = optrace.load(path)
    witness.check(trace)
    assert trace.parameters["0.weight"].shape == (3, 5)


def test_integer_and_boolean_state(path: Path) -> None:
    class Counting(torch.optim.Optimizer):
        def __init__(self, params: Any) -> None:
            super().__init__(params, {"lr": 0.1})

        @torch.no_grad()
        def step(self, closure: Any = None) -> None:
            for parameter in self.param_groups[0]["params"]:
                state = self.state[parameter]
                state.setdefault("hits", torch.zeros(300, dtype=torch.int64))
                state.setdefault("mask", torch.zeros(3, dtype=torch.bool))
                state.setdefault("bytes", torch.zeros(3, dtype=torch.uint8))
                state["hits"] += 1
                state["mask"] = ~state["mask"]
                state["bytes"] -= 1

    weight = torch.ones(3, requires_grad=True)
    optimizer = Counting([weight])
    with optrace.record(path) as recording:
        witness = Witness(recording, {"weight": weight}, optimizer)
        for _ in range(3):
            optimizer.step()
            witness.look()
    trace = optrace.load(path)
    witness.check(trace)
    assert trace.kinds("weight") == ["param", "bytes", "hits", "mask"] or set(trace.kinds("weight")) >= {
        "param",
        "hits",
    }


def test_a_leaf_that_became_part_of_a_graph_warns_nobody(path: Path, recwarn: pytest.WarningsRecorder) -> None:
    x, y = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    optimizer = torch.optim.SGD([x, y], lr=0.1)
    with optrace.record(path) as recording:
        optimizer.zero_grad()
        (x * y).sum().backward()
        optimizer.step()
        x.requires_grad_(False)
        optimizer.zero_grad()
        x.mul_(y)
        x.sum().backward()
    assert recording.failure is None
    assert not recwarn.list
