"""Recording changes nothing, and what it recorded is what was there: every optimizer of torch, in every mode."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import Optimizer
from witness import Witness, both_ways, same

import optrace

Make = Callable[[Any], Optimizer]


def dense() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), nn.Dropout(0.4), nn.Tanh(), nn.Linear(5, 2))


def matrices() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5, bias=False), nn.Dropout(0.4), nn.Linear(5, 2, bias=False))


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 3, sparse=True)

    def forward(self, indices: torch.Tensor) -> torch.Tensor:
        return self.embedding(indices).tanh().sum(1)


def _modes() -> Iterator[tuple[str, Make]]:
    """Every dense optimizer with the arguments it knows."""
    optim = torch.optim
    implementations: list[tuple[str, dict[str, Any]]] = [("single", {"foreach": False}), ("foreach", {"foreach": True})]
    fused = {optim.SGD, optim.Adam, optim.AdamW, optim.Adagrad}
    options: dict[type[Optimizer], list[dict[str, Any]]] = {
        optim.SGD: [
            {"lr": 0.1},
            {"lr": 0.1, "momentum": 0.9},
            {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
            {"lr": 0.1, "momentum": 0.8, "dampening": 0.3, "maximize": True},
        ],
        optim.Adam: [
            {"lr": 0.01},
            {"lr": 0.01, "amsgrad": True, "weight_decay": 0.1},
            {"lr": 0.01, "maximize": True, "betas": (0.5, 0.7)},
        ],
        optim.AdamW: [{"lr": 0.01}, {"lr": 0.01, "amsgrad": True, "maximize": True}],
        optim.Adamax: [{}, {"weight_decay": 0.1, "maximize": True}],
        optim.NAdam: [{}, {"weight_decay": 0.1, "decoupled_weight_decay": True}, {"maximize": True}],
        optim.RAdam: [{"lr": 0.1}, {"weight_decay": 0.1, "decoupled_weight_decay": True}, {"maximize": True}],
        optim.RMSprop: [{}, {"centered": True, "momentum": 0.9}, {"weight_decay": 0.1, "maximize": True}],
        optim.Rprop: [{}, {"maximize": True, "etas": (0.4, 1.3)}],
        optim.Adagrad: [{"lr": 0.1}, {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1}, {"lr": 0.1, "maximize": True}],
        optim.Adadelta: [{}, {"weight_decay": 0.1, "maximize": True}],
        optim.ASGD: [{}, {"weight_decay": 0.1, "maximize": True, "t0": 2.0}],
        optim.Adafactor: [{"lr": 0.1}, {"lr": 0.1, "weight_decay": 0.1, "maximize": True}],
    }
    for kind, choices in options.items():
        for choice, (mode, implementation) in itertools.product(choices, implementations):
            if kind is optim.Adafactor and choice.get("capturable"):
                continue
            name = "-".join([kind.__name__, mode, *(f"{key}={value}" for key, value in choice.items())])
            yield name, lambda p, kind=kind, every={**choice, **implementation}: kind(p, **every)
        if kind in fused:
            for choice in choices:
                name = "-".join([kind.__name__, "fused", *(f"{key}={value}" for key, value in choice.items())])
                yield name, lambda p, kind=kind, every={**choice, "fused": True}: kind(p, **every)
    yield "SGD-tensor-lr", lambda p: optim.SGD(p, lr=torch.tensor(0.1), foreach=False)
    yield "Adam-tensor-lr", lambda p: optim.Adam(p, lr=torch.tensor(0.01), foreach=False)
    yield "Adam-tensor-lr-fused", lambda p: optim.Adam(p, lr=torch.tensor(0.01), fused=True)
    yield "Adam-default", lambda p: optim.Adam(p)


MODES = dict(_modes())


def train(
    recording: optrace.record | None,
    make_model: Callable[[], nn.Module],
    make: Make,
    witnesses: list[Witness],
    turns: int = 3,
) -> Any:
    model = make_model()
    optimizer = make(model.parameters())
    witness = Witness(recording, model.named_parameters(), optimizer)
    witnesses.append(witness)
    for _ in range(turns):
        optimizer.zero_grad()
        witness.look()
        loss = F.mse_loss(model(torch.randn(6, 4)), torch.randn(6, 2))
        loss.backward()
        witness.look()
        optimizer.step()
        witness.look()
    return copy.deepcopy([model.state_dict(), optimizer.state_dict(), loss.item()])


def compare(path: Path, make_model: Callable[[], nn.Module], make: Make) -> optrace.Trace:
    witnesses: list[Witness] = []
    same(*both_ways(path, lambda recording: train(recording, make_model, make, witnesses)))
    trace = optrace.load(path)
    assert [event.kind for event in trace.events] == ["zero_grad", "backward", "step"] * 3
    witnesses[1].check(trace)
    return trace


@pytest.mark.parametrize("name", MODES)
def test_every_optimizer_in_every_mode(tmp_path: Path, name: str) -> None:
    compare(tmp_path / "run.optrace", dense, MODES[name])


@pytest.mark.parametrize("options", [{}, {"nesterov": False}, {"weight_decay": 0.0, "adjust_lr_fn": "match_rms_adamw"}])
def test_muon(tmp_path: Path, options: dict[str, Any]) -> None:
    compare(tmp_path / "run.optrace", matrices, lambda p: torch.optim.Muon(p, lr=0.02, **options))


@pytest.mark.parametrize("maximize", [False, True])
def test_sparse_adam(tmp_path: Path, maximize: bool) -> None:
    witnesses: list[Witness] = []

    def run(recording: optrace.record | None) -> Any:
        model = Words()
        optimizer = torch.optim.SparseAdam(model.parameters(), lr=0.01, maximize=maximize)
        witness = Witness(recording, model.named_parameters(), optimizer)
        witnesses.append(witness)
        for _ in range(3):
            optimizer.zero_grad()
            witness.look()
            model(torch.randint(0, 7, (4, 3))).square().sum().backward()
            witness.look()
            optimizer.step()
            witness.look()
        return copy.deepcopy([model.state_dict(), optimizer.state_dict()])

    same(*both_ways(tmp_path / "run.optrace", run))
    witnesses[1].check(optrace.load(tmp_path / "run.optrace"))


@pytest.mark.parametrize("options", [{}, {"line_search_fn": "strong_wolfe"}, {"max_iter": 4, "history_size": 2}])
def test_lbfgs(tmp_path: Path, options: dict[str, Any]) -> None:
    witnesses: list[Witness] = []

    def run(recording: optrace.record | None) -> Any:
        model = nn.Linear(4, 2)
        optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, **options)
        witness = Witness(recording, model.named_parameters(), optimizer)
        witnesses.append(witness)
        inputs, targets = torch.randn(8, 4), torch.randn(8, 2)

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            witness.look()
            loss = F.mse_loss(model(inputs), targets)
            loss.backward()
            witness.look()
            return loss

        for _ in range(2):
            optimizer.step(closure)
            witness.look()
        return copy.deepcopy([model.state_dict(), optimizer.state_dict()])

    same(*both_ways(tmp_path / "run.optrace", run))
    witness = witnesses[1]
    # LBFGS keeps everything in the state of its first parameter and changes it between the closure's calls;
    # inside a step the state is only looked at when the step is over.
    trace = optrace.load(tmp_path / "run.optrace")
    for event, values in witness.seen:
        inside = trace.events[event].depth > 0
        for (name, kind), seen in values.items():
            if not inside or kind in ("param", "grad"):
                seen.check(trace.value(name, kind, at=event), f"{name}.{kind} after event {event}")


def test_differentiable_adam_on_tensors_that_are_no_leaves(tmp_path: Path) -> None:
    def run(recording: optrace.record | None) -> Any:
        leaf = torch.randn(3, requires_grad=True)
        weight = leaf.clone()
        weight.retain_grad()
        optimizer = torch.optim.Adam([weight], lr=0.1, differentiable=True)
        weight.grad = torch.randn(3)
        optimizer.step()
        weight.square().sum().backward()
        return [leaf.grad, weight.detach()]

    same(*both_ways(tmp_path / "run.optrace", run))


# Optimizers that nobody here wrote


class OwnZeroGrad(torch.optim.SGD):
    """Clears its own way."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None


