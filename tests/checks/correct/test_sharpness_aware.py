"""Two passes a step: weights move to where the loss is worse, the gradient is taken there, and they come back."""

import torch
from torch.nn import functional as F

from checks.conftest import Recorded
from checks.tasks import batches, mlp


class SAM(torch.optim.Optimizer):
    """Sharpness-aware minimisation (Foret et al. 2021) as its best-known implementation writes it."""

    def __init__(self, params, base_optimizer, rho: float = 0.05, **kwargs) -> None:
        super().__init__(params, {"rho": rho, **kwargs})
        self.base_optimizer = base_optimizer(self.param_groups, **kwargs)
        self.param_groups = self.base_optimizer.param_groups
        self.defaults.update(self.base_optimizer.defaults)

    @torch.no_grad()
    def first_step(self, zero_grad: bool = False) -> None:
        norm = torch.stack([p.grad.norm() for g in self.param_groups for p in g["params"] if p.grad is not None]).norm()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self.state[p]["old_p"] = p.data.clone()
                    p.add_(p.grad * (group["rho"] / (norm + 1e-12)))
        if zero_grad:
            self.zero_grad()

    @torch.no_grad()
    def second_step(self, zero_grad: bool = False) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.data = self.state[p]["old_p"]
        self.base_optimizer.step()
        if zero_grad:
            self.zero_grad()

    @torch.no_grad()
    def step(self, closure=None):
        closure = torch.enable_grad()(closure)
        self.first_step(zero_grad=True)
        closure()
        self.second_step()


def test_first_and_second_step(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = SAM(model.parameters(), torch.optim.SGD, lr=0.02, momentum=0.9)
        for inputs, targets in batches(20):
            F.mse_loss(model(inputs), targets).backward()
            optimizer.first_step(zero_grad=True)
            F.mse_loss(model(inputs), targets).backward()
            optimizer.second_step(zero_grad=True)


def test_with_a_closure(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = SAM(model.parameters(), torch.optim.SGD, lr=0.02)
        for inputs, targets in batches(20):

            def closure(inputs=inputs, targets=targets):
                loss = F.mse_loss(model(inputs), targets)
                loss.backward()
                return loss

            closure()
            optimizer.step(closure)
            optimizer.zero_grad()


def test_written_out_in_the_loop(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
        for inputs, targets in batches(20):
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            with torch.no_grad():
                norm = torch.stack([p.grad.norm() for p in model.parameters()]).norm()
                moves = [0.05 * p.grad / (norm + 1e-12) for p in model.parameters()]
                for p, move in zip(model.parameters(), moves, strict=True):
                    p.add_(move)
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            with torch.no_grad():
                for p, move in zip(model.parameters(), moves, strict=True):
                    p.sub_(move)
            optimizer.step()
