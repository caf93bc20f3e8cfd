"""Loops as people write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from checks.tasks import batches, mlp
from torch import nn
from torch.nn import functional as F

from conformance.matrix import Row, Rows, find, hold

rows = Rows("Ways of writing")
TURN = "zero_grad backward step"


@rows.row(
    "closures (LBFGS)",
    *[" ".join([">zero_grad >backward"] * 3) + " step"] * 4,
    ledger={"applied 1×": 4 * 3 * 4},
    bug="no `zero_grad` in the closure",
    code="OT101",
    calls={"step": "optimizer.step(closure)"},
)
def closures(broken: bool) -> Any:
    model = mlp()
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3)
    for inputs, targets in batches(4):

        def closure(inputs: torch.Tensor = inputs, targets: torch.Tensor = targets) -> torch.Tensor:
            if not broken:
                optimizer.zero_grad()
            loss = F.mse_loss(model(inputs), targets)
            loss.backward()
            return loss

        optimizer.step(closure)
    return model


@rows.row(
    "several optimizers, several losses",
    *["zero_grad zero_grad backward backward step step"] * 6,
    ledger={"applied 1×": 6 * (4 + 4 + 2 + 2)},
    bug="the heads' optimizer takes the body as well",
    code="OT111",
)
def several(broken: bool) -> Any:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8))
    left, right = nn.Linear(8, 1), nn.Linear(8, 1)
    heads = [*left.parameters(), *right.parameters()]
    optimizers = [
        torch.optim.SGD(body.parameters(), lr=0.05),
        torch.optim.Adam([*heads, *body.parameters()] if broken else heads, lr=1e-2),
    ]
    for inputs, targets in batches(6):
        for optimizer in optimizers:
            optimizer.zero_grad()
        hidden = body(inputs)
        F.mse_loss(left(hidden), targets).backward(retain_graph=True)
        F.l1_loss(right(hidden), -targets).backward()
        for optimizer in optimizers:
            optimizer.step()
    return body, left, right


def players() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return nn.Linear(3, 2), nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))


def real() -> torch.Tensor:
    return torch.randn(8, 2) + 2


@rows.row(
    "GAN, each optimizer clearing its own",
    *["zero_grad backward backward step zero_grad backward step"] * 6,
    ledger={"applied 1×": 6 * (4 + 4 + 2), "cleared": 5 * 4, "fresh": 4},
    bug="the discriminator is cleared after its own step, not before its backward",
    code="OT110",
)
def gan_own(broken: bool) -> Any:
    generator, critic = players()
    of_generator = torch.optim.SGD(generator.parameters(), lr=0.05)
    of_critic = torch.optim.SGD(critic.parameters(), lr=0.05)
    for _ in range(6):
        if not broken:
            of_critic.zero_grad()
        F.softplus(-critic(real())).mean().backward()
        fake = generator(torch.randn(8, 3))
        F.softplus(critic(fake.detach())).mean().backward()
        of_critic.step()
        if broken:
            of_critic.zero_grad()
        of_generator.zero_grad()
        F.softplus(-critic(fake)).mean().backward()
        of_generator.step()
    return generator, critic


@rows.row(
    "GAN by `model.zero_grad()`",
    *["zero_grad backward step zero_grad backward step"] * 6,
    ledger={"applied 1×": 6 * (4 + 2), "cleared": 5 * 4, "fresh": 4},
    bug="`zero_grad` of the wrong player",
    code="OT101",
)
def gan_modules(broken: bool) -> Any:
    generator, critic = players()
    of_generator = torch.optim.Adam(generator.parameters(), lr=1e-2)
    of_critic = torch.optim.Adam(critic.parameters(), lr=1e-2)
    for _ in range(6):
        (generator if broken else critic).zero_grad()
        fake = generator(torch.randn(8, 3))
        loss = F.softplus(-critic(real())).mean() + F.softplus(critic(fake.detach())).mean()
        loss.backward()
        of_critic.step()
        generator.zero_grad()
        F.softplus(-critic(fake)).mean().backward()
        of_generator.step()
    return generator, critic


@rows.row(
    "GAN by `requires_grad` and `.grad = None`",
    "backward step zero_grad backward step zero_grad",
    *["backward step zero_grad backward step zero_grad"] * 5,
    ledger={"applied 1×": 6 * (4 + 2)},
    bug="the fake batch is detached for the generator too",
    code="OT104",
)
def gan_switched(broken: bool) -> Any:
    generator, critic = players()
    of_generator = torch.optim.SGD(generator.parameters(), lr=0.05)
    of_critic = torch.optim.SGD(critic.parameters(), lr=0.05)
    for _ in range(6):
        fake = generator(torch.randn(8, 3))
        critic.requires_grad_(True)
        (F.softplus(-critic(real())) + F.softplus(critic(fake.detach()))).mean().backward()
        of_critic.step()
        for parameter in critic.parameters():
            parameter.grad = None
        critic.requires_grad_(False)
        made = generator(torch.randn(8, 3))
        if broken:
            made = made.detach().requires_grad_()
        F.softplus(-critic(made)).mean().backward()
        of_generator.step()
        for parameter in generator.parameters():
            parameter.grad = None
    return generator, critic


@rows.row(
    "GAN clearing both players before every backward",
    *["zero_grad zero_grad backward step zero_grad zero_grad backward step"] * 6,
    ledger={"applied 1×": 6 * (4 + 2), "cleared": 5 * 4, "fresh": 4},
    bug="the discriminator is cleared after its backward as well",
    code="OT103",
)
def gan_both(broken: bool) -> Any:
    generator, critic = players()
    of_generator = torch.optim.Adam(generator.parameters(), lr=1e-2)
    of_critic = torch.optim.Adam(critic.parameters(), lr=1e-2)
    for _ in range(6):
        fake = generator(torch.randn(8, 3))
        for optimizer in (of_generator, of_critic):
            optimizer.zero_grad()
        F.softplus(-critic(real())).add(F.softplus(critic(fake.detach()))).mean().backward()
        if broken:
            of_critic.zero_grad()
        of_critic.step()
        for optimizer in (of_generator, of_critic):
            optimizer.zero_grad(set_to_none=False)
        F.softplus(-critic(fake)).mean().backward()
        of_generator.step()
    return generator, critic


@rows.row(
    "reinforcement learning",
    *["mark zero_grad backward clip step"] * 6,
    ledger={"applied 1×": 6 * 4},
    bug="the log-probabilities are detached",
    code="OT104",
)
def reinforce(broken: bool) -> Any:
    import optrace

    policy = mlp(outputs=2)
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-2)
    baseline = nn.Parameter(torch.zeros(()))
    for _ in range(6):
        chosen, rewards = [], []
        state = torch.randn(4)
        for _ in range(5):
            distribution = torch.distributions.Categorical(logits=policy(state))
            action = distribution.sample()
            chosen.append(distribution.log_prob(action))
            rewards.append(float(action == (state.sum() > 0)))
            state = torch.randn(4)
        optrace.log(episode_return=sum(rewards))
        advantage = torch.tensor(rewards) - sum(rewards) / len(rewards)
        logs = torch.stack(chosen)
        optimizer.zero_grad()
        (-((logs.detach() + baseline) if broken else logs) * advantage).sum().backward()
        nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
    return policy, optimizer


@rows.row(
    "truncated back-propagation through time",
    *[TURN] * 16,
    ledger={"applied 1×": 16 * 6},
    bug="the losses of all windows are summed, and their graphs kept",
    code="OT601",
)
def truncated(broken: bool) -> Any:
    torch.manual_seed(0)
    cell, head = nn.RNNCell(4, 8), nn.Linear(8, 1)
    optimizer = torch.optim.SGD([*cell.parameters(), *head.parameters()], lr=0.02)
    state = torch.zeros(8, 8)
    total: Any = 0.0
    for inputs, targets in batches(16):
        state = state.detach()
        for _ in range(2):
            state = cell(inputs, state)
        loss = F.mse_loss(head(state), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total = total + (loss if broken else loss.item())
    return cell, head, float(total.detach() if broken else total)


@rows.row(
    "optimizers inside backward hooks",
    *[" ".join([">step >zero_grad"] * 4) + " backward"] * 6,
    ledger={"applied 1×": 6 * 4},
    bug="the hook does not clear",
    code="OT101",
)
def in_backward(broken: bool) -> Any:
    model = mlp()
    optimizers = {p: torch.optim.SGD([p], lr=0.05) for p in model.parameters()}

    def hook(parameter: torch.Tensor) -> None:
        optimizers[parameter].step()
        if not broken:
            optimizers[parameter].zero_grad()

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(hook)
    for inputs, targets in batches(6):
        F.mse_loss(model(inputs), targets).backward()
    return model


@rows.row(
    "sharpness-aware minimisation",
    *["zero_grad backward mutation zero_grad backward mutation step"] * 6,
    ledger={"applied 1×": 6 * 4, "cleared": 6 * 4},
    bug="no `zero_grad` in either pass",
    code="OT101",
)
def sharpness_aware(broken: bool) -> Any:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for inputs, targets in batches(6):
        if not broken:
            optimizer.zero_grad()
        F.mse_loss(model(inputs), targets).backward()
        before = [p.detach().clone() for p in model.parameters()]
        norm = torch.stack([p.grad.norm() for p in model.parameters()]).norm()
        with torch.no_grad():
            for p in model.parameters():
                p += 0.05 * p.grad / norm
        if not broken:
            optimizer.zero_grad()
        F.mse_loss(model(inputs), targets).backward()
        with torch.no_grad():
            for p, old in zip(model.parameters(), before, strict=True):
                p.copy_(old)
        optimizer.step()
    return model, optimizer


@rows.row(
    "gradient penalties (`create_graph`)",
    *[TURN] * 6,
    ledger={"applied 1×": 6 * 4},
    bug="cleared only once",
    code="OT101",
)
def penalties(broken: bool) -> Any:
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for inputs, targets in batches(6):
        inputs = inputs.clone().requires_grad_()
        outputs = model(inputs)
        (slope,) = torch.autograd.grad(outputs.sum(), inputs, create_graph=True)
        penalty = (slope.norm(dim=1) - 1).square().mean()
        if not broken or not optimizer.state:
            optimizer.zero_grad()
        (F.mse_loss(outputs, targets) + 0.1 * penalty).backward(inputs=list(model.parameters()))
        optimizer.step()
    return model


@rows.row(
    "`.grad` assigned by hand",
    *["step zero_grad mutation"] * 5,
    "step zero_grad",
    ledger={"applied 1×": 6 * 4},
    bug="added to what is there, never cleared",
    code="OT102",
)
def assigned(broken: bool) -> Any:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for inputs, targets in batches(6):
        gradients = torch.autograd.grad(F.mse_loss(model(inputs), targets), list(model.parameters()))
        for p, gradient in zip(model.parameters(), gradients, strict=True):
            if not broken or p.grad is None:
                p.grad = gradient
        optimizer.step()
        if not broken:
            optimizer.zero_grad()
    return model


@rows.row(
    "`autograd.grad` without `.grad`",
    *["mark mutation"] * 5,
    "mark",
    ledger={},
    bug="steps so long that the weights become infinite",
    code="OT403",
)
def without_grad(broken: bool) -> Any:
    import optrace

    model = mlp()
    for index, (inputs, targets) in enumerate(batches(6)):
        gradients = torch.autograd.grad(F.mse_loss(model(inputs), targets), list(model.parameters()))
        with torch.no_grad():
            for p, gradient in zip(model.parameters(), gradients, strict=True):
                p -= (1e30 if broken else 0.05) * gradient
        optrace.mark("batch", index)
    return model


@rows.row(
    "no optimizer",
    *["backward mutation zero_grad"] * 6,
    ledger={"applied 1×": 6 * 2},
    bug="steps so long that the weights become infinite",
    code="OT403",
)
def no_optimizer(broken: bool) -> Any:
    weight = torch.zeros(4, 1, requires_grad=True)
    bias = torch.zeros(1, requires_grad=True)
    for inputs, targets in batches(6):
        F.mse_loss(inputs @ weight + bias, targets).backward()
        with torch.no_grad():
            for tensor in (weight, bias):
                tensor -= (1e30 if broken else 0.1) * tensor.grad
                tensor.grad = None
    return weight, bias


@pytest.mark.parametrize("row", rows, ids=str)
def test_correct(row: Row, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    hold(row, tmp_path / "run.optrace", capfd)


@pytest.mark.parametrize("row", rows, ids=str)
def test_broken(row: Row, tmp_path: Path) -> None:
    find(row, tmp_path / "run.optrace")
