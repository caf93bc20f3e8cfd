"""What is noticed of large values once they are sampled: at the events that write to them, and in between."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import optrace
from optrace.recording.pace import COMPLETE
from optrace.recording.sampling import PIECES
from optrace.trace.format import STATISTICS

WIDTH = 40_000


def train(
    path: Path, turns: int, by_hand: Callable[[torch.Tensor, int], object], kind: Any = torch.optim.SGD, **options: Any
) -> tuple[Any, list[torch.Tensor]]:
    """A sampled loop; before each `backward` something is done by hand. The trace, and the weights after each turn."""
    torch.manual_seed(0)
    weight = torch.randn(WIDTH, requires_grad=True)
    optimizer = kind([weight], **{"lr": 0.01, **options})
    after = []
    with optrace.record(path, capture="sampled", budget="1GB") as recording:
        for turn in range(turns):
            optimizer.zero_grad()
            by_hand(weight, turn)
            weight.square().sum().backward()
            optimizer.step()
            after.append(weight.detach().clone())
    assert recording.failure is None
    return optrace.load(path), after


def mutated(trace: Any) -> list[int]:
    """The iterations in which something was written by hand."""
    return [event.iteration for event in trace.events if event.kind == "mutation"]


def test_a_counted_write_to_one_element_is_noticed_at_once(tmp_path: Path) -> None:
    def write(weight: torch.Tensor, turn: int) -> None:
        if turn == 5:
            with torch.no_grad():
                weight[12_345] += 1.0

    trace, _ = train(tmp_path / "run.optrace", 8, write)
    assert mutated(trace) == [5]


def test_a_write_through_data_to_all_elements_is_noticed_at_once(tmp_path: Path) -> None:
    trace, _ = train(tmp_path / "run.optrace", 8, lambda weight, turn: weight.data.mul_(0.5) if turn == 5 else None)
    assert mutated(trace) == [5]


def test_a_write_through_data_to_one_element_is_noticed_before_long(tmp_path: Path) -> None:
    def write(weight: torch.Tensor, turn: int) -> None:
        weight.data[12_345] += 0.1

    trace, _ = train(tmp_path / "run.optrace", PIECES + 4, write)
    assert mutated(trace)


def test_a_write_that_changes_nothing_is_no_mutation(tmp_path: Path) -> None:
    def write(weight: torch.Tensor, turn: int) -> None:
        with torch.no_grad():
            weight.mul_(1.0)

    trace, _ = train(tmp_path / "run.optrace", 8, write)
    assert mutated(trace) == []


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (torch.optim.SGD, {}),
        (torch.optim.SGD, {"fused": True, "momentum": 0.9}),
        (torch.optim.Adam, {"fused": True}),
        (torch.optim.Adam, {"foreach": True, "lr": 1e-9}),
    ],
    ids=["sgd", "fused sgd", "fused adam", "tiny steps"],
)
def test_every_step_is_seen_whether_torch_counts_it_or_not(tmp_path: Path, kind: Any, options: dict[str, Any]) -> None:
    trace, after = train(tmp_path / "run.optrace", 10, lambda weight, turn: None, kind, **options)
    steps = [event for event in trace.events if event.kind == "step"]
    for step, weight in zip(steps, after, strict=True):
        assert {"param"} <= {change.kind for change in trace.effect(step)}
        if trace.exactness("weight", at=step) == "sampled":
            sample = trace.sample("weight", at=step)
            assert torch.equal(torch.tensor(sample.values), weight[torch.tensor(sample.indices)])
            if "min" in sample.statistics:
                assert sample.statistics["min"] == float(weight.min())
                assert sample.statistics["max"] == float(weight.max())
            assert sample.statistics["norm"] == pytest.approx(float(weight.norm()), rel=1e-5)
    assert any(trace.exactness("weight", at=step) == "sampled" for step in steps)


def test_all_statistics_are_taken_now_and_then_and_wherever_something_is_not_finite(tmp_path: Path) -> None:
    def write(weight: torch.Tensor, turn: int) -> None:
        if turn == 27:
            with torch.no_grad():
                weight[777] = float("nan")

    trace, after = train(tmp_path / "run.optrace", 30, write)
    complete = set()
    for turn, weight in enumerate(after):
        step = trace.seq((turn, len(trace.iterations[turn].events) - 1))
        sample = trace.sample("weight", at=step)
        if sample is None:
            continue
        found = sample.statistics
        assert found["nonfinite"] == int((~weight.isfinite()).sum())
        assert found.keys() in ({"norm", "nonfinite"}, set(STATISTICS))
        series = trace.statistics("weight", "param", "max", step, step + 1)[1]
        assert len(series) == 1
        if "max" in found:
            complete.add(turn)
            expected = {"mean": weight.mean(), "min": weight.min(), "max": weight.max(), "zeros": (weight == 0).sum()}
            for name, value in expected.items():
                assert found[name] == pytest.approx(float(value), rel=1e-5, abs=1e-7, nan_ok=True)
            assert series[0] == pytest.approx(found["max"], nan_ok=True)
        else:
            assert math.isnan(series[0])
    sampled = {turn for turn in range(30) if trace.sample("weight", at=(turn, 2)) is not None}
    assert {turn for turn in complete if turn < 27} == {turn for turn in sampled if turn % COMPLETE == 0 and turn < 27}
    assert complete >= {27, 28, 29}


def test_a_step_that_changes_nothing_is_not_said_to(tmp_path: Path) -> None:
    trace, _ = train(tmp_path / "run.optrace", 6, lambda weight, turn: None, lr=0.0)
    steps = [event for event in trace.events if event.kind == "step"]
    assert [[change.kind for change in trace.effect(step)] for step in steps] == [[]] * 6


def test_statistics_alone_of_values_with_fewer_elements_than_a_sample(tmp_path: Path) -> None:
    """In a mode that keeps no elements, down to those that would be kept whole in any other."""
    torch.manual_seed(0)
    tensors = [torch.randn(width, dtype=torch.float64, requires_grad=True) for width in (3, 7, 33, 63, 200)]
    optimizer = torch.optim.SGD(tensors, lr=0.1, momentum=0.5)
    with optrace.record(tmp_path / "run.optrace", capture="stats", budget="1MB") as recording:
        for _ in range(30):
            optimizer.zero_grad()
            torch.stack([tensor.square().sum() for tensor in tensors]).sum().backward()
            optimizer.step()
    assert recording.failure is None
    trace = optrace.load(tmp_path / "run.optrace")
    last = [event for event in trace.events if event.kind == "step"][-1]
    for name, tensor in zip(trace.parameters, tensors, strict=True):
        kept = trace.exactness(name, at=last)
        if kept == "exact":
            assert trace.value(name, at=last).tobytes() == tensor.detach().numpy().tobytes()
        else:
            assert kept == "statistics"
            sample = trace.sample(name, at=last)
            assert sample is not None
            assert sample.statistics["max"] == float(tensor.detach().max())
