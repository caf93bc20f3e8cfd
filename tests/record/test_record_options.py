"""What is recorded by choice: which iterations, which parameters, how much of each value."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import optrace
from optrace.errors import LookupFailed, OptraceError

Loop = Callable[[int], nn.Module]


def plain(turns: int) -> nn.Module:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    for _ in range(turns):
        optimizer.zero_grad()
        model(torch.ones(2, 3)).square().mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
        schedule.step()
    return model


def cleared_last_and_accumulated(turns: int) -> nn.Module:
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
    for turn in range(turns):
        for part in range(3):
            model(torch.full((2, 3), float(part + turn))).square().mean().backward()
        optimizer.step()
        for parameter in model.parameters():
            parameter.grad = None
    return model


def two_players(turns: int) -> nn.Module:
    one, two = nn.Linear(2, 2), nn.Linear(2, 1)
    first, second = torch.optim.SGD(one.parameters(), lr=0.1), torch.optim.Adam(two.parameters())
    for _ in range(turns):
        first.zero_grad()
        two(one(torch.ones(1, 2))).sum().backward()
        first.step()
        second.zero_grad()
        two(one(torch.ones(1, 2)).detach()).square().sum().backward()
        second.step()
    return two


def closure(turns: int) -> nn.Module:
    model = nn.Linear(2, 1)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)

    def evaluate() -> torch.Tensor:
        optimizer.zero_grad()
        loss = model(torch.ones(1, 2)).square().sum()
        loss.backward()
        return loss

    for _ in range(turns):
        optimizer.step(evaluate)
    return model


def by_hand(turns: int) -> nn.Module:
    model = nn.Linear(3, 1)
    for _ in range(turns):
        model(torch.ones(1, 3)).square().sum().backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.01 * parameter.grad
                parameter.grad = None
    return model


LOOPS = [plain, cleared_last_and_accumulated, two_players, closure, by_hand]


def run(loop: Loop, path: Path, turns: int, **options: Any) -> tuple[Any, bytes]:
    """The trace of a loop, and the weights it ended with."""
    torch.manual_seed(0)
    with optrace.record(path, **options) as recording:
        model = loop(turns)
    assert recording.failure is None
    weights = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
    return optrace.load(path), weights


def shown(trace: Any, iteration: int) -> list[tuple[Any, ...]]:
    """An iteration's events, with every value after each, as far as they are known."""
    events = []
    for event in trace.iterations[iteration].events:
        values = []
        for name in trace.parameters:
            for kind in trace.kinds(name):
                value = trace.value(name, kind, at=event)
                values.append((name, kind, None if value is None else value.tobytes()))
        events.append((event.kind, str(event.position), event.site and event.site.line, event.loss, tuple(values)))
    return events


WINDOWS: list[dict[str, int]] = [{"every": 3}, {"first": 2, "until": 5}, {"first": 1, "every": 2, "until": 8}]


@pytest.mark.parametrize("options", WINDOWS, ids=str)
@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.__name__)
def test_windows(tmp_path: Path, loop: Loop, options: dict[str, int]) -> None:
    """What is recorded is what a whole recording has there; what is not is said; training is as ever."""
    whole, weights = run(loop, tmp_path / "whole.optrace", 10)
    some, same = run(loop, tmp_path / "some.optrace", 10, **options)
    assert weights == same
    wanted = range(options.get("first", 0), options.get("until", 10), options.get("every", 1))
    assert len(some.iterations) == len(whole.iterations) == 10
    assert [i for i in range(10) if some.iterations[i].recorded] == list(wanted)
    assert [i.index for i in some.iterations if i.recorded] == list(wanted)
    for iteration in wanted:
        mine, theirs = shown(some, iteration), shown(whole, iteration)
        if loop is closure:  # its state exists from the first step on, and is only read where a step is recorded
            mine, theirs = [event[:4] for event in mine], [event[:4] for event in theirs]
        assert mine == theirs
    for gap in some.gaps:
        assert not any(some.iterations[i].recorded for i in range(gap.first, gap.last + 1))
        for name in some.parameters:
            if gap.seq:
                assert some.exactness(name, "param", at=gap.seq) == "not kept"
                with pytest.raises(LookupFailed, match="not recorded: asked for was"):
                    some.value(name, at=gap.seq)
        with pytest.raises(LookupFailed, match="not recorded"):
            some.seq(f"{gap.first}:1")
    for event in some.events:
        for name in some.parameters:
            account = some.ledger(name, event)
            assert str(account)
            if loop in (two_players, by_hand):  # contributions that no step applies are part of these
                continue
            assert all(c.fate != "cleared" or c.applied or c.origin == "found" for c in account.past)
    assert not [f for f in optrace.check(some) if f.severity != "hint"]


