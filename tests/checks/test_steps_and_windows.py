"""OT104–OT106: steps with nothing, backwards without steps, and windows that are never completed."""

from __future__ import annotations

import contextlib

import torch
from torch import nn
from torch.nn import functional as F

from checks.conftest import Recorded, source_line
from checks.tasks import batches, mlp

# OT104 step-without-gradient


def test_no_backward(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for inputs, targets in batches(5):
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets)
            optimizer.step()  # here
    found = run.one("OT104")
    assert found.severity == "error"
    assert found.count == 5
    assert "# here" in source_line(found)
    assert "no backward was recorded" in found.fix


def test_everything_is_frozen(recorded: Recorded) -> None:
    with recorded() as run:
        model, probe = mlp(), torch.ones(1, requires_grad=True)
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for inputs, targets in batches(5):
            optimizer.zero_grad()
            (F.mse_loss(model(inputs), targets) * probe).sum().backward()
            optimizer.step()
    found = run.one("OT104")
    assert "reaches none of them" in found.fix


def test_backward_after_the_first_step(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for inputs, targets in batches(5):
            optimizer.step()  # here: one batch late, and the last one is lost
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
    found = run.one("OT104")
    assert found.severity == "warning"
    assert found.count == 1
    assert "# here" in source_line(found)


def test_a_dry_step_for_the_schedulers_sake_is_a_hint(correct: Recorded) -> None:
    with correct() as run:
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        optimizer.zero_grad()
        optimizer.step()
        for inputs, targets in batches(5):
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
    expected = [] if run.trace.gaps else ["hint"]  # of the last iterations alone, that step is none
    assert [f.severity for f in run.findings if f.code == "OT104"] == expected


def test_a_backward_before_every_step_is_silent(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for inputs, targets in batches(5):
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()


# OT105 never-stepped


def test_no_step(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for inputs, targets in batches(5):
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()  # here
    found = run.one("OT105")
    assert found.severity == "error"
    assert found.count == 5
    assert "# here" in source_line(found)
    assert "`optimizer.step()`" in found.fix


def test_the_second_optimizer_is_forgotten(recorded: Recorded) -> None:
    with recorded() as run:
        body, head = nn.Linear(4, 8), nn.Linear(8, 1)
        first = torch.optim.SGD(body.parameters(), lr=0.01)
        second = torch.optim.SGD(head.parameters(), lr=0.01)
        for inputs, targets in batches(5):
            first.zero_grad()
            second.zero_grad()
            F.mse_loss(head(torch.tanh(body(inputs))), targets).backward()
            first.step()
    found = run.one("OT105")
    assert "`second`" in found.message
    with run.trace as trace:
        assert {trace.parameter(name).shape for name in found.parameters} == {(1, 8), (1,)}


def test_both_step_is_silent(correct: Recorded) -> None:
    with correct():
        body, head = nn.Linear(4, 8), nn.Linear(8, 1)
        first = torch.optim.SGD(body.parameters(), lr=0.01)
        second = torch.optim.SGD(head.parameters(), lr=0.01)
        for inputs, targets in batches(5):
            first.zero_grad()
            second.zero_grad()
            F.mse_loss(head(torch.tanh(body(inputs))), targets).backward()
            first.step()
            second.step()


# OT106 leftover-accumulation


def test_the_rest_of_an_epoch_is_cleared(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for _ in range(3):
            optimizer.zero_grad()  # here
            for turn, (inputs, targets) in enumerate(batches(10)):
                (F.mse_loss(model(inputs), targets) / 4).backward()
                if (turn + 1) % 4 == 0:
                    optimizer.step()
                    optimizer.zero_grad()
    found = run.one("OT106")
    assert found.severity == "warning"
    assert (found.evidence["backwards_per_step"], found.evidence["left_over"], found.count) == (4, 2, 2)
    assert "# here" in source_line(found)


def test_the_rest_of_the_run_stays_pending(recorded: Recorded) -> None:
    def train(model: nn.Module, optimizer: torch.optim.Optimizer, every: int) -> None:
        optimizer.zero_grad()
        for turn, (inputs, targets) in enumerate(batches(14)):
            (F.mse_loss(model(inputs), targets) / every).backward()  # here
            if turn % every == every - 1:
                optimizer.step()
                model.zero_grad()

    with recorded() as run:
        model = mlp()
        train(model, torch.optim.Adam(model.parameters()), 4)
    found = run.one("OT106")
    assert found.evidence["left_over"] == 2
    assert "# here" in source_line(found)


def test_a_run_that_was_interrupted_is_silent(recorded: Recorded) -> None:
    def train(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        for turn, (inputs, targets) in enumerate(batches(14)):
            (F.mse_loss(model(inputs), targets) / 4).backward()
            if turn % 4 == 3:
                optimizer.step()
                optimizer.zero_grad()
        raise KeyboardInterrupt

    model = mlp()
    with contextlib.suppress(KeyboardInterrupt), recorded() as run:
        train(model, torch.optim.SGD(model.parameters(), lr=0.01))
    assert run.codes == []


def test_a_last_short_window_is_silent(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        given = batches(10)
        for _ in range(3):
            for turn, (inputs, targets) in enumerate(given):
                (F.mse_loss(model(inputs), targets) / 4).backward()
                if (turn + 1) % 4 == 0 or turn + 1 == len(given):
                    optimizer.step()
                    optimizer.zero_grad()


def test_one_empty_step_after_others_is_a_hint(correct: Recorded) -> None:
    # As lightning's weight averaging does: an epoch more, for the batch norms alone.
    model = mlp()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    with correct() as run:
        for index, (inputs, targets) in enumerate(batches(8)):
            optimizer.zero_grad()
            loss = F.mse_loss(model(inputs), targets)
            if index < 7:
                loss.backward()
            optimizer.step()
    assert run.codes == ["OT104"]
