"""OT101–OT103: what is applied twice, and what is cleared before it is applied."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from checks.conftest import Recorded, source_line
from checks.tasks import batches, classes, mlp

# OT101 missing-zero-grad


def test_no_zero_grad_at_all(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp()
        opt = torch.optim.SGD(model.parameters(), lr=0.01)
        for inputs, targets in batches(10):
            loss = F.mse_loss(model(inputs), targets)
            loss.backward()
            opt.step()  # here
    found = run.one("OT101")
    assert found.severity == "error"
    assert found.count == 9
    assert "# here" in source_line(found)
    assert "`opt.step()`" in found.message
    assert "`opt.zero_grad()`" in found.fix
    assert len(found.parameters) == 4
    assert found.evidence["backwards_inside"] == 2
    assert found.evidence["most_backwards_inside"] == 10
    assert 0 < found.evidence["stale_share"] < 1
    with run.trace as trace:
        seq = trace.seq(found.position)
        whole = sum(float(trace.statistics(p, "grad", "norm", seq - 1, seq)[1][0] ** 2) for p in trace.parameters)
    assert found.evidence["gradient_norm"] == pytest.approx(whole**0.5)


def test_zero_grad_once_per_epoch(recorded: Recorded) -> None:
    class Trainer:
        def __init__(self) -> None:
            self.model = mlp(outputs=3)
            self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.01)
            self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, 1)

        def batch(self, inputs: torch.Tensor, labels: torch.Tensor) -> None:
            F.cross_entropy(self.model(inputs), labels).backward()
            self.optimizer.step()  # here

        def fit(self) -> None:
            for _ in range(3):
                self.optimizer.zero_grad()  # cleared here only
                for inputs, labels in classes(6):
                    self.batch(inputs, labels)
                self.scheduler.step()

    with recorded() as run:
        Trainer().fit()
    found = run.one("OT101")
    assert found.count == 15
    assert "# here" in source_line(found)
    assert "ran only 3 times" in found.fix


def test_zero_grad_of_one_of_two_models(recorded: Recorded) -> None:
    with recorded() as run:
        encoder, decoder = nn.Linear(4, 8), nn.Linear(8, 1)
        optimizer = torch.optim.SGD([*encoder.parameters(), *decoder.parameters()], lr=0.01)
        for inputs, targets in batches(8):
            encoder.zero_grad()  # and the decoder?
            F.mse_loss(decoder(torch.tanh(encoder(inputs))), targets).backward()
            optimizer.step()
    found = run.one("OT101")
    with run.trace as trace:
        assert {trace.parameter(name).shape for name in found.parameters} == {(1, 8), (1,)}


def test_old_gradients_that_nothing_is_added_to(recorded: Recorded) -> None:
    with recorded() as run:
        body, head = nn.Linear(4, 4), nn.Linear(4, 1)
        optimizer = torch.optim.SGD([*body.parameters(), *head.parameters()], lr=0.01)
        for turn, (inputs, targets) in enumerate(batches(8)):
            head.zero_grad()
            features = body(inputs)
            if turn >= 2:
                features = features.detach()
            F.mse_loss(head(features), targets).backward()
            optimizer.step()
    found = run.one("OT101")
    assert found.count == 7


def test_a_repaired_loop_is_silent(correct: Recorded) -> None:
    with correct():
        model = mlp()
        opt = torch.optim.SGD(model.parameters(), lr=0.01)
        for inputs, targets in batches(10):
            opt.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            opt.step()


def test_a_repaired_two_model_loop_is_silent(correct: Recorded) -> None:
    with correct():
        encoder, decoder = nn.Linear(4, 8), nn.Linear(8, 1)
        optimizer = torch.optim.SGD([*encoder.parameters(), *decoder.parameters()], lr=0.01)
        for inputs, targets in batches(8):
            encoder.zero_grad()
            decoder.zero_grad()
            F.mse_loss(decoder(torch.tanh(encoder(inputs))), targets).backward()
            optimizer.step()


# OT102 repeated-step


def test_step_twice_on_two_lines(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for inputs, targets in batches(6):
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
            optimizer.step()  # here
    found = run.one("OT102")
    assert found.severity == "error"
    assert found.count == 6
    assert "# here" in source_line(found)


def test_step_in_a_helper_and_after_it(recorded: Recorded) -> None:
    def train_batch(model: nn.Module, optimizer: torch.optim.Optimizer, inputs, targets) -> float:
        optimizer.zero_grad()
        loss = F.mse_loss(model(inputs), targets)
        loss.backward()
        optimizer.step()
        return loss.item()

    with recorded() as run:
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        for inputs, targets in batches(6):
            train_batch(model, optimizer, inputs, targets)
            optimizer.step()  # here
    found = run.one("OT102")
    assert "# here" in source_line(found)


def test_step_outside_the_accumulation_window(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        loss = F.mse_loss(model(batches(1)[0][0]), batches(1)[0][1])
        loss.backward()
        for _ in range(5):
            optimizer.step()  # here
    found = run.one("OT102")
    assert found.count == 4


def test_one_step_per_backward_is_silent(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for inputs, targets in batches(6):
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()


# OT103 cleared-before-applied


@pytest.mark.parametrize("to_none", [True, False])
def test_zero_grad_between_backward_and_step(recorded: Recorded, to_none: bool) -> None:
    with recorded() as run:
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for inputs, targets in batches(6):
            F.mse_loss(model(inputs), targets).backward()
            optimizer.zero_grad(set_to_none=to_none)  # here
            optimizer.step()
    found = run.one("OT103")
    assert found.severity == "error"
    assert found.count == 6
    assert "# here" in source_line(found)


def test_step_before_backward_after_zero_grad(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for inputs, targets in batches(6):
            model.zero_grad()
            optimizer.step()
            F.mse_loss(model(inputs), targets).backward()
    found = run.one("OT103")
    assert found.count == 5


def test_accumulation_that_clears_at_every_micro_batch(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for turn, (inputs, targets) in enumerate(batches(12)):
            optimizer.zero_grad()  # here
            (F.mse_loss(model(inputs), targets) / 4).backward()
            if turn % 4 == 3:
                optimizer.step()
    found = run.one("OT103")
    assert "# here" in source_line(found)
    assert found.evidence["backwards_per_step"] == 4
    assert found.evidence["lost_per_step"] == 3


def test_clearing_where_it_belongs_is_silent(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for turn, (inputs, targets) in enumerate(batches(12)):
            if turn % 4 == 0:
                optimizer.zero_grad()
            (F.mse_loss(model(inputs), targets) / 4).backward()
            if turn % 4 == 3:
                optimizer.step()


def test_bad_batches_left_out_are_silent(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for turn, (inputs, targets) in enumerate(batches(30)):
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            if turn in (3, 4, 11, 20):  # an outlier, say
                continue
            optimizer.step()
