"""Recordings of the last iterations: exact in what they keep, an ordinary gap before it."""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rings import now, same
from torch import nn

import optrace
from optrace.errors import LookupFailed, OptraceError

pytestmark = pytest.mark.usefixtures("small_chunks_and_nobody_looking")


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True)


def adam(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=0.01, amsgrad=True)


def rmsprop(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.RMSprop(parameters, lr=0.01, centered=True)


@pytest.mark.parametrize("make", [sgd, adam, rmsprop])
@pytest.mark.parametrize("clearing", ["first", "zeros", "none"])
def test_the_last_iterations_bit_for_bit(tmp_path: Path, make: Any, clearing: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 300), nn.ReLU(), nn.Linear(300, 1))
    optimizer = make(model.parameters())
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.99)
    expected = []
    with optrace.record(tmp_path / "run.optrace", last=20):
        for _ in range(100):
            if clearing != "none":
                optimizer.zero_grad(set_to_none=clearing == "first")
            model(torch.randn(4, 3)).square().mean().backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            if clearing == "none":
                model.zero_grad()
            expected.append(now(dict(model.named_parameters()), optimizer))
    with optrace.load(tmp_path / "run.optrace") as trace:
        (gap,) = trace.gaps
        assert gap.seq == 0
        assert gap.position == (0, 0)
        assert 20 <= 99 - gap.last < 90  # and what was recorded since the writer last looked
        assert gap.events == 5 * (gap.last + 1)
        assert "the last 20 were asked for" in str(gap)
        assert trace.base == gap.events - 1
        for iteration in range(gap.last + 1, 100):
            events = trace.iterations[iteration].events
            assert [event.index for event in events] == list(range(5))
            assert {event.groups for event in events} - {-1}
            same(trace, events[-1].seq, expected[iteration])
        groups = trace.groups(trace.iterations[99].events[-3 if clearing == "none" else -2].seq)
        assert groups[0].hyper["lr"] == pytest.approx(0.99 * optimizer.param_groups[0]["lr"] / 0.99 / 0.99, rel=1e-6)
        for name in trace.parameters:
            with pytest.raises(LookupFailed, match="let go"):
                trace.value(name, at=0)
            assert trace.exactness(name, at=0) == "not kept"
            assert trace.exactness(name, at=1) == "exact"
            assert "gap" in str(trace.ledger(name, 0))
        with pytest.raises(LookupFailed, match="the gap at 0:0 says why"):
            trace.seq("3:1")
        assert not [finding for finding in optrace.check(trace) if str(finding.severity) != "hint"]


def test_parameters_that_appear_and_vanish(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 1)})
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    expected: list[dict[tuple[str, str], Any]] = []
    with optrace.record(tmp_path / "run.optrace", last=10):
        for turn in range(40):
            if turn == 31:
                model["c"] = nn.Linear(2, 1)
                optimizer.add_param_group({"params": list(model["c"].parameters())})
            if turn == 35:
                optimizer.state.pop(model["b"].bias)
                model["a"].bias.requires_grad_(False)
                model["a"].bias.grad = None
            optimizer.zero_grad()
            hidden = model["a"](torch.randn(4, 2))
            sum(model[name](hidden).square().mean() for name in ("b", "c") if name in model).backward()
            optimizer.step()
            expected.append(now(dict(model.named_parameters()), optimizer))
    with optrace.load(tmp_path / "run.optrace") as trace:
        first = trace.gaps[0].last + 1
        assert 20 < first <= 30
        for iteration in range(first, 40):
            same(trace, trace.seq(f"{iteration}:2"), expected[iteration])
        assert trace.parameters["c.weight"].first > 0


def test_what_vanished_before_the_ring_is_not_in_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    with optrace.record(tmp_path / "run.optrace", last=8):
        for turn in range(60):
            if turn == 30:
                model[1] = nn.Linear(2, 1)
                optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
                gc.collect()
            optimizer.zero_grad()
            model(torch.randn(4, 2)).square().mean().backward()
            optimizer.step()
    with optrace.load(tmp_path / "run.optrace") as trace:
        assert list(trace.parameters) == ["0.weight", "0.bias", "model.1.weight", "model.1.bias"]
        assert trace.kinds("0.weight") == trace.kinds("model.1.weight") == ["param", "grad"]
        assert np.array_equal(trace.value("0.weight"), model[0].weight.detach().numpy())
        assert [(optimizer.id, optimizer.class_name) for optimizer in trace.optimizers] == [(1, "SGD")]
        assert not [finding for finding in optrace.check(trace) if finding.severity == "error"]


def plain(turns: int) -> None:
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(turns):
        optimizer.zero_grad()
        model(torch.ones(2, 3)).square().mean().backward()
        optimizer.step()


