"""A recording of the last iterations while it runs: read, followed, and ended by what is asked to be kept."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from small import loss_of, parts
from torch import nn

import optrace
from optrace.errors import OutdatedError

pytestmark = pytest.mark.usefixtures("small_chunks_and_nobody_looking")


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
        assert Path(__file__).name in trace.meta["kept"]
    said = capsys.readouterr().err
    assert said.count("kept iterations") == 1
    assert "-30 in" in said
    assert "it looked odd" in said
    optrace.keep()  # nothing is recorded any more


def test_keep_elsewhere_is_harmless(tmp_path: Path) -> None:
    optrace.keep("nothing is recorded")
    model, optimizer = parts()
    with optrace.record(tmp_path / "run.optrace"):
        for turn in range(4):
            if turn == 2:
                optrace.keep("an ordinary recording")
            optimizer.zero_grad()
            loss_of(model).backward()
            optimizer.step()
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


def test_keep_before_anything_was_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with optrace.record(tmp_path / "run.optrace", last=8):
        optrace.keep("too early")
    assert f"optrace: kept no iteration in {tmp_path / 'run.optrace'}: " in capsys.readouterr().err
    with optrace.load(tmp_path / "run.optrace") as trace:
        assert trace.complete
        assert len(trace.events) == 0
