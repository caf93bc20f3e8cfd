"""OT501–OT503 and OT601–OT603: changed from outside; graphs and modes."""

import copy
import runpy
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from checks.conftest import Recorded
from checks.tasks import batches, mlp
from checks.test_order_schedule_state import source_line

# OT501 changed-outside-step


def test_weights_put_back_after_every_step(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp()
        start = copy.deepcopy(list(model.parameters()))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        for inputs, targets in batches(20):
            for p, first in zip(model.parameters(), start, strict=True):
                p.data.copy_(first)
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
    found = run.one("OT501")
    assert found.severity == "warning"
    assert len(found.parameters) == 4


def test_a_backup_restored_at_the_wrong_place(recorded: Recorded) -> None:
    def validate(model: nn.Module) -> None:
        with torch.no_grad():
            [model(inputs) for inputs, _ in batches(2)]

    with recorded() as run:
        model = mlp()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for inputs, targets in batches(20):
            backup = [p.detach().clone() for p in model.parameters()]
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
            validate(model)
            with torch.no_grad():
                for p, old in zip(model.parameters(), backup, strict=True):
                    p.copy_(old)
    assert run.one("OT501").severity == "warning"


def test_changed_once_in_the_middle_is_a_hint(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        for index, (inputs, targets) in enumerate(batches(20)):
            if index == 10:
                nn.init.zeros_(model[2].bias)
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
    found = run.one("OT501")
    assert found.severity == "hint"
    assert found.parameters == ("2.bias",)


# OT502 parameter-replaced


def test_a_head_replaced_after_the_optimizer_was_made(recorded: Recorded) -> None:
    with recorded() as run:
        model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        model[2] = nn.Linear(8, 1)
        for inputs, targets in batches(20):
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
    found = run.one("OT502")
    assert found.severity == "error"
    assert "2.weight" in found.message


def test_weights_set_as_new_parameters_during_training(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
        for index, (inputs, targets) in enumerate(batches(20)):
            if index == 8:
                model[0].weight = nn.Parameter(model[0].weight.detach() * 0.5)
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
    assert "0.weight" in run.one("OT502").message


def test_the_optimizer_is_made_after_the_replacement(correct: Recorded) -> None:
    with correct() as run:
        model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        model[2] = nn.Linear(8, 1)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for inputs, targets in batches(20):
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
    assert "OT502" not in run.codes


# OT503 state-aliases-gradient


class Forgetful(torch.optim.Optimizer):
    """Momentum whose buffer starts as the gradient itself, without a copy."""

    def __init__(self, params, lr: float, copies: bool) -> None:
        super().__init__(params, {"lr": lr})
        self.copies = copies

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if "momentum" not in state:
                    state["momentum"] = p.grad.clone() if self.copies else p.grad
                else:
                    state["momentum"].mul_(0.9).add_(p.grad)
                p.add_(state["momentum"], alpha=-group["lr"])


@pytest.mark.parametrize("to_none", [True, False])
def test_a_buffer_that_is_the_gradient(to_none: bool, recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp()
        optimizer = Forgetful(model.parameters(), lr=0.01, copies=False)
        for inputs, targets in batches(10):
            optimizer.zero_grad(set_to_none=to_none)
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
    found = run.one("OT503")
    assert found.severity == "error"
    assert "momentum" in found.message


def test_a_buffer_that_is_a_copy(correct: Recorded) -> None:
    with correct() as run:
        model = mlp()
        optimizer = Forgetful(model.parameters(), lr=0.01, copies=True)
        for inputs, targets in batches(10):
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
    assert "OT503" not in run.codes


# OT601 loss-graph-retained


def test_the_demo_that_sums_losses(recorded: Recorded, repository: Path) -> None:
    with recorded() as run:
        runpy.run_path(str(repository / "demos" / "digits_cnn_sum_losses.py"), run_name="__main__")
    found = run.one("OT601")
    assert found.severity == "warning"
    assert "total_loss += loss * len(batch)" in source_line(found)
    assert "total_loss" in found.fix


def test_losses_kept_in_a_list(recorded: Recorded) -> None:
    class Trainer:
        def __init__(self) -> None:
            self.model = mlp()
            self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.02)
            self.losses: list[torch.Tensor] = []

        def step(self, inputs, targets) -> None:
            self.optimizer.zero_grad()
            loss = F.mse_loss(self.model(inputs), targets)
            loss.backward()
            self.optimizer.step()
            self.losses.append(loss)  # here

    with recorded() as run:
        trainer = Trainer()
        for inputs, targets in batches(30):
            trainer.step(inputs, targets)
    assert "# here" in source_line(run.one("OT601"))


def test_a_sum_returned_from_a_function(recorded: Recorded) -> None:
    def train_step(model, optimizer, inputs, targets):
        loss = F.mse_loss(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    with recorded() as run:
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
        total = 0
        for inputs, targets in batches(30):
            found = train_step(model, optimizer, inputs, targets)
            total = total + found  # here
    assert "# here" in source_line(run.one("OT601"))


def test_detached_losses(correct: Recorded) -> None:
    with correct() as run:
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
        total, losses = torch.zeros(()), []
        for inputs, targets in batches(30):
            optimizer.zero_grad()
            loss = F.mse_loss(model(inputs), targets)
            loss.backward()
            optimizer.step()
            total += loss.detach()
            losses.append(loss.item())
    assert "OT601" not in run.codes


# OT602 stuck-in-eval


def test_validation_leaves_the_model_in_eval(recorded: Recorded) -> None:
    def evaluate(model: nn.Module) -> None:
        model.eval()
        with torch.no_grad():
            [model(inputs) for inputs, _ in batches(2)]

    with recorded() as run:
        model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.Linear(8, 1))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
        for _ in range(4):
            for inputs, targets in batches():
                optimizer.zero_grad()
                F.mse_loss(model(inputs), targets).backward()
                optimizer.step()
            evaluate(model)
    found = run.one("OT602")
    assert found.severity == "warning"
    assert found.position.startswith("12:")
    assert found.count == 36


def test_train_called_once_before_the_loop(recorded: Recorded) -> None:
    with recorded() as run:
        model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))
        model.train()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        for index, (inputs, targets) in enumerate(batches(30)):
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
            optimizer.zero_grad()
            if index == 9:
                model.eval()
                with torch.no_grad():
                    model(inputs)
    assert run.one("OT602").count == 20


def test_train_called_after_validation(correct: Recorded) -> None:
    with correct() as run:
        model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.Linear(8, 1))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
        for _ in range(4):
            model.train()
            for inputs, targets in batches():
                optimizer.zero_grad()
                F.mse_loss(model(inputs), targets).backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                model(inputs)
    assert "OT602" not in run.codes


# OT603 backward-twice


def test_the_same_loss_backward_twice(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for inputs, targets in batches(10):
            optimizer.zero_grad()
            loss = F.mse_loss(model(inputs), targets)
            loss.backward(retain_graph=True)
            loss.backward()  # here
            optimizer.step()
    found = run.one("OT603")
    assert found.severity == "hint"
    assert found.count == 10
    assert "# here" in source_line(found)


def test_backward_in_a_helper_and_again_in_the_loop(recorded: Recorded) -> None:
    def log_gradients(model: nn.Module, loss: torch.Tensor) -> float:
        loss.backward(retain_graph=True)
        return sum(float(p.grad.norm()) for p in model.parameters())

    with recorded() as run:
        model = mlp()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for inputs, targets in batches(10):
            optimizer.zero_grad()
            loss = F.mse_loss(model(inputs), targets)
            log_gradients(model, loss)
            loss.backward()
            optimizer.step()
    assert run.one("OT603").count == 10


def test_cleared_between_the_two(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for inputs, targets in batches(10):
            loss = F.mse_loss(model(inputs), targets)
            loss.backward(retain_graph=True)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    assert "OT603" not in run.codes
