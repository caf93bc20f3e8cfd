"""OT201–OT207: order, schedule and state. Each rule: loops with the bug as people write them, and the repaired one."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import lr_scheduler

from checks.conftest import Recorded
from checks.tasks import batches, classes, mlp

EARLY = pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")


# OT201 scheduler-before-step


@EARLY
def test_scheduler_at_the_start_of_the_epoch(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scheduler = lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
        for _ in range(4):
            scheduler.step()  # here
            for inputs, targets in batches():
                optimizer.zero_grad()
                F.mse_loss(model(inputs), targets).backward()
                optimizer.step()
    found = run.one("OT201")
    assert found.severity == "warning"
    assert found.evidence["lr_before"] == [0.1]
    assert found.evidence["lr_after"] == [0.05]
    assert "# here" in source_line(found)


@EARLY
def test_scheduler_between_backward_and_step(recorded: Recorded) -> None:
    def train(model, loader, optimizer, scheduler):
        for inputs, targets in loader:
            loss = F.mse_loss(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            scheduler.step()  # here
            optimizer.step()

    with recorded() as run:
        model = mlp()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        train(model, batches(40), optimizer, lr_scheduler.LinearLR(optimizer, 1.0, 0.1, total_iters=40))
    assert "# here" in source_line(run.one("OT201"))


@EARLY
def test_scheduler_after_the_step_and_fast_forwarded(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scheduler = lr_scheduler.ExponentialLR(optimizer, gamma=0.9)
        for _ in range(3):  # a resumed run brings the schedule to where it was
            scheduler.step()
        for _ in range(3):
            for inputs, targets in batches():
                optimizer.zero_grad()
                F.mse_loss(model(inputs), targets).backward()
                optimizer.step()
            scheduler.step()


# OT202 scheduler-cadence


def test_step_size_meant_for_epochs_and_stepped_per_batch(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scheduler = lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.1)
        for _ in range(6):
            for inputs, targets in batches():
                optimizer.zero_grad()
                F.mse_loss(model(inputs), targets).backward()
                optimizer.step()
                scheduler.step()
    found = run.one("OT202")
    assert found.severity == "hint"


def test_cosine_over_epochs_stepped_per_batch(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        scheduler = lr_scheduler.CosineAnnealingLR(optimizer, T_max=5)
        for _ in range(5):
            for inputs, targets in batches():
                optimizer.zero_grad()
                F.mse_loss(model(inputs), targets).backward()
                optimizer.step()
                scheduler.step()
    assert run.one("OT202").severity == "hint"


def test_cosine_over_all_steps_says_nothing(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        scheduler = lr_scheduler.CosineAnnealingLR(optimizer, T_max=60)
        for _ in range(5):
            for inputs, targets in batches():
                optimizer.zero_grad()
                F.mse_loss(model(inputs), targets).backward()
                optimizer.step()
                scheduler.step()
    assert "OT202" not in run.codes


# OT203 zero-learning-rate


def test_a_warm_up_that_starts_at_zero_and_never_moves(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        epoch = 0
        lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, step / 10))
        for inputs, targets in batches(20):
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()  # here
        assert epoch == 0
    found = run.one("OT203")
    assert found.severity == "warning"
    assert found.count == 20
    assert "# here" in source_line(found)


def test_an_integer_division_gives_zero(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for index, (inputs, targets) in enumerate(batches(40)):
            for group in optimizer.param_groups:
                group["lr"] = 0.1 * (1 - index // 20)
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
    found = run.one("OT203")
    assert found.count == 20
    assert found.position.startswith("20:")


def test_one_step_at_zero_is_a_warm_up(correct: Recorded) -> None:
    with correct() as run:
        model = mlp()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        scheduler = lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, step / 10))
        for inputs, targets in batches(20):
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
            scheduler.step()
    assert "OT203" not in run.codes


# OT204 moved-without-gradient


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.even = nn.Linear(4, 1)
        self.odd = nn.Linear(4, 1)

    def forward(self, inputs: torch.Tensor, index: int) -> torch.Tensor:
        return (self.odd if index % 2 else self.even)(inputs)


@pytest.mark.parametrize(
    ("make", "options"),
    [(torch.optim.SGD, {"momentum": 0.9}), (torch.optim.Adam, {}), (torch.optim.AdamW, {"weight_decay": 0.1})],
)
def test_zeros_instead_of_none(make, options, recorded: Recorded) -> None:
    with recorded() as run:
        model = Branches()
        optimizer = make(model.parameters(), lr=0.01, **options)
        for index, (inputs, targets) in enumerate(batches(20)):
            optimizer.zero_grad(set_to_none=False)
            F.mse_loss(model(inputs, index), targets).backward()
            optimizer.step()  # here
    found = run.one("OT204")
    assert found.severity == "warning"
    assert set(found.parameters) == {"even.weight", "even.bias", "odd.weight", "odd.bias"}
    assert "# here" in source_line(found)


def test_frozen_with_zeroed_gradients_and_momentum(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
        for index, (inputs, targets) in enumerate(batches(20)):
            if index == 10:
                model[0].requires_grad_(False)
            for p in model.parameters():
                if p.grad is not None:
                    p.grad.zero_()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
    assert set(run.one("OT204").parameters) == {"0.weight", "0.bias"}


def test_none_leaves_the_other_branch_alone(correct: Recorded) -> None:
    with correct() as run:
        model = Branches()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        for index, (inputs, targets) in enumerate(batches(20)):
            optimizer.zero_grad()
            F.mse_loss(model(inputs, index), targets).backward()
            optimizer.step()
    assert "OT204" not in run.codes


# OT205 optimizer-recreated


def test_made_again_each_epoch(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp()
        for _ in range(4):
            optimizer = torch.optim.Adam(model.parameters(), lr=0.01)  # here
            for inputs, targets in batches():
                optimizer.zero_grad()
                F.mse_loss(model(inputs), targets).backward()
                optimizer.step()
    found = run.one("OT205")
    assert found.severity == "warning"
    assert found.count == 3
    assert "# here" in source_line(found)


def test_made_again_in_a_training_function(recorded: Recorded) -> None:
    def train_one_epoch(model: nn.Module) -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        for inputs, targets in batches():
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()

    with recorded() as run:
        model = mlp()
        for _ in range(3):
            train_one_epoch(model)
    assert run.one("OT205").count == 2


def test_another_optimizer_for_another_stage(correct: Recorded) -> None:
    with correct():
        model = mlp()
        for optimizer in (torch.optim.Adam(model.parameters()), torch.optim.SGD(model.parameters(), lr=0.01)):
            for inputs, targets in batches():
                optimizer.zero_grad()
                F.mse_loss(model(inputs), targets).backward()
                optimizer.step()


def test_plain_sgd_has_nothing_to_lose(correct: Recorded) -> None:
    with correct() as run:
        model = mlp()
        for _ in range(3):
            optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
            for inputs, targets in batches():
                optimizer.zero_grad()
                F.mse_loss(model(inputs), targets).backward()
                optimizer.step()
    assert "OT205" not in run.codes


# OT206 state-on-wrong-parameter


def test_groups_in_another_order_than_when_saved(recorded: Recorded) -> None:
    def made(order: list[int]) -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        model = nn.ModuleList([nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)])
        return model, torch.optim.Adam([model[i].weight for i in order], lr=0.01)

    def train(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        for inputs, _ in batches(8):
            optimizer.zero_grad()
            F.mse_loss(model[1](torch.tanh(model[0](inputs))), inputs).backward()
            optimizer.step()

    with recorded() as run:
        model, optimizer = made([0, 1])
        train(model, optimizer)
        saved = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
        model, optimizer = made([1, 0])
        model.load_state_dict(saved[0])
        optimizer.load_state_dict(saved[1])  # here
        train(model, optimizer)
    found = run.one("OT206")
    assert found.severity == "error"
    assert "# here" in source_line(found)


def test_state_of_another_shape(recorded: Recorded) -> None:
    with recorded() as run:
        small, large = mlp(hidden=4), mlp(hidden=8)
        old = torch.optim.SGD(small.parameters(), lr=0.01, momentum=0.9)
        for inputs, targets in batches(4):
            old.zero_grad()
            F.mse_loss(small(inputs), targets).backward()
            old.step()
        optimizer = torch.optim.SGD(large.parameters(), lr=0.01, momentum=0.9)
        optimizer.load_state_dict(old.state_dict())
        F.mse_loss(large(inputs), targets).backward()
        with pytest.raises(RuntimeError):
            optimizer.step()
    found = next(f for f in run.findings if f.code == "OT206")
    assert "large.0.weight" in found.parameters


def test_names_of_another_order(recorded: Recorded) -> None:
    with recorded() as run:
        torch.manual_seed(0)
        model = nn.ModuleList([nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)])
        names = list(model.named_parameters())
        first = torch.optim.Adam(names, lr=0.01)
        second = torch.optim.Adam(names[::-1], lr=0.01)
        second.load_state_dict(first.state_dict())
        for inputs, _ in batches(4):
            second.zero_grad()
            F.mse_loss(model[1](torch.tanh(model[0](inputs))), inputs).backward()
            second.step()
    assert "OT206" in run.codes


# OT207 state-lost-on-resume


def test_only_the_weights_are_loaded(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for inputs, targets in batches():
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
        saved = copy.deepcopy(model.state_dict())
        model = mlp()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        model.load_state_dict(saved)  # here
        for inputs, targets in batches():
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
    found = run.one("OT207")
    assert found.severity == "hint"
    assert "# here" in source_line(found)


def test_resumed_in_a_run_of_its_own(recorded: Recorded, tmp_path) -> None:
    torch.save({"model": mlp(outputs=3).state_dict(), "epoch": 3}, tmp_path / "checkpoint.pt")
    with recorded() as run:
        model = mlp(outputs=3)
        checkpoint = torch.load(tmp_path / "checkpoint.pt")
        model.load_state_dict(checkpoint["model"])
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        for inputs, labels in classes():
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), labels).backward()
            optimizer.step()
    assert run.one("OT207").severity == "hint"


def test_everything_is_loaded(correct: Recorded) -> None:
    with correct() as run:
        saved = copy.deepcopy(mlp().state_dict())
        model = mlp()
        model.load_state_dict(saved)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        optimizer.load_state_dict(torch.optim.Adam(mlp().parameters(), lr=0.01).state_dict())
        for inputs, targets in batches():
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
    assert "OT207" not in run.codes


def source_line(found) -> str:
    """The line of this file that a finding names."""
    with open(found.file, encoding="utf-8") as file:
        return file.read().splitlines()[found.line - 1]
