"""The budget is a promise: a trace never passes it by more than 5 %, whatever the loop, looked at all the while."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import optrace

SLACK = 1.05


class Watch:
    """Looks at a folder's size over and over, from a thread of its own: index, log and shared memory are in it."""

    def __init__(self, folder: Path) -> None:
        self.largest = self.looks = 0
        self._folder = folder
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stop.set()
        self._thread.join()
        self.look()

    def look(self) -> None:
        total = 0
        for file in list(self._folder.glob("*")):
            try:
                total += file.stat().st_size
            except FileNotFoundError:  # the log is gone once the recording has ended
                continue
        self.largest, self.looks = max(self.largest, total), self.looks + 1

    def _run(self) -> None:
        while not self._stop.wait(0.001):
            self.look()


@dataclass(frozen=True)
class Loop:
    """A training loop, and how much room it gets."""

    budget: int
    turns: int
    fullness: float
    """What it would write exactly, as a share of the budget; more than 0.5 is too much to be kept exactly."""
    parts: int
    """How many parameters."""
    adam: bool
    chatter: int
    """Characters logged in each turn."""
    schedule: bool
    renew: int
    """After so many turns the optimizer is made anew; 0 is never."""

    def run(self, path: Path) -> Watch:
        each = max(1, int(self.budget * self.fullness / self.turns / self.parts / (16 if self.adam else 8)))
        tensors = [torch.linspace(-1, 1, each + n).requires_grad_() for n in range(self.parts)]
        optimizer, schedule = self._make(tensors)
        with Watch(path) as watch, optrace.record(path, budget=self.budget) as recording:
            for turn in range(self.turns):
                if self.renew and turn % self.renew == self.renew - 1:
                    optimizer, schedule = self._make(tensors)
                optimizer.zero_grad()
                torch.stack([(tensor * tensor).sum() for tensor in tensors]).sum().backward()
                optimizer.step()
                if schedule is not None:
                    schedule.step()
                if self.chatter:
                    optrace.log(text="x" * self.chatter, turn=turn)
                watch.look()
        assert recording.failure is None
        return watch

    def _make(self, tensors: list[torch.Tensor]) -> tuple[Any, Any]:
        optimizer = (torch.optim.Adam if self.adam else torch.optim.SGD)(tensors, lr=1e-3)
        return optimizer, torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.99) if self.schedule else None


def loops(largest: int, turns: int) -> st.SearchStrategy[Loop]:
    budgets = st.floats(6, largest).map(lambda exponent: int(10**exponent))
    return st.builds(
        Loop,
        budget=budgets,
        turns=st.integers(2, turns),
        fullness=st.sampled_from([0.01, 0.4, 0.6, 1.0, 3.0, 20.0]),
        parts=st.sampled_from([1, 2, 7, 40]),
        adam=st.booleans(),
        chatter=st.sampled_from([0, 0, 20, 3000]),
        schedule=st.booleans(),
        renew=st.sampled_from([0, 0, 9]),
    )


def holds(loop: Loop, path: Path) -> None:
    """Within its budget all the while, and whole: every iteration is there, or in a gap."""
    watch = loop.run(path)
    assert watch.looks > loop.turns
    assert watch.largest <= loop.budget * SLACK
    with optrace.load(path) as trace:
        assert trace.complete
        assert watch.largest >= trace.size()
        recorded = sum(1 for iteration in trace.iterations if iteration.recorded)
        assert recorded + sum(gap.last - gap.first + 1 for gap in trace.gaps) >= loop.turns
        if loop.fullness < 0.2 and not loop.chatter and loop.budget > 5_000_000 and not loop.renew:
            assert [phase.capture for phase in trace.phases] == ["exact"]
            assert recorded == loop.turns


QUIET = settings(
    deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate], suppress_health_check=list(HealthCheck)
)


@settings(QUIET, max_examples=6)
@given(loop=loops(6.8, 60))
def test_small_budgets(tmp_path_factory: pytest.TempPathFactory, loop: Loop) -> None:
    holds(loop, tmp_path_factory.mktemp("small") / "run.optrace")


@pytest.mark.slow
@settings(QUIET, max_examples=60)
@given(loop=loops(7.5, 600))
def test_budgets_of_megabytes(tmp_path_factory: pytest.TempPathFactory, loop: Loop) -> None:
    holds(loop, tmp_path_factory.mktemp("medium") / "run.optrace")


@pytest.mark.slow
@settings(QUIET, max_examples=8)
@given(loop=loops(9.0, 60))
def test_budgets_up_to_a_gigabyte(tmp_path_factory: pytest.TempPathFactory, loop: Loop) -> None:
    path = tmp_path_factory.mktemp("large") / "run.optrace"
    holds(loop, path)
    for file in path.iterdir():
        file.unlink()  # they would be kept until the tests end


@pytest.mark.slow
@pytest.mark.parametrize("parts", [1, 40])
def test_a_megabyte_never_ends(tmp_path: Path, parts: int) -> None:
    """What is recorded gets sparser; it does not stop, however small the budget and however many the parameters."""
    path = tmp_path / "run.optrace"
    loop = Loop(1_000_000, 20_000 // parts, 1000.0 * parts, parts, True, 0, False, 0)
    holds(loop, path)
    with optrace.load(path) as trace:
        assert "nothing" not in [phase.capture for phase in trace.phases]
        late = [iteration.index for iteration in trace.iterations if iteration.recorded][-1]
        assert late >= loop.turns // 4
