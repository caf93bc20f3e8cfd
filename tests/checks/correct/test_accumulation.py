"""Several backwards make one step: each contribution is applied once."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from checks.conftest import Recorded
from checks.tasks import batches, mlp


@pytest.mark.parametrize("normalised", [True, False])
def test_by_modulo(normalised: bool, correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        optimizer.zero_grad()
        for index, (inputs, targets) in enumerate(batches(24)):
            loss = F.mse_loss(model(inputs), targets)
            (loss / 4 if normalised else loss).backward()
            if (index + 1) % 4 == 0:
                optimizer.step()
                optimizer.zero_grad()


def test_micro_batches_in_an_inner_loop(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        for inputs, targets in batches(10, size=16):
            optimizer.zero_grad(set_to_none=True)
            for piece, wanted in zip(inputs.split(4), targets.split(4), strict=True):
                loss = F.mse_loss(model(piece), wanted) / 4
                loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()


def test_the_rest_is_stepped_at_the_end_of_the_epoch(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(3):
            data = batches(10)
            for index, (inputs, targets) in enumerate(data):
                (F.mse_loss(model(inputs), targets) / 4).backward()
                if (index + 1) % 4 == 0 or index + 1 == len(data):
                    optimizer.step()
                    optimizer.zero_grad()


def test_cleared_at_the_start_of_a_window(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, total_iters=8)
        for index, (inputs, targets) in enumerate(batches(24)):
            if index % 3 == 0:
                model.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            if index % 3 == 2:
                nn.utils.clip_grad_value_(model.parameters(), 0.5)
                optimizer.step()
                scheduler.step()


def test_growing_windows(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        data = iter(batches(30))
        for window in (1, 2, 3, 4, 5, 6):
            optimizer.zero_grad()
            for _ in range(window):
                inputs, targets = next(data)
                (F.mse_loss(model(inputs), targets) / window).backward()
            optimizer.step()


class Accelerated:
    """An accumulating wrapper as frameworks make it: its calls do nothing until the window is full."""

    def __init__(self, optimizer: torch.optim.Optimizer, every: int) -> None:
        self.optimizer = optimizer
        self.every = every
        self.count = 0

    @property
    def full(self) -> bool:
        return self.count % self.every == 0

    def backward(self, loss: torch.Tensor) -> None:
        self.count += 1
        (loss / self.every).backward()

    def step(self) -> None:
        if self.full:
            self.optimizer.step()

    def zero_grad(self) -> None:
        if self.full:
            self.optimizer.zero_grad()


def test_a_wrapper_whose_zero_grad_does_nothing(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = Accelerated(torch.optim.AdamW(model.parameters(), lr=0.01), every=4)
        for inputs, targets in batches(24):
            optimizer.zero_grad()
            optimizer.backward(F.mse_loss(model(inputs), targets))
            optimizer.step()
            optimizer.zero_grad()


class Accumulating(torch.optim.SGD):
    """An optimizer whose own step and zero_grad do nothing until the window is full."""

    calls = 0

    def step(self, closure=None):
        self.calls += 1
        return super().step(closure) if self.calls % 3 == 0 else None

    def zero_grad(self, set_to_none: bool = True) -> None:
        if self.calls % 3 == 0:
            super().zero_grad(set_to_none)


def test_an_optimizer_whose_zero_grad_does_nothing(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = Accumulating(model.parameters(), lr=0.01)
        for inputs, targets in batches(24):
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