def accumulating(turns: int) -> None:
    model = nn.Linear(3, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for turn in range(turns):
        for part in range(3):
            (model(torch.full((2, 3), float(part + turn))).square().mean() / 3).backward()
        optimizer.step()
        for parameter in model.parameters():
            parameter.grad = None


def closures(turns: int) -> None:
    model = nn.Linear(2, 1)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3, lr=0.1)

    def evaluate() -> torch.Tensor:
        optimizer.zero_grad()
        loss = model(torch.ones(1, 2)).square().sum()
        loss.backward()
        return loss

    for _ in range(turns):
        optimizer.step(evaluate)


def by_hand(turns: int) -> None:
    model = nn.Linear(3, 1)
    for _ in range(turns):
        model(torch.ones(1, 3)).square().sum().backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.01 * parameter.grad
                parameter.grad = None


def two_players(turns: int) -> None:
    one, two = nn.Linear(2, 2), nn.Linear(2, 1)
    first, second = torch.optim.SGD(one.parameters(), lr=0.1), torch.optim.Adam(two.parameters())
    for _ in range(turns):
        first.zero_grad()
        two(one(torch.ones(1, 2))).sum().backward()
        first.step()
        second.zero_grad()
        two(one(torch.ones(1, 2)).detach()).square().sum().backward()
        second.step()


@pytest.mark.parametrize("loop", [plain, accumulating, closures, by_hand, two_players])
def test_events_are_those_of_an_ordinary_recording(tmp_path: Path, loop: Callable[[int], None]) -> None:
    traces = []
    for name, last in [("all", None), ("some", 6)]:
        torch.manual_seed(0)
        with optrace.record(tmp_path / f"{name}.optrace", last=last):
            loop(30)
        traces.append(optrace.load(tmp_path / f"{name}.optrace"))
    whole, some = traces
    first = some.gaps[0].last + 1
    assert first > 10
    assert len(some.iterations) == len(whole.iterations)
    assert some.base + len(some.events) == len(whole.events)
    for event in some.events[1:]:
        other = whole.events[event.seq + some.base]
        assert (event.kind, event.position, event.loss) == (other.kind, other.position, other.loss)
        assert (event.site, event.depth, event.flags) == (other.site, other.depth, other.flags)
        for name in some.parameters:
            for kind in ("param", "grad"):
                mine, theirs = some.value(name, kind, at=event.seq), whole.value(name, kind, at=other.seq)
                assert (mine is None) == (theirs is None)
                assert mine is None or mine.tobytes() == theirs.tobytes()
    for iteration in range(first + 1, len(some.iterations)):
        for event in some.iterations[iteration].events:
            for name in some.parameters:
                ours = some.ledger(name, event.seq)
                assert str(ours) == str(whole.ledger(name, event.seq + some.base))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"last": 0}, "at least 1"),
        ({"last": 2.5}, "whole number"),
        ({"last": 10, "capture": "sampled"}, "does not go with capture sampled"),
        ({"last": 10, "capture": "stats"}, "does not go with capture stats"),
        ({"last": 10, "every": 2}, "does not go with every 2"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptraceError, match=words):
        optrace.record(tmp_path / "run.optrace", **options)


def test_a_window_and_chosen_parameters(tmp_path: Path) -> None:
    path = tmp_path / "run.optrace"
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    expected = {}
    with optrace.record(path, last=5, first=10, until=40, params="weight"):
        for turn in range(60):
            optimizer.zero_grad()
            model(torch.ones(1, 3)).sum().backward()
            optimizer.step()
            expected[turn] = model.weight.detach().numpy().copy()
    with optrace.load(path) as trace:
        before, after = trace.gaps
        assert before.seq == 0
        assert before.events == 3 * (before.last + 1)
        assert 28 < before.last < 35
        assert (after.first, after.last) == (40, 59)
        for iteration in range(before.last + 1, 40):
            assert np.array_equal(trace.value("weight", at=f"{iteration}:2"), expected[iteration])
            assert trace.exactness("bias", at=f"{iteration}:2") == "not kept"


def test_recorded_or_not_the_training_is_the_same(tmp_path: Path) -> None:
    ends = []
    for last in (None, 4):
        path = tmp_path / "run.optrace"
        torch.manual_seed(3)
        model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        with optrace.record(path, last=last) if last else nullcontext():
            for _ in range(30):
                optimizer.zero_grad()
                model(torch.randn(4, 4)).square().mean().backward()
                optimizer.step()
        ends.append(
            [*(p.detach().numpy().tobytes() for p in model.parameters()), torch.get_rng_state().numpy().tobytes()]
        )
    assert ends[0] == ends[1]
