"""Gradients that were there when recording began, or after a gap: their numbers, and what is not known of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import optrace
from optrace.tui.core.machine import Machine
from optrace.tui.core.parts import FOUND
from optrace.tui.core.readings import wide
from optrace.tui.core.tabs import gradient


def train(path: Path, zero_last: bool, every: int, forgets: bool = True) -> None:
    """Without clearing in every third turn, if it `forgets`. A gradient is there already when recording begins."""
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.randn(4, 3)).square().sum().backward()
    with optrace.record(path, every=every):
        for turn in range(12):
            if not zero_last and (turn % 3 or not forgets):
                optimizer.zero_grad()
            model(torch.randn(4, 3)).square().sum().backward()
            optimizer.step()
            if zero_last and turn % 3:
                optimizer.zero_grad(set_to_none=turn % 2 == 0)


def text(lines: list[list[object]]) -> str:
    return " ".join("".join(span.text for span in line) for line in lines)  # type: ignore[attr-defined]


@pytest.mark.parametrize("zero_last", [False, True])
@pytest.mark.parametrize("every", [1, 2])
def test_the_parts_add_up_to_the_gradient(tmp_path: Path, zero_last: bool, every: int) -> None:
    train(tmp_path / "run.optrace", zero_last, every)
    found = 0
    with optrace.load(tmp_path / "run.optrace") as trace:
        machine = Machine(trace)
        for event in trace.events:
            for parameter in trace.parameters.values():
                parts = machine.parts.at(parameter, event.seq).parts
                if not parts:
                    continue
                added = [machine.parts.contribution(parameter, part) for part in parts]
                now = trace.value(parameter, "grad", event)
                assert now is not None
                np.testing.assert_allclose(np.sum(added, axis=0), wide(now), rtol=1e-6, atol=1e-6)
                found += parts[0].fate == FOUND
    assert found


def test_what_is_not_known_is_not_claimed(tmp_path: Path) -> None:
    train(tmp_path / "run.optrace", zero_last=False, every=2)
    with optrace.load(tmp_path / "run.optrace") as trace:
        machine = Machine(trace)
        parameter = trace.parameter("weight")
        first = trace.event("0:0")  # the backward of a turn without zero_grad
        said = text(machine.story.of(first.seq, parameter))  # type: ignore[arg-type]
        assert "It came on top of what was found there at 0:0." in said
        assert "not recorded" in said
        assert "was empty" not in said


def test_what_a_gap_left_is_cleared_with_its_numbers(tmp_path: Path) -> None:
    train(tmp_path / "run.optrace", zero_last=False, every=2, forgets=False)
    with optrace.load(tmp_path / "run.optrace") as trace:
        machine = Machine(trace)
        parameter = trace.parameter("weight")
        event = trace.event("4:0")
        assert event.kind == "zero_grad"
        assert "It was found there." in text(machine.story.of(event.seq, parameter))  # type: ignore[arg-type]
        before = trace.before(parameter, "grad", event)
        assert before is not None
        tab = text(gradient.lines(machine, parameter, event.seq, (0, 0), 70))  # type: ignore[arg-type]
        assert "found 4:0" in tab
        assert f"{np.linalg.norm(wide(before)):.3g}" in tab
        assert "use not recorded" in tab
