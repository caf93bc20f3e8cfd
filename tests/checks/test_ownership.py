"""OT107–OT111: parameters and the optimizers that hold them, or do not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from checks.conftest import Recorded, source_line
from checks.tasks import batches, mlp

# OT107 unowned-parameter


def test_the_decoder_is_in_no_optimizer(recorded: Recorded) -> None:
    with recorded() as run:
        encoder, decoder = nn.Linear(4, 8), nn.Linear(8, 1)
        optimizer = torch.optim.Adam(encoder.parameters(), lr=0.01)  # here
        for inputs, targets in batches(6):
            optimizer.zero_grad()
            F.mse_loss(decoder(torch.tanh(encoder(inputs))), targets).backward()
            optimizer.step()
    found = run.one("OT107")
    assert found.severity == "error"
    assert "`decoder`" in found.message
    assert "# here" in source_line(found)
    assert found.count == 6


def test_a_layer_kept_in_a_list_is_in_no_optimizer(recorded: Recorded) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = [nn.Linear(4, 8), nn.Linear(8, 8)]  # a list hides them from parameters()
            self.head = nn.Linear(8, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for layer in self.layers:
                x = torch.tanh(layer(x))
            return self.head(x)

    with recorded() as run:
        net = Net()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
        for inputs, targets in batches(6):
            optimizer.zero_grad()
            F.mse_loss(net(inputs), targets).backward()
            optimizer.step()
    found = [f for f in run.findings if f.code == "OT107"]
    assert found
    assert {f.severity for f in found} == {"error"}


def test_a_head_alone_is_tuned(correct: Recorded) -> None:
    with correct() as run:
        model = mlp()
        optimizer = torch.optim.Adam(model[2].parameters(), lr=0.01)
        for inputs, targets in batches(6):
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
    (found,) = (f for f in run.findings if f.code == "OT107")
    assert found.severity == "hint"
    assert "requires_grad_(False)" in found.fix


def test_encoder_and_decoder_in_one_optimizer_are_silent(correct: Recorded) -> None:
    with correct() as run:
        encoder, decoder = nn.Linear(4, 8), nn.Linear(8, 1)
        optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=0.01)
        for inputs, targets in batches(6):
            optimizer.zero_grad()
            F.mse_loss(decoder(torch.tanh(encoder(inputs))), targets).backward()
            optimizer.step()
    assert "OT107" not in run.codes


# OT108 stale-optimizer


def test_the_model_is_made_again(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp()
        sgd = torch.optim.SGD(model.parameters(), lr=0.01)
        adam = torch.optim.Adam(model.parameters(), lr=0.01)
        for optimizer in (sgd, adam):
            for inputs, targets in batches(6):
                optimizer.zero_grad()
                F.mse_loss(model(inputs), targets).backward()
                optimizer.step()
            model = nn.Linear(4, 1)  # here
    found = run.one("OT108")
    assert found.severity == "error"
    assert found.count == 6
    assert "# here" in source_line(found)


def test_the_model_is_made_again_in_every_fold(recorded: Recorded) -> None:
    def fresh() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 1))

    def fit(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        for inputs, targets in batches(5):
            optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()

    with recorded() as run:
        model = fresh()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        folds = []
        for fold in range(3):
            if fold:
                model = fresh()  # and the optimizer?
            folds.append(model)
            fit(model, optimizer)
    found = run.one("OT108")
    assert found.count == 10


def test_an_optimizer_per_model_is_silent(correct: Recorded) -> None:
    with correct():
        for _ in range(2):
            model = mlp()
            optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
            for inputs, targets in batches(6):
                optimizer.zero_grad()
                F.mse_loss(model(inputs), targets).backward()
                optimizer.step()


# OT109 no-gradient-parameter


class Branches(nn.Module):
    def __init__(self, detached: bool = False, unused: bool = False) -> None:
        super().__init__()
        self.body = nn.Linear(4, 8)
        self.extra = nn.Linear(8, 8)
        self.head = nn.Linear(8, 1)
        self.detached, self.unused = detached, unused

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.body(x))
        x = x.detach() if self.detached else x
        x = x if self.unused else torch.tanh(self.extra(x))
        return self.head(x)


def fit(model: nn.Module, count: int = 6) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)  # here
    for inputs, targets in batches(count):
        optimizer.zero_grad()
        F.mse_loss(model(inputs), targets).backward()
        optimizer.step()


@pytest.mark.parametrize(("how", "layer"), [({"unused": True}, "extra"), ({"detached": True}, "body")])
def test_a_layer_without_gradient(recorded: Recorded, how: dict[str, bool], layer: str) -> None:
    with recorded() as run:
        fit(Branches(**how))
    found = run.one("OT109")
    assert found.severity == "warning"
    assert {name.split(".")[-2] for name in found.parameters} == {layer}
    assert "# here" in source_line(found)


def test_every_layer_reached_is_silent(correct: Recorded) -> None:
    with correct():
        fit(Branches())


def test_frozen_layers_are_silent(correct: Recorded) -> None:
    with correct():
        model = Branches(unused=True)
        model.extra.requires_grad_(False)
        fit(model)


# OT110 leftover-of-another-optimizer


def players() -> tuple[nn.Module, nn.Module, torch.optim.Optimizer, torch.optim.Optimizer]:
    torch.manual_seed(0)
    generator, critic = nn.Linear(2, 4), nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    return (
        generator,
        critic,
        torch.optim.Adam(generator.parameters(), lr=0.01),
        torch.optim.Adam(critic.parameters(), lr=0.01),
    )


def test_the_generators_gradient_reaches_the_critics_step(recorded: Recorded) -> None:
    with recorded() as run:
        generator, critic, g_optimizer, c_optimizer = players()
        for real, _ in batches(6):
            fake = generator(torch.randn(8, 2))
            (critic(fake.detach()).mean() - critic(real).mean()).backward()
            c_optimizer.step()  # here
            c_optimizer.zero_grad()
            (-critic(fake).mean()).backward()
            g_optimizer.step()
            g_optimizer.zero_grad()
    found = run.one("OT110")
    assert found.severity == "error"
    assert found.count == 5
    assert "# here" in source_line(found)
    assert "`g_optimizer`" in found.message
    assert 0 < found.evidence["stale_share"] < 1


def test_the_actors_gradient_reaches_the_critics_step(recorded: Recorded) -> None:
    with recorded() as run:
        actor, critic = nn.Linear(4, 2), nn.Linear(6, 1)
        actor_optimizer = torch.optim.SGD(actor.parameters(), lr=0.01)
        critic_optimizer = torch.optim.SGD(critic.parameters(), lr=0.01)
        for states, returns in batches(6):
            actor_optimizer.zero_grad()
            critic_optimizer.zero_grad()
            (-critic(torch.cat([states, torch.tanh(actor(states))], 1)).mean()).backward()
            actor_optimizer.step()
            values = critic(torch.cat([states, torch.tanh(actor(states)).detach()], 1))
            F.mse_loss(values, returns).backward()
            critic_optimizer.step()  # here
    found = run.one("OT110")
    assert found.count == 6
    assert "# here" in source_line(found)


def test_a_critic_cleared_before_its_own_backward_is_silent(correct: Recorded) -> None:
    with correct():
        generator, critic, g_optimizer, c_optimizer = players()
        for real, _ in batches(6):
            fake = generator(torch.randn(8, 2))
            c_optimizer.zero_grad()
            (critic(fake.detach()).mean() - critic(real).mean()).backward()
            c_optimizer.step()
            g_optimizer.zero_grad()
            (-critic(fake).mean()).backward()
            g_optimizer.step()


# OT111 parameter-owned-twice


def test_the_encoder_is_in_both(recorded: Recorded) -> None:
    with recorded() as run:
        model = mlp()
        first = torch.optim.SGD(model[0].parameters(), lr=0.01)
        second = torch.optim.SGD(model.parameters(), lr=0.01)  # here
        for inputs, targets in batches(6):
            model.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            first.step()
            second.step()
    found = run.one("OT111")
    assert found.severity == "warning"
    assert found.count == 6
    assert found.parameters == ("0.weight", "0.bias")
    assert "# here" in source_line(found)


def test_tied_weights_in_two_optimizers(recorded: Recorded) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Linear(4, 4, bias=False)
            self.out = nn.Linear(4, 4, bias=False)
            self.out.weight = self.embed.weight

    def steps(optimizers: list[Any]) -> None:
        for optimizer in optimizers:
            optimizer.step()

    with recorded() as run:
        model = Tied()
        optimizers = [torch.optim.Adam(part.parameters(), lr=0.01) for part in (model.embed, model.out)]
        for inputs, _ in batches(6):
            for optimizer in optimizers:
                optimizer.zero_grad()
            F.mse_loss(model.out(torch.tanh(model.embed(inputs))), inputs).backward()
            steps(optimizers)
    found = run.one("OT111")
    assert found.count == 6


def test_one_owner_each_is_silent(correct: Recorded) -> None:
    with correct():
        model = mlp()
        first = torch.optim.SGD(model[0].parameters(), lr=0.01)
        second = torch.optim.SGD(model[2].parameters(), lr=0.01)
        for inputs, targets in batches(6):
            model.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            first.step()
            second.step()