class OwnStep(torch.optim.Adam):
    """Does something before the real step."""

    def step(self, closure: Any = None) -> Any:  # type: ignore[override]
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        parameter.grad.mul_(0.5)
        return super().step(closure)


class AllSorts(Optimizer):
    """State of numbers, lists and dictionaries of dictionaries."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                state["count"] = state.get("count", 0) + 1
                state["scale"] = state.get("scale", 1.0) * 0.9
                state["warm"] = state["count"] < 2
                state.setdefault("past", []).append(parameter.grad.clone())
                state["nested"] = {"first": {"norm": parameter.grad.norm()}, "name": "a text"}
                if state["count"] == 2:
                    state["once"] = torch.ones(2, dtype=torch.int32)
                elif "once" in state:
                    del state["once"]
                parameter.add_(parameter.grad, alpha=-group["lr"] * state["scale"])
        return None


class Lookahead(Optimizer):
    """Wraps another optimizer, whose param groups it shares."""

    def __init__(self, inner: Optimizer, every: int = 2) -> None:
        self.inner = inner
        self.every = every
        self.count = 0
        self.slow: dict[Any, torch.Tensor] = {}
        super().__init__(inner.param_groups, inner.defaults)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = self.inner.step(closure)
        self.count += 1
        for group in self.inner.param_groups:
            for parameter in group["params"]:
                slow = self.slow.setdefault(parameter, parameter.detach().clone())
                if self.count % self.every == 0:
                    slow.add_(parameter - slow, alpha=0.5)
                    parameter.data.copy_(slow)
        return loss


class NoSuper(torch.optim.SGD):
    """A plain wrapper by delegation in the manner of frameworks."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        super().zero_grad(set_to_none)

    def step(self, closure: Any = None) -> Any:  # type: ignore[override]
        loss = super().step(closure)
        return loss


