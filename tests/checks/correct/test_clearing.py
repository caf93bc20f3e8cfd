"""Every way to clear gradients is as good as another."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from checks.conftest import Recorded
from checks.tasks import batches, mlp


def by_model(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    model.zero_grad()


def by_model_in_place(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    model.zero_grad(set_to_none=False)


def by_none(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    for parameter in model.parameters():
        parameter.grad = None


def by_zero(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.grad.zero_()


def by_data_zero(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.grad.data.zero_()


def by_detach_and_zero(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:
                parameter.grad.detach_()
                parameter.grad.zero_()


def by_foreach(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    if gradients:
        torch._foreach_zero_(gradients)


def by_zeros_like(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)


def by_deleting(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    for parameter in model.parameters():
        del parameter.grad


def by_both(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    model.zero_grad()
    optimizer.zero_grad()


WAYS = [
    by_model,
    by_model_in_place,
    by_none,
    by_zero,
    by_data_zero,
    by_detach_and_zero,
    by_foreach,
    by_zeros_like,
    by_deleting,
    by_both,
]
Clear = Callable[[nn.Module, torch.optim.Optimizer], None]


@pytest.mark.parametrize("clear", WAYS)
@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.Adam])
def test_cleared_first(clear: Clear, make: type[torch.optim.Optimizer], correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = make(model.parameters(), lr=0.02)
        for inputs, targets in batches():
            clear(model, optimizer)
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()


@pytest.mark.parametrize("clear", WAYS)
def test_cleared_last(clear: Clear, correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
        for inputs, targets in batches():
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
            clear(model, optimizer)


def test_between_forward_and_backward(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.Adam(model.parameters())
        for inputs, targets in batches():
            loss = F.mse_loss(model(inputs), targets)
            model.zero_grad()
            loss.backward()
            optimizer.step()


def test_twice_an_iteration(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.Adam(model.parameters())
        for inputs, targets in batches():
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
            optimizer.zero_grad()


def test_gradients_set_by_autograd_grad(correct: Recorded) -> None:
    # No backward at all: the user asks for gradients and puts them into .grad.
    with correct():
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
        for inputs, targets in batches():
            loss = F.mse_loss(model(inputs), targets)
            parameters = list(model.parameters())
            for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                parameter.grad = gradient
            optimizer.step()
