"""A recording of the last iterations is bounded on disk, by what it holds and by the budget."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest
import torch
from rings import now, same
from torch import nn

import optrace
from optrace.recording import ring

pytestmark = pytest.mark.usefixtures("small_chunks_and_nobody_looking")


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
    from optrace.recording import effects

    monkeypatch.setattr(effects, "_MANY", 20)
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


def test_iterations_that_take_ever_more_room(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One chunk that goes makes less room than the next one needs: as many go as it takes."""
    torch.manual_seed(0)
    with optrace.record(tmp_path / "run.optrace", last=500, budget="2MB") as recording:
        for turn in range(400):
            model = nn.Linear(4, 2 + turn // 2)
            optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
            for _ in range(2):
                optimizer.zero_grad()
                model(torch.ones(2, 4)).square().mean().backward()
                optimizer.step()
    assert recording.failure is None
    with optrace.load(tmp_path / "run.optrace") as trace:
        assert trace.size() <= 2_000_000 * 1.05
        assert trace.events[-1].position.iteration >= 399
        assert trace.phases[-1].capture == "exact"
        last = list(trace.parameters)[-2]
        assert np.array_equal(trace.value(last), model.weight.detach().numpy())
