"""Recordings of the last iterations: exact in what they keep, an ordinary gap before it, bounded on disk."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import optrace
from optrace.errors import LookupFailed, OptraceError, OutdatedError
from optrace.recording import ring
from optrace.recording.lookout import Lookout

Values = dict[str, np.ndarray[Any, Any]]


@pytest.fixture(autouse=True)
def _small_chunks_and_nobody_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of few iterations although these are small; the live check has tests of its own."""
    monkeypatch.setattr(ring, "LEAST_CHUNK", 1)
    monkeypatch.setattr(Lookout, "post", lambda self, folder, ignored: None)


def now(named: dict[str, torch.Tensor], optimizer: torch.optim.Optimizer) -> dict[tuple[str, str], Any]:
    """Every value as torch has it: parameters, gradients, states."""
    found: dict[tuple[str, str], Any] = {}
    for name, parameter in named.items():
        found[name, "param"] = parameter.detach().numpy().copy()
        found[name, "grad"] = None if parameter.grad is None else parameter.grad.numpy().copy()
        for key, value in optimizer.state.get(parameter, {}).items():
            found[name, key] = None if value is None else torch.as_tensor(value).numpy().copy()
    return found


def same(trace: Any, seq: int, expected: dict[tuple[str, str], Any]) -> None:
    for (name, kind), value in expected.items():
        if kind not in ("param", "grad") and kind not in trace.kinds(name):
            assert value is None
            continue
        found = trace.value(name, kind, at=seq)
        assert (found is None) == (value is None), (name, kind, seq)
        if value is not None:
            assert found.dtype == value.dtype
            assert found.tobytes() == value.tobytes(), (name, kind, seq)


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
            optimizer.zero_grad()
            model(torch.randn(4, 2)).square().mean().backward()
            optimizer.step()
    with optrace.load(tmp_path / "run.optrace") as trace:
        assert trace.value("0.weight", "exp_avg") is None
        assert trace.value("1.weight", "exp_avg") is None
        assert np.array_equal(trace.value("0.weight"), model[0].weight.detach().numpy())
        assert [optimizer.class_name for optimizer in trace.optimizers] == ["Adam", "SGD"]
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


def rows(path: Path) -> dict[str, int]:
    with sqlite3.connect(path / "index.sqlite") as index:
        names = [name for (name,) in index.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: index.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0] for name in names}


def scheduled(turns: int) -> None:
    model = nn.Linear(40, 40)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.999)
    for turn in range(turns):
        optimizer.zero_grad()
        model(torch.ones(2, 40)).square().mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optrace.log(turn=turn)


def test_neither_disk_nor_index_grow_with_the_run(tmp_path: Path) -> None:
    found = []
    for turns in (200, 600):
        path = tmp_path / f"{turns}.optrace"
        with optrace.record(path, last=16):
            scheduled(turns)
        found.append((rows(path), sum(file.stat().st_size for file in path.iterdir())))
    (few, small), (many, large) = found
    for table, count in many.items():
        assert count <= few[table] * 1.5 + 25, table
    assert large < 1.5 * small
    assert len(list((tmp_path / "600.optrace").glob("events*.bin"))) == 1
    assert len(list((tmp_path / "600.optrace").glob("tensors*.bin"))) <= 11


def test_sparse_gradients_leave_no_effects_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from optrace.recording import frame

    monkeypatch.setattr(frame, "_MANY_EFFECTS", 20)
    torch.manual_seed(0)
    model = nn.Embedding(500, 2, sparse=True)
    optimizer = torch.optim.SparseAdam(list(model.parameters()))
    with optrace.record(tmp_path / "run.optrace", last=8):
        for turn in range(300):  # each gradient has another form
            optimizer.zero_grad()
            model(torch.arange(turn + 1)).sum().backward()
            optimizer.step()
    assert rows(tmp_path / "run.optrace")["effect"] < 120
    with optrace.load(tmp_path / "run.optrace") as trace:
        assert np.array_equal(trace.value("weight"), model.weight.detach().numpy())
        assert trace.value("weight", "grad", at="299:1").shape == (500, 2)


@pytest.mark.parametrize("budget", ["1MB", "3MB"])
def test_the_budget_is_a_promise_and_fewer_are_kept(
    tmp_path: Path, budget: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ring, "LEAST_CHUNK", 256 << 10)
    torch.manual_seed(0)
    path = tmp_path / "run.optrace"
    model = nn.Linear(100, 100)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    most = 0
    expected = []
    with optrace.record(path, last=10_000, budget=budget):
        for turn in range(120):  # 160 kB each
            optimizer.zero_grad()
            model(torch.randn(2, 100)).square().mean().backward()
            optimizer.step()
            expected.append(now(dict(model.named_parameters()), optimizer))
            if turn % 10 == 0:
                most = max(most, sum(file.stat().st_size for file in path.iterdir()))
    limit = {"1MB": 1e6, "3MB": 3e6}[budget]
    assert most <= 1.05 * limit
    with optrace.load(path) as trace:
        assert trace.size() <= 1.05 * limit
        first = trace.gaps[0].last + 1
        assert 120 - first >= (1 if budget == "1MB" else 8)
        for iteration in range(first, 120):
            same(trace, trace.iterations[iteration].events[-1].seq, expected[iteration])
        assert "room" in trace.gaps[0].reason
        assert "room for about" in trace.phases[-1].reason
    said = [line for line in capsys.readouterr().err.splitlines() if "room for about" in line]
    assert len(said) == 1
    assert "10,000" in said[0]