@pytest.mark.parametrize("kind", [OwnZeroGrad, OwnStep, AllSorts, NoSuper])
def test_optimizers_nobody_here_wrote(tmp_path: Path, kind: Any) -> None:
    compare(tmp_path / "run.optrace", dense, lambda p: kind(p, lr=0.1))


def test_a_lookahead_wrapper(tmp_path: Path) -> None:
    witnesses: list[Witness] = []

    def run(recording: optrace.record | None) -> Any:
        model = dense()
        inner = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        optimizer = Lookahead(inner)
        witness = Witness(recording, model.named_parameters(), inner)
        witnesses.append(witness)
        for _ in range(4):
            optimizer.zero_grad()
            witness.look()
            model(torch.randn(3, 4)).square().mean().backward()
            witness.look()
            optimizer.step()
            witness.look()
        return copy.deepcopy([model.state_dict(), inner.state_dict()])

    same(*both_ways(tmp_path / "run.optrace", run))
    witnesses[1].check(optrace.load(tmp_path / "run.optrace"))


def test_a_sharpness_aware_two_pass_step(tmp_path: Path) -> None:
    witnesses: list[Witness] = []

    def run(recording: optrace.record | None) -> Any:
        model = dense()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        witness = Witness(recording, model.named_parameters(), optimizer)
        witnesses.append(witness)
        for _ in range(3):
            inputs = torch.randn(5, 4)
            model(inputs).square().mean().backward()
            witness.look()
            with torch.no_grad():
                away = [0.05 * p.grad / (p.grad.norm() + 1e-12) for p in model.parameters()]
                for parameter, offset in zip(model.parameters(), away, strict=True):
                    parameter.add_(offset)
            optimizer.zero_grad()
            witness.look()
            model(inputs).square().mean().backward()
            witness.look()
            with torch.no_grad():
                for parameter, offset in zip(model.parameters(), away, strict=True):
                    parameter.sub_(offset)
            optimizer.step()
            witness.look()
            optimizer.zero_grad()
            witness.look()
        return copy.deepcopy([model.state_dict(), optimizer.state_dict()])

    same(*both_ways(tmp_path / "run.optrace", run))
    witnesses[1].check(optrace.load(tmp_path / "run.optrace"))
