"""Training loops that run on any device: some by hand, and as many as one likes that are generated."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

Loop = Callable[[str], Any]
LOOPS: dict[str, tuple[Loop, dict[str, Any]]] = {}
"""By name: the loop, and how it is recorded."""


def loop(**options: Any) -> Callable[[Loop], Loop]:
    def keep(function: Loop) -> Loop:
        LOOPS[function.__name__] = function, options
        return function

    return keep


def model(device: str, width: int = 8) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 2)).to(device)


def data(device: str, turns: int = 6) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(1)
    for inputs, targets in [(torch.randn(5, 4), torch.randn(5, 2)) for _ in range(turns)]:
        yield inputs.to(device), targets.to(device)


def loss_of(network: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return nn.functional.mse_loss(network(inputs), targets)


@loop()
def plain(device: str) -> Any:
    network = model(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for inputs, targets in data(device):
        optimizer.zero_grad()
        loss_of(network, inputs, targets).backward()
        optimizer.step()
    return network


@loop()
def adam(device: str) -> Any:
    network = model(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1, foreach=True)
    for inputs, targets in data(device):
        optimizer.zero_grad()
        loss_of(network, inputs, targets).backward()
        optimizer.step()
    return network


@loop()
def zeros_and_nothing(device: str) -> Any:
    """Gradients that are filled with zeros, parts that get no gradient or one of zero, steps that change nothing."""
    network = model(device)
    spare = nn.Linear(3, 3).to(device)
    optimizer = torch.optim.SGD([*network.parameters(), *spare.parameters()], lr=0.1)
    for turn, (inputs, targets) in enumerate(data(device, 8)):
        optimizer.zero_grad(set_to_none=turn % 3 == 0)
        optimizer.param_groups[0]["lr"] = 0.0 if turn == 5 else 0.1
        loss = loss_of(network, inputs, targets) * (0.0 if turn == 4 else 1.0)
        if turn == 2:
            loss = loss + spare(torch.ones(1, 3, device=device)).sum() * 0.0
        loss.backward()
        optimizer.step()
    return network


@loop()
def accumulated_and_clipped(device: str) -> Any:
    network = model(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.05)
    for turn, (inputs, targets) in enumerate(data(device, 9)):
        loss_of(network, inputs, targets).backward()
        if turn % 3 == 2:
            nn.utils.clip_grad_norm_(network.parameters(), 0.5)
            optimizer.step()
            optimizer.zero_grad()
    return network


@loop()
def scaled(device: str) -> Any:
    """A GradScaler, and one turn whose gradients are not finite."""
    network = model(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, foreach=False)
    scaler = torch.amp.GradScaler(device, init_scale=1024.0, growth_interval=2)
    for turn, (inputs, targets) in enumerate(data(device)):
        optimizer.zero_grad()
        loss = loss_of(network, inputs, targets) * (float("inf") if turn == 3 else 1.0)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(network.parameters(), 0.5, foreach=False)
        scaler.step(optimizer)
        scaler.update()
    return network


@loop()
def by_hand(device: str) -> Any:
    """Values that are written between the calls, counted by torch or not, to others and to what they were."""
    network = model(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    first, *_, last = network.parameters()
    for turn, (inputs, targets) in enumerate(data(device, 8)):
        optimizer.zero_grad()
        loss_of(network, inputs, targets).backward()
        assert first.grad is not None
        with torch.no_grad():
            if turn == 1:
                first.grad.mul_(2.0)
            if turn == 2:
                first.grad.zero_()
            if turn == 3:
                first.mul_(1.0)
            if turn == 6:
                first.grad.mul_(0.0)  # some become -0.0
        optimizer.step()
        with torch.no_grad():
            if turn in (4, 5):
                last.clamp_(-0.01, 0.01)
    return network


@loop()
def overwritten_at_once(device: str) -> Any:
    """A value is another as soon as the call that made it is over."""
    weight = torch.linspace(-1, 1, 50_000).to(device).requires_grad_()
    optimizer = torch.optim.SGD([weight], lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        weight.square().sum().backward()
        optimizer.step()
        with torch.no_grad():
            weight.mul_(0.5)
    return [weight]


@loop()
def trained_by_hand(device: str) -> Any:
    network = model(device)
    for inputs, targets in data(device):
        loss_of(network, inputs, targets).backward()
        with torch.no_grad():
            for parameter in network.parameters():
                assert parameter.grad is not None
                parameter -= 0.1 * parameter.grad
                parameter.grad = None
    return network


@loop()
def many_kinds(device: str) -> Any:
    """Other dtypes and layouts; a step that ends with an error; state that is loaded."""
    torch.manual_seed(0)
    kinds = [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.complex64]
    tensors = [torch.randn(6, 5).to(kind).to(device).t().requires_grad_() for kind in kinds]
    tensors += [torch.randn(()).to(device).requires_grad_(), torch.randn(0, 3).to(device).requires_grad_()]
    optimizer = torch.optim.Adam(tensors, lr=0.01, foreach=False)
    kept = None
    for turn in range(6):

        def closure(turn: int = turn) -> torch.Tensor:
            optimizer.zero_grad()
            loss = torch.stack([(tensor * tensor.conj()).real.float().sum() for tensor in tensors]).sum()
            if turn == 3:
                raise ValueError("in a closure")
            loss.backward()
            return loss

        with contextlib.suppress(ValueError):
            optimizer.step(closure)  # type: ignore[arg-type]
        if turn == 2:
            kept = optimizer.state_dict()
        if turn == 4 and kept is not None:
            optimizer.load_state_dict(kept)
    return tensors


@loop()
def large(device: str) -> Any:
    """Values of several blocks each, more in one event than may be on its way."""
    torch.manual_seed(0)
    tensors = [torch.randn(900_000 + 7 * i).to(device).requires_grad_() for i in range(5)]
    tensors.append(torch.randn(3).to(device).requires_grad_())
    optimizer = torch.optim.SGD(tensors, lr=0.1, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        torch.stack([tensor.square().mean() for tensor in tensors]).sum().backward()
        optimizer.step()
    return tensors


@loop(last=8, budget="1MB")
def flight_recorder(device: str) -> Any:
    network = model(device, 200)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for inputs, targets in data(device, 200):
        optimizer.zero_grad()
        loss_of(network, inputs, targets).backward()
        optimizer.step()
    return network


@loop(last=20, budget="2MB")
def made_anew(device: str) -> Any:
    """Models and optimizers that are gone after a few turns, under the flight recorder."""
    for turn in range(120):
        if turn % 3 == 0:
            network = model(device, 8)
            optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
        inputs, targets = next(data(device, 1))
        optimizer.zero_grad()
        loss_of(network, inputs, targets).backward()
        optimizer.step()
    return network


@loop(every=3, first=2)
def every_third(device: str) -> Any:
    return adam(device)


@loop(params="*0.*")
def some_parameters(device: str) -> Any:
    return adam(device)


@loop(params="*0.weight")
def some_parameters_with_zeros(device: str) -> Any:
    return zeros_and_nothing(device)


@loop(capture="sampled", budget="1MB")
def sampled_by_hand(device: str) -> Any:
    """Large values that are written to between the calls, to others and to what they were."""
    weight = torch.linspace(-1, 1, 50_000).to(device).requires_grad_()
    optimizer = torch.optim.SGD([weight], lr=0.1)
    for turn in range(12):
        optimizer.zero_grad(set_to_none=turn % 2 == 0)
        weight.square().sum().backward()
        assert weight.grad is not None
        with torch.no_grad():
            if turn == 3:
                weight.grad.zero_()
            if turn in (4, 5):
                weight.grad.mul_(turn - 3.0)
        optimizer.step()
        with torch.no_grad():
            weight.mul_(1.0 if turn % 3 else 0.5)
    return [weight]


@loop(budget="1MB")
def no_room(device: str) -> Any:
    """The budget holds little of one turn: values are dropped."""
    weight = torch.linspace(-1, 1, 500_000).to(device).requires_grad_()
    bias = torch.zeros(400).to(device).requires_grad_()
    optimizer = torch.optim.SGD([weight, bias], lr=0.1)
    for turn in range(9):
        optimizer.zero_grad(set_to_none=turn % 2 == 0)
        (weight.square().sum() + bias.sum()).backward()
        optimizer.step()
    return [weight, bias]


@loop(capture="sampled", budget="4MB")
def sampled(device: str) -> Any:
    network = model(device, 3000)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for inputs, targets in data(device, 40):
        optimizer.zero_grad()
        loss_of(network, inputs, targets).backward()
        optimizer.step()
    return network


@loop(capture="stats")
def statistics(device: str) -> Any:
    network = model(device, 300)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for turn, (inputs, targets) in enumerate(data(device, 12)):
        optimizer.zero_grad()
        (loss_of(network, inputs, targets) * (float("inf") if turn == 11 else 1.0)).backward()
        optimizer.step()
    return network


@loop()
def left_and_back(device: str) -> Any:
    """The model goes to the CPU and back between turns."""
    network = model(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for turn, (inputs, targets) in enumerate(data(device)):
        optimizer.zero_grad()
        loss_of(network, inputs, targets).backward()
        optimizer.step()
        if turn == 2:
            network.cpu()
        if turn == 3:
            break
        network.to(device)
    return network


OPTIMIZERS = ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta", "NAdam", "RAdam", "Adamax", "Rprop", "ASGD")


def generated(seed: int) -> tuple[Loop, dict[str, Any]]:
    """A loop of what people do in loops, in any order, and how it is recorded: exactly."""

    def run(device: str) -> Any:
        draw = random.Random(seed)
        network = model(device, draw.choice([3, 8, 40]))
        other = model(device, 5)
        networks = [network, other] if draw.random() < 0.5 else [network]

        def optimizer_of(parameters: Any) -> torch.optim.Optimizer:
            name = draw.choice(OPTIMIZERS)
            extra: dict[str, Any] = {"momentum": 0.9} if name == "SGD" and draw.random() < 0.5 else {}
            if name in ("SGD", "Adam", "AdamW") and draw.random() < 0.3:
                extra["fused"] = True
            else:
                extra["foreach"] = draw.random() < 0.5  # what torch chooses by itself depends on the device
            return getattr(torch.optim, name)(parameters, lr=0.01, **extra)  # type: ignore[no-any-return]

        optimizers = [optimizer_of([*each.parameters()]) for each in networks]
        schedulers = [torch.optim.lr_scheduler.StepLR(each, 3, 0.5) for each in optimizers if draw.random() < 0.3]
        habits = {key: draw.random() < 0.5 for key in ("first", "twice", "clip", "hand", "freeze", "state", "retain")}
        every = draw.choice([1, 1, 2, 3])
        for turn, (inputs, targets) in enumerate(data(device, 7)):
            for each, optimizer in zip(networks, optimizers, strict=True):
                if habits["first"]:
                    optimizer.zero_grad(set_to_none=draw.random() < 0.6)
                if habits["freeze"] and turn == 3:
                    next(each.parameters()).requires_grad_(False)
                loss = loss_of(each, inputs, targets) * draw.choice([1.0, 1.0, 1.0, 0.0])
                loss.backward(retain_graph=habits["retain"])
                if habits["twice"]:
                    (loss_of(each, inputs, targets) if not habits["retain"] else loss).backward()
                if habits["clip"]:
                    clip = nn.utils.clip_grad_norm_ if draw.random() < 0.5 else nn.utils.clip_grad_value_
                    clip([*each.parameters()], draw.choice([0.1, 10.0]), foreach=False)
                if habits["hand"]:
                    chosen = draw.choice([*each.parameters()])
                    with torch.no_grad():
                        target = chosen.grad if chosen.grad is not None and draw.random() < 0.5 else chosen
                        target.mul_(draw.choice([0.0, 1.0, 0.9]))
                if (turn + 1) % every == 0:
                    optimizer.step()
                    if not habits["first"]:
                        optimizer.zero_grad(set_to_none=draw.random() < 0.6)
                if habits["state"] and turn == 4:
                    optimizer.load_state_dict(optimizer.state_dict())
            for scheduler in schedulers:
                scheduler.step()
        return [parameter for each in networks for parameter in each.parameters()]

    draw = random.Random(-seed)
    options: list[dict[str, Any]] = [{}, {}, {"every": 2}, {"first": 1, "until": 4}, {"params": "*weight"}]
    return run, draw.choice(options)


def loop_of(name: str) -> tuple[Loop, dict[str, Any]]:
    """One of the loops by its name, a generated one by its number."""
    return generated(int(name)) if name.isdigit() else LOOPS[name]
