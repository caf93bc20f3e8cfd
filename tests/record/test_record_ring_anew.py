"""Models, optimizers and parameters that are made anew without end: what is gone leaves the ring and the recorder."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from rings import now, same
from test_record_ring_process import QUICK, environment
from test_record_ring_room import rows
from torch import nn

import optrace
from optrace.cli.main import main
from optrace.recording import effects, frame, registry, sites

pytestmark = pytest.mark.usefixtures("small_chunks_and_nobody_looking")
ANEW = """
import torch
from torch import nn
torch.manual_seed(0)
while True:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.ones(2, 3)).square().mean().backward()
        optimizer.step()
"""


@pytest.fixture(autouse=True)
def soon_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is forgotten by the thousand is forgotten by the dozen."""
    monkeypatch.setattr(effects, "_MANY", 20)
    monkeypatch.setattr(frame, "_MANY_GONE", 20)
    monkeypatch.setattr(registry, "_GONE", 20)
    monkeypatch.setattr(sites, "_MANY_CHAINS", 10)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, *seen: list[Any]) -> None:
    for turn in range(2):
        optimizer.zero_grad()
        model(torch.full((2, 3), float(turn))).square().mean().backward()
        optimizer.step()
        for found in seen:
            found.append(now(dict(model.named_parameters()), optimizer))


def models(turns: int) -> None:
    for _ in range(turns):
        model = nn.Linear(3, 2)
        train(model, torch.optim.Adam(model.parameters(), lr=0.01))


def optimizers(turns: int) -> None:
    model = nn.Linear(3, 2)
    for _ in range(turns):
        train(model, torch.optim.Adam(model.parameters(), lr=0.01))


def heads(turns: int) -> None:
    """The body stays, what is around it is made anew."""
    body = nn.Linear(3, 3)
    for _ in range(turns):
        model = nn.Sequential(body, nn.Linear(3, 2))
        train(model, torch.optim.SGD(model.parameters(), lr=0.01))


def bare(turns: int) -> None:
    for _ in range(turns):
        weight = torch.zeros(3, requires_grad=True)
        optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
        for _ in range(2):
            optimizer.zero_grad()
            (weight - 1).square().sum().backward()
            optimizer.step()


def members(turns: int) -> None:
    """One optimizer, and a param group with another parameter and rate each turn."""
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for turn in range(turns):
        del optimizer.param_groups[1:]
        optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(2))], "lr": 1.0 + turn})
        train(model, optimizer)


def swaps(turns: int) -> None:
    """Two parameters take turns under one name."""
    model = nn.Linear(3, 2)
    both = [model.weight, nn.Parameter(model.weight.detach() * 2)]
    optimizer = torch.optim.SGD([*both, model.bias], lr=0.01)
    for turn in range(turns):
        model.weight = both[turn % 2]
        train(model, optimizer)


def schedules(turns: int) -> None:
    model = nn.Linear(3, 2)
    for _ in range(turns):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1)
        train(model, optimizer)
        schedule.step()


def lines(turns: int) -> None:
    """Code that is compiled anew."""
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for turn in range(turns):
        exec(compile("train(model, optimizer)", f"<{turn}>", "exec"), {**globals(), **locals()})


def held(recording: Any) -> dict[str, int]:
    """How many entries the recorder's tables have."""
    recorder = recording._recorder
    parts = {
        "recorder": recorder,
        "frame": recorder.frame,
        "registry": recorder.registry,
        "parameters": recorder.parameters,
        "models": recorder.registry.models,
        "groups": recorder.registry.groups,
        "sites": recorder.sites,
        "turns": recorder.turns,
        "losses": recorder.losses,
        "watch": recorder.watch,
        "ring": recorder.writer.ring,
    }
    found = {}
    for name, part in parts.items():
        for table, content in vars(part).items():
            if isinstance(content, (dict, list, set, tuple)):
                found[f"{name}.{table}"] = len(content)
    found["state"] = max(len(tracked.state) for tracked in recorder.parameters.tracked)
    return found


def on_disk(path: Path) -> int:
    total = 0
    for file in path.iterdir():
        with suppress(FileNotFoundError):  # it was let go just now
            total += file.stat().st_size
    return total


@pytest.mark.parametrize("loop", [models, optimizers, heads, bare, members, swaps, schedules, lines])
def test_neither_index_nor_memory_grow(tmp_path: Path, loop: Callable[[int], None]) -> None:
    found = []
    for turns in (60, 240):
        path = tmp_path / f"{turns}.optrace"
        with optrace.record(path, last=8) as recording:
            loop(turns)
            gc.collect()
            tables = held(recording)
        found.append({**rows(path), **tables})
        with optrace.load(path) as trace:
            assert trace.gaps[0].last > 0.7 * turns
            assert not [finding for finding in optrace.check(trace) if finding.severity == "error"]
            for event in trace.events:  # all that it names is there
                for change in trace.effect(event):
                    assert trace.parameters.by_id(change.parameter)
                for group in trace.groups(event):
                    assert all(trace.parameters.by_id(number) for number in group.parameters)
            for optimizer in trace.optimizers:
                assert optimizer.site is not None
    few, many = found
    for table, count in many.items():
        assert count <= 1.5 * few[table] + 40, table


