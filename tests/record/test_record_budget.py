"""Past the size budget: the trace stays within it, says what is whole, and its samples are right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from witness import Witness, iterations

import optrace
from optrace.errors import LookupFailed
from optrace.trace.format import TENSORS_FILE

BUDGET = 200_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.optrace"


class Copy:
    """A float64 copy of one value, with torch's own statistics of it."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.values = tensor.detach().clone()
        wide = self.values.double()
        self.statistics = {
            "norm": float(torch.linalg.vector_norm(wide)),
            "mean": float(wide.mean()),
            "min": float(wide.min()),
            "max": float(wide.max()),
            "zeros": float((wide == 0).sum()),
            "nonfinite": float((~wide.isfinite()).sum()),
        }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_sampled_values(path: Path, dtype: torch.dtype) -> None:
    big = torch.linspace(-1, 1, 5000).to(dtype).requires_grad_()
    small = torch.ones(3, dtype=dtype, requires_grad=True)
    optimizer = torch.optim.SGD([big, small], lr=0.25, momentum=0.5)
    copies: dict[int, dict[str, Copy]] = {}
    with optrace.record(path, budget=BUDGET) as recording:
        witness = Witness(recording, {"small": small}, optimizer)
        for turn in range(8):
            optimizer.zero_grad()
            ((big * big).sum() * (turn + 1) + small.sum()).backward()
            optimizer.step()
            witness.look()
            state = optimizer.state[big]["momentum_buffer"]
            values = {"param": big, "grad": big.grad, "momentum_buffer": state}
            copies[recording.events - 1] = {kind: Copy(value) for kind, value in values.items() if value is not None}
    assert recording.failure is None
    trace = optrace.load(path)
    assert iterations(trace) == [["zero_grad", "backward", "step"]] * 8
    assert (path / TENSORS_FILE).stat().st_size <= BUDGET * 1.05
    witness.check(trace)
    found = set()
    for event, values in copies.items():
        for kind, copy in values.items():
            exactness = trace.exactness("big", kind, at=event)
            found.add(exactness)
            if exactness == "exact":
                value = trace.value("big", kind, at=event)
                assert value is not None
                assert value.tobytes() == copy.values.view(torch.uint8).numpy().tobytes()
                assert trace.sample("big", kind, at=event) is None
                continue
            with pytest.raises(LookupFailed, match="size budget"):
                trace.value("big", kind, at=event)
            if exactness == "sampled":
                sample = trace.sample("big", kind, at=event)
                assert sample is not None
                assert len(sample.indices) == len(sample.values) > 0
                assert (
                    sample.values.tobytes()
                    == copy.values[torch.tensor(sample.indices)].view(torch.uint8).numpy().tobytes()
                )
                assert list(sample.statistics) == list(copy.statistics)
                assert list(sample.statistics.values()) == pytest.approx(
                    list(copy.statistics.values()), rel=1e-5, abs=1e-6, nan_ok=True
                )
    assert {"exact", "sampled"} <= found
    numbers, norms = trace.statistics("big", "grad", "norm")
    truth = {event: values["grad"].statistics["norm"] for event, values in copies.items()}
    by_event = dict(zip(numbers.tolist(), norms.tolist(), strict=True))
    assert sum(number + 1 in truth for number in by_event) >= 6
    for number, norm in by_event.items():
        if number + 1 in truth and not np.isnan(norm):
            assert norm == pytest.approx(truth[number + 1], rel=1e-5)


def test_the_sample_is_the_same_elements_each_time(path: Path) -> None:
    big = torch.randn(5000, requires_grad=True)
    optimizer = torch.optim.Adam([big])
    with optrace.record(path, budget=60_000):
        for _ in range(6):
            optimizer.zero_grad()
            big.square().sum().backward()
            optimizer.step()
    trace = optrace.load(path)
    taken = [trace.sample("big", kind) for kind in ("param", "grad", "exp_avg", "exp_avg_sq")]
    kept = [sample.indices for sample in taken if sample is not None]
    assert len(kept) == 4
    assert all(np.array_equal(kept[0], other) for other in kept)
    assert len(set(kept[0].tolist())) == len(kept[0])
    assert kept[0].max() < 5000


@pytest.mark.parametrize("budget", [1, 1000, 30_000, "50kB"])
def test_tiny_budgets(path: Path, budget: int | str) -> None:
    """Long after everything is used up, events are still recorded, and values said to be dropped."""
    weights = [torch.randn(500, requires_grad=True) for _ in range(3)]
    optimizer = torch.optim.Adam(weights)
    size = {1: 1, 1000: 1000, 30_000: 30_000, "50kB": 50_000}[budget]
    with optrace.record(path, budget=budget) as recording:
        for _ in range(40):
            optimizer.zero_grad()
            sum(weight.square().sum() for weight in weights).backward()  # type: ignore[union-attr]
            optimizer.step()
    assert recording.failure is None
    assert (path / TENSORS_FILE).stat().st_size <= size * 1.05 + 8
    trace = optrace.load(path)
    assert len(trace.events) == 120
    assert trace.exactness("weights[0]", "param") == "dropped"
    assert trace.sample("weights[0]", "param") is None
    with pytest.raises(LookupFailed, match="size budget"):
        trace.value("weights[0]")


@pytest.mark.parametrize("budget", ["", "lots", "-5", "0", "12 parsecs", 0, -1])
def test_budgets_that_are_none(path: Path, budget: int | str) -> None:
    with pytest.raises(optrace.OptraceError):
        optrace.record(path, budget=budget)
    assert not path.exists()