def test_an_iteration_that_is_larger_than_the_budget(tmp_path: Path) -> None:
    model = nn.Linear(600, 600)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    path = tmp_path / "run.optrace"
    with optrace.record(path, last=5, budget="2MB"):
        for _ in range(12):
            optimizer.zero_grad()
            model(torch.ones(1, 600)).sum().backward()
            optimizer.step()
    with optrace.load(path) as trace:
        assert trace.size() < 2.1e6
        assert any("does not fit" in phase.reason or "no room" in phase.reason for phase in trace.phases)
        for name in trace.parameters:
            for event in trace.events:
                if trace.exactness(name, "param", at=event.seq) == "exact":
                    trace.value(name, at=event.seq)


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


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A loop that is recorded and goes on by so many iterations at each call."""
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    path = tmp_path / "run.optrace"
    recording = optrace.record(path, last=8).start()

    def go_on(turns: int) -> Path:
        for _ in range(turns):
            optimizer.zero_grad()
            model(torch.ones(1, 3)).sum().backward()
            optimizer.step()
        done = recording.events
        while True:  # until the writer has caught up, and let go of what it need not hold
            with optrace.load(path) as trace:
                if trace.base + len(trace.events) == done and len(trace.events) <= 40:
                    return path

    yield go_on
    recording.stop()


def test_a_reader_is_never_shown_what_belongs_to_other_numbers(running: Callable[[int], Path]) -> None:
    path = running(30)
    with optrace.load(path) as trace:
        before = trace.base
        kept = {event.position: event.loss for event in trace.events[1:]}
        running(60)
        with pytest.raises(OutdatedError, match="open it again"):
            trace.details(0, len(trace.events))
        assert trace.refresh() == 180
        assert trace.base > before
        assert trace.gaps[0].last + 1 == trace.events[1].iteration
        for event in trace.events[1:]:
            assert kept.get(event.position, event.loss) == event.loss
            trace.value("weight", at=event.seq)


def test_following_a_ring_goes_on_after_what_was_let_go(running: Callable[[int], Path]) -> None:
    path = running(20)
    with optrace.load(path) as trace:
        events = trace.follow()
        seen = [next(events) for _ in range(5)]
        running(100)
        with optrace.load(path) as after:
            end = after.events[-1].position
        while seen[-1].position != end:
            seen.append(next(events))
        positions = [event.position for event in seen if event.kind != "gap"]
        assert positions == sorted(set(positions))
        assert sum(event.kind == "gap" for event in seen) >= 2  # at the start, and where it had to leave some out


def test_keep_ends_the_recording_and_the_training_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.optrace"
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    wrapped = torch.optim.Optimizer.zero_grad
    with optrace.record(path, last=8) as recording:
        assert torch.optim.Optimizer.zero_grad is not wrapped
        for turn in range(50):
            optimizer.zero_grad()
            model(torch.ones(1, 3)).sum().backward()
            optimizer.step()
            if turn == 30:
                held = model.weight.detach().numpy().copy()
                optrace.keep("it looked odd")
                assert not recording.active
                assert torch.optim.Optimizer.zero_grad is wrapped
                with optrace.load(path) as trace:  # whole already
                    assert trace.complete
    assert recording.failure is None
    with optrace.load(path) as trace:
        assert trace.iterations[-1].index == 30
        assert np.array_equal(trace.value("weight"), held)
        assert "it looked odd" in trace.meta["kept"]
        assert "test_record_ring.py" in trace.meta["kept"]
    said = capsys.readouterr().err
    assert said.count("kept iterations") == 1
    assert "-30 in" in said
    assert "it looked odd" in said
    optrace.keep()  # nothing is recorded any more


def test_keep_elsewhere_is_harmless(tmp_path: Path) -> None:
    optrace.keep("nothing is recorded")
    with optrace.record(tmp_path / "run.optrace"):
        plain(2)
        optrace.keep("an ordinary recording")
        plain(2)
    with optrace.load(tmp_path / "run.optrace") as trace:
        (mark,) = trace.marks
        assert mark.detail == {"name": "keep", "value": "an ordinary recording"}
        assert len(trace.events) == 13


def test_keep_inside_a_backward(tmp_path: Path) -> None:
    path = tmp_path / "run.optrace"
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with optrace.record(path, last=8):
        for turn in range(30):
            optimizer.zero_grad()
            output = model(torch.ones(1, 3))
            if turn == 20:
                output.register_hook(lambda gradient: optrace.keep("from a hook"))
            output.sum().backward()
            optimizer.step()
    with optrace.load(path) as trace:
        assert str(trace.events[-1].position) == "20:0"  # the backward that was under way is no part of it
        assert not any(event.failed for event in trace.events)


def test_a_keep_file_ends_it(running: Callable[[int], Path], capsys: pytest.CaptureFixture[str]) -> None:
    path = running(30)
    (path / "keep").write_text(json.dumps({"reason": "somebody asked"}), encoding="utf-8")
    with optrace.load(path) as trace:
        while not trace.complete:
            trace.refresh()
        assert trace.meta["kept"] == "somebody asked"
        assert trace.iterations[-1].index == 29
    for thread in threading.enumerate():
        if thread.name == "optrace-writer":
            thread.join(60)
    assert "kept iterations" in capsys.readouterr().err  # said once all is closed


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