def test_what_is_kept_reads_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    seen: list[dict[tuple[str, str], Any]] = []
    path = tmp_path / "run.optrace"
    with optrace.record(path, last=20):
        for _ in range(100):
            model = nn.Linear(3, 2)
            optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
            train(model, optimizer, seen)
    with optrace.load(path) as trace:
        first = trace.gaps[0].last + 1
        assert 150 < first <= 180
        for iteration in range(first, 200):
            number = f"#{iteration // 2}"  # weight, model.weight, weight#2, ...
            expected = {(f"{name}{number}", kind): value for (name, kind), value in seen[iteration].items()}
            same(trace, trace.seq(f"{iteration}:2"), expected)
            event = trace.event(f"{iteration}:2")
            assert event.optimizer.name == f"Adam#{iteration // 2 + 1}"
            (group,) = trace.groups(event)
            assert [trace.parameters.by_id(p).name for p in group.parameters] == [f"weight{number}", f"bias{number}"]
        assert "weight" not in trace.parameters
        assert list(trace.parameters)[-2:] == ["weight#99", "bias#99"]
        ids = [parameter.id for parameter in trace.parameters.values()]
        assert ids == sorted(ids)
        assert len({optimizer.name for optimizer in trace.optimizers}) == len(trace.optimizers) < 20
        assert all(model.site is not None for model in trace.models)
    assert main(["info", str(path)]) == 0
    assert "Adam#100" in capsys.readouterr().out
    assert main(["show", str(path), "199:2"]) == 0
    assert "weight#99" in capsys.readouterr().out
    assert main(["info", "--json", str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["optimizers"][-1]["name"] == "Adam#100"
    assert main(["check", str(path)]) in (0, 1)


def test_what_lives_on_stays(tmp_path: Path) -> None:
    torch.manual_seed(0)
    seen: list[dict[tuple[str, str], Any]] = []
    teacher = nn.Sequential(nn.Linear(3, 2))
    late = torch.optim.Adam(teacher.parameters(), lr=0.1)
    with optrace.record(tmp_path / "run.optrace", teacher, last=8):
        train(teacher, late)
        models(60)
        train(teacher, late, seen)
        models(2)
    with optrace.load(tmp_path / "run.optrace") as trace:
        assert next(iter(trace.parameters)) == "0.weight"
        assert trace.optimizers[0].name == "Adam"
        steps = [event for event in trace.events if event.kind == "step" and event.optimizer.name == "Adam"]
        assert len(steps) == 2
        for event, expected in zip(steps, seen, strict=True):
            same(trace, event.seq, expected)


def test_keep_and_an_open_reader(tmp_path: Path) -> None:
    path = tmp_path / "run.optrace"
    with optrace.record(path, last=8) as recording:
        models(20)
        time.sleep(0.3)
        with optrace.load(path) as trace:
            before = list(trace.parameters)
            models(40)
            time.sleep(0.3)
            trace.refresh()
            assert not set(before) & set(trace.parameters)
            with optrace.load(path) as fresh:
                assert len(trace.parameters) == len(fresh.parameters)
        model = nn.Linear(3, 2)
        train(model, torch.optim.Adam(model.parameters(), lr=0.1))
        optrace.keep("enough")
        assert not recording.active
    with optrace.load(path) as trace:
        assert trace.complete
        assert trace.value("weight#60").tobytes() == model.weight.detach().numpy().tobytes()


@pytest.mark.parametrize("seconds", [0.9, *(pytest.param(each, marks=pytest.mark.slow) for each in (0.5, 1.3))])
def test_killed_in_between(tmp_path: Path, seconds: float) -> None:
    path = tmp_path / "run.optrace"
    (tmp_path / "loop.py").write_text(QUICK + f"import optrace\noptrace.record({str(path)!r}, last=8).start()\n" + ANEW)
    process = subprocess.Popen([sys.executable, str(tmp_path / "loop.py")], env=environment(), cwd=tmp_path)
    try:
        until = time.monotonic() + 60
        while not list(path.glob("events-0*.bin")) and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(seconds)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with optrace.load(path) as trace:
        assert trace.killed()
        assert trace.gaps
        assert len(trace.parameters) < 2 * len(trace.events)
        for event in trace.events:
            for change in trace.effect(event):
                name = trace.parameters.by_id(change.parameter)
                if event.kind == "step":
                    assert trace.value(name, at=event.seq).shape == name.shape
        assert not [finding for finding in optrace.check(trace) if finding.severity == "error"]


@pytest.mark.slow
def test_thousands_of_models(tmp_path: Path) -> None:
    sizes, times = [], []
    path = tmp_path / "run.optrace"
    with optrace.record(path, last=50, budget="20MB") as recording:
        for _ in range(8):
            began = time.process_time()
            models(500)
            times.append(time.process_time() - began)
            gc.collect()
            sizes.append((sum(held(recording).values()), on_disk(path)))
        assert recording.failure is None
    assert max(times[4:]) < 2 * min(times[1:4])
    for kind in zip(*sizes, strict=True):
        assert max(kind[4:]) < 1.5 * max(kind[1:4])
