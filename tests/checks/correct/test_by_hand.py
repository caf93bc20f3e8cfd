"""Training with no optimizer at all."""

import torch
from torch.nn import functional as F

from checks.conftest import Recorded
from checks.tasks import batches, mlp


def test_under_no_grad(correct: Recorded) -> None:
    with correct():
        w = torch.zeros(4, 1, requires_grad=True)
        b = torch.zeros(1, requires_grad=True)
        for inputs, targets in batches(20):
            loss = F.mse_loss(inputs @ w + b, targets)
            loss.backward()
            with torch.no_grad():
                w -= 0.1 * w.grad
                b -= 0.1 * b.grad
                w.grad.zero_()
                b.grad.zero_()


def test_through_data_of_a_module(correct: Recorded) -> None:
    with correct():
        model = mlp()
        for inputs, targets in batches(20):
            model.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            for p in model.parameters():
                p.data -= 0.05 * p.grad.data


def test_gradients_set_to_none(correct: Recorded) -> None:
    with correct():
        model = mlp()
        for inputs, targets in batches(20):
            F.mse_loss(model(inputs), targets).backward()
            with torch.no_grad():
                for p in model.parameters():
                    p.copy_(p - 0.05 * p.grad)
                    p.grad = None


def test_with_momentum_in_a_class(correct: Recorded) -> None:
    class Momentum:
        def __init__(self, parameters) -> None:
            self.parameters = list(parameters)
            self.velocity = [torch.zeros_like(p) for p in self.parameters]

        def step(self) -> None:
            with torch.no_grad():
                for p, v in zip(self.parameters, self.velocity, strict=True):
                    v.mul_(0.9).add_(p.grad)
                    p.sub_(v, alpha=0.02)

        def zero_grad(self) -> None:
            for p in self.parameters:
                p.grad = None

    with correct():
        model = mlp()
        optimizer = Momentum(model.parameters())
        for inputs, targets in batches(20):
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
