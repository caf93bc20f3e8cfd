"""The live check beside a recording of the last iterations: what leads to an error is there when it is found."""

import contextlib
import os
import time
from pathlib import Path

import pytest
import torch
from torch import nn

import optrace
from optrace.recording.lookout import Lookout
from optrace.trace.ring import ALL


def _open_files() -> int:
    """How many this process may have open at once; none where it cannot be said."""
    try:
        import resource
    except ImportError:
        return 0
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


pytestmark = pytest.mark.skipif(not os.path.exists("/bin/sh"), reason="the live check is started by a shell")


def test_the_iterations_before_an_error_are_kept_however_late_it_is_found(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Linear(64, 64)
    optimizer = torch.optim.Adam(model.parameters())
    losses: list[float] = []
    wrong = -1
    with optrace.record(tmp_path / "run.optrace", last=8) as recording:
        deadline = time.monotonic() + 120
        while recording.active and time.monotonic() < deadline:
            inputs = torch.randn(4, 64)
            if wrong < 0 and not (recording.path / "events.bin").exists():  # the first iterations are gone
                wrong = len(losses)
                inputs[0, 0] = float("inf")
            loss = (model(inputs) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert not recording.active
    trace = optrace.load(tmp_path / "run.optrace")
    assert trace.meta["kept"].startswith("OT401")
    assert "OT401" in {finding.code for finding in optrace.check(trace)}
    first = trace.gaps[0].last + 1
    assert 0 < first <= wrong - 8
    for iteration in range(first, wrong):
        assert trace.event(f"{iteration}:1").loss == losses[iteration]


def train(path: Path, iterations: int, wrong: int = -1) -> None:
    torch.manual_seed(0)
    model = nn.Linear(100, 100)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with optrace.record(path, last=5):
        for iteration in range(iterations):
            inputs = torch.randn(4, 100)
            if iteration == wrong:
                inputs[0, 0] = float("inf")
            optimizer.zero_grad()
            model(inputs).square().mean().backward()
            optimizer.step()


def test_at_the_end_no_more_is_kept_than_was_asked_for(tmp_path: Path) -> None:
    train(tmp_path / "run.optrace", 150)
    trace = optrace.load(tmp_path / "run.optrace")
    (gap,) = trace.gaps
    assert 140 < gap.last + 1 <= 145
    assert trace.iterations[-1].index == 149


def test_at_the_end_an_error_is_looked_for_once_more(tmp_path: Path) -> None:
    train(tmp_path / "run.optrace", 150, wrong=20)  # over before it was looked at for the first time
    trace = optrace.load(tmp_path / "run.optrace")
    assert "OT401" in {finding.code for finding in optrace.check(trace)}
    assert not trace.gaps or trace.gaps[0].last < 15


def test_who_has_nobody_looking_waits_for_nobody(tmp_path: Path) -> None:
    lookout = Lookout()
    assert lookout.seen == ALL
    assert lookout.post(tmp_path / "nothing", []) is None
    assert lookout.seen == 0
    lookout.dismiss()
    assert lookout.seen == ALL


def test_nothing_goes_before_the_first_look(tmp_path: Path) -> None:
    """However many iterations the writer finds when it comes to write for the first time."""
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with optrace.record(tmp_path / "run.optrace", last=2) as recording:
        recorder = recording._recorder
        assert recorder is not None
        assert recorder.writer.ring is not None
        assert recorder.writer.ring.seen == 0
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()


@pytest.mark.skipif(_open_files() < 1300, reason="no process may have that many files open here")
def test_it_is_looked_for_with_a_thousand_files_open(tmp_path: Path) -> None:
    """`select` takes no numbers above 1,023."""
    with contextlib.ExitStack() as stack:
        for _ in range(1100):
            stack.enter_context(open(os.devnull))
        train(tmp_path / "run.optrace", 150, wrong=20)
    trace = optrace.load(tmp_path / "run.optrace")
    assert trace.meta["failure"] is None
    assert "OT401" in {finding.code for finding in optrace.check(trace)}