def test_the_ledger_ends_where_a_gap_begins(tmp_path: Path) -> None:
    def never_cleared(turns: int) -> nn.Module:
        model = nn.Linear(1, 1, bias=False)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(turns):
            model(torch.ones(1, 1)).sum().backward()
            optimizer.step()
        return model

    trace, _ = run(never_cleared, tmp_path / "run.optrace", 8, every=4)
    before = trace.ledger("weight", "0:1")
    assert [c.fate for c in before.inside] == ["applied"]
    gap = trace.gaps[0]
    assert str(trace.ledger("weight", gap.seq)) == "weight: not recorded here (a gap)"
    assert [c.fate for c in trace.ledger("weight", gap.seq).past] == ["unrecorded"]
    after = trace.ledger("weight", "4:0")
    assert [(c.origin, c.fate) for c in after.inside] == [("found", "fresh"), ("backward", "fresh")]
    assert "found there" in str(after)
    assert not optrace.check(trace, select=["OT1"])  # it is wrong, but two iterations in a row are needed to tell
    burst, _ = run(never_cleared, tmp_path / "burst.optrace", 8, first=2, until=4)
    assert [f.code for f in optrace.check(burst, select=["OT1"])] == ["OT101"]


def test_chosen_parameters(tmp_path: Path) -> None:
    """The values of the others are not kept; what happens to their gradients is."""
    whole, weights = run(plain, tmp_path / "whole.optrace", 4)
    some, same = run(plain, tmp_path / "some.optrace", 4, params=["*.weight", "!2.*"])
    assert weights == same
    for name in whole.parameters:
        for event in whole.events:
            for kind in whole.kinds(name):
                kept = whole.exactness(name, kind, event)
                if kept is not None and name != "0.weight" and whole.effect(event):
                    assert some.exactness(name, kind, event.seq) in ("not kept", "exact")
                if name == "0.weight":
                    mine, theirs = (t.value(name, kind, event.seq) for t in (some, whole))
                    assert np.array_equal(mine, theirs) if theirs is not None else mine is None
            accounts = [t.ledger(name, event.seq) for t in (whole, some)]
            fates = [[(c.seq, c.origin, c.fate, c.applied) for c in [*a.past, *a.inside]] for a in accounts]
            assert fates[0] == fates[1]
    assert some.exactness("2.bias", "param") == "not kept"
    assert some.exactness("0.bias", "exp_avg") == "not kept"


def test_a_pattern_that_fits_nothing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(plain, tmp_path / "run.optrace", 2, params="layers.*")
    assert "no values were kept: layers.* fits no parameter's name" in capsys.readouterr().err


def test_statistics_alone(tmp_path: Path) -> None:
    def wide(turns: int) -> nn.Module:
        model = nn.Linear(100, 100)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(turns):
            optimizer.zero_grad()
            model(torch.ones(1, 100)).square().sum().backward()
            optimizer.step()
        return model

    whole, _ = run(wide, tmp_path / "whole.optrace", 3)
    some, _ = run(wide, tmp_path / "some.optrace", 3, capture="stats")
    assert some.exactness("weight", at="2:2") == "statistics"
    sample = some.sample("weight", at="2:2")
    assert len(sample.indices) == len(sample.values) == 0
    for statistic in ("norm", "mean", "min", "max"):
        mine, theirs = (t.statistics("weight", "grad", statistic)[1] for t in (some, whole))
        assert mine == pytest.approx(theirs, rel=1e-5, nan_ok=True)
    assert sum(f.stat().st_size for f in some.path.iterdir() if f.name.startswith("tensors")) < 5000


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"capture": "everything"}, "'everything' is no way to capture values"),
        ({"every": 0}, "every 0: write"),
        ({"every": 1.5}, "every 1.5: write"),
        ({"first": -1}, "from -1: write"),
        ({"first": 5, "until": 5}, "until 5 is not after from 5"),
        ({"params": ""}, "an empty pattern"),
        ({"params": [3]}, "patterns of parameter names"),
        ({"budget": "10kB"}, "less than a trace needs"),
    ],
)
def test_bad_values_are_one_clear_line(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptraceError, match=words) as caught:
        optrace.record(tmp_path / "run.optrace", **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run.optrace").exists()
