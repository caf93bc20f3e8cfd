"""Several losses and several backwards before one step."""

import torch
from torch import nn
from torch.nn import functional as F

from checks.conftest import Recorded
from checks.tasks import batches, mlp


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 8)
        self.first = nn.Linear(8, 1)
        self.second = nn.Linear(8, 1)

    def forward(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = torch.tanh(self.body(inputs))
        return self.first(hidden), self.second(hidden)


def test_one_backward_per_head_through_a_shared_body(correct: Recorded) -> None:
    with correct():
        model = TwoHeads()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for inputs, targets in batches():
            one, two = model(inputs)
            optimizer.zero_grad()
            F.mse_loss(one, targets).backward(retain_graph=True)
            F.l1_loss(two, -targets).backward()
            optimizer.step()


def test_a_weighted_sum(correct: Recorded) -> None:
    with correct():
        model = TwoHeads()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for inputs, targets in batches():
            one, two = model(inputs)
            losses = {"a": F.mse_loss(one, targets), "b": F.l1_loss(two, -targets)}
            loss = sum(0.5 * value for value in losses.values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def test_autograd_backward_of_several_losses(correct: Recorded) -> None:
    with correct():
        model = TwoHeads()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for inputs, targets in batches():
            one, two = model(inputs)
            optimizer.zero_grad()
            torch.autograd.backward([F.mse_loss(one, targets), F.l1_loss(two, -targets)])
            optimizer.step()


def test_a_regularisation_loss_with_its_own_backward(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for inputs, targets in batches():
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            (1e-3 * sum(p.abs().sum() for p in model.parameters())).backward()
            optimizer.step()


def test_a_penalty_on_the_input_gradient(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for inputs, targets in batches():
            inputs = inputs.clone().requires_grad_()
            loss = F.mse_loss(model(inputs), targets)
            (slope,) = torch.autograd.grad(loss, inputs, create_graph=True)
            optimizer.zero_grad()
            (loss + 0.1 * slope.pow(2).sum()).backward()
            optimizer.step()


def test_an_attack_on_the_inputs_before_the_step(correct: Recorded) -> None:
    # Adversarial training: the first backward is for the inputs' gradient, and its parameter gradients are thrown away.
    with correct():
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for inputs, targets in batches():
            inputs = inputs.clone().requires_grad_()
            (slope,) = torch.autograd.grad(F.mse_loss(model(inputs), targets), inputs)
            attacked = (inputs + 0.1 * slope.sign()).detach()
            optimizer.zero_grad()
            F.mse_loss(model(attacked), targets).backward()
            optimizer.step()


def test_alternating_tasks(correct: Recorded) -> None:
    with correct():
        model = TwoHeads()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for index, (inputs, targets) in enumerate(batches(20)):
            optimizer.zero_grad()
            F.mse_loss(model(inputs)[index % 2], targets).backward()
            optimizer.step()
