"""Which events a loop makes, in which order, in which iteration, at which line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small import ZBS, line_of, loss_of, parts
from torch import nn
from witness import iterations, positions

import optrace


def test_zero_first(path: Path) -> None:
    model, optimizer = parts()
    with optrace.record(path):
        for _ in range(3):
            optimizer.zero_grad()
            loss_of(model).backward()
            optimizer.step()
    trace = optrace.load(path)
    assert iterations(trace) == [ZBS] * 3
    assert positions(trace)[:4] == ["0:0", "0:1", "0:2", "1:0"]
    assert trace.seq("2:1") == 7
    assert [event.position for event in trace.events] == [event.position for event in list(trace.events)]


def test_zero_last(path: Path) -> None:
    model, optimizer = parts()
    with optrace.record(path):
        for _ in range(3):
            loss_of(model).backward()
            optimizer.step()
            optimizer.zero_grad()
    assert iterations(optrace.load(path)) == [["backward", "step", "zero_grad"]] * 3


def test_accumulation(path: Path) -> None:
    model, optimizer = parts()
    with optrace.record(path):
        for batch in range(6):
            loss_of(model).backward()
            if batch % 3 == 2:
                optimizer.step()
                optimizer.zero_grad()
    assert iterations(optrace.load(path)) == [["backward"] * 3 + ["step", "zero_grad"]] * 2


def test_two_players(path: Path) -> None:
    generator, of_generator = parts()
    critic, of_critic = parts()
    with optrace.record(path):
        for _ in range(2):
            of_critic.zero_grad()
            loss_of(critic).backward()
            of_critic.step()
            of_generator.zero_grad()
            loss_of(generator).backward()
            of_generator.step()
    trace = optrace.load(path)
    assert iterations(trace) == [ZBS * 2] * 2
    stepped = [event.optimizer.variable for event in trace.events if event.kind == "step" and event.optimizer]
    assert stepped == ["of_critic", "of_generator"] * 2


def test_several_critic_steps(path: Path) -> None:
    generator, of_generator = parts()
    critic, of_critic = parts()
    with optrace.record(path):
        for _ in range(2):
            for _ in range(3):
                of_critic.zero_grad()
                loss_of(critic).backward()
                of_critic.step()
            of_generator.zero_grad()
            loss_of(generator).backward()
            of_generator.step()
    assert iterations(optrace.load(path)) == [ZBS, ZBS, ZBS * 2] * 2


def test_a_loop_on_one_line(path: Path) -> None:
    model, optimizer = parts()
    with optrace.record(path):
        for _ in range(3): optimizer.zero_grad(); loss_of(model).backward(); optimizer.step()  # fmt: skip  # noqa: E701, E702
    assert iterations(optrace.load(path)) == [ZBS] * 3


def test_a_list_of_optimizers(path: Path) -> None:
    models = [parts() for _ in range(3)]
    with optrace.record(path):
        for _ in range(2):
            for _, optimizer in models:
                optimizer.zero_grad()
            sum(loss_of(model) for model, _ in models).backward()  # type: ignore[union-attr]
            for _, optimizer in models:
                optimizer.step()
    assert iterations(optrace.load(path)) == [["zero_grad"] * 3 + ["backward"] + ["step"] * 3] * 2


@pytest.mark.parametrize("every", [1, 2])
def test_an_optimizer_made_anew_each_turn(path: Path, every: int) -> None:
    model = nn.Linear(3, 1)
    with optrace.record(path, every=every):
        for turn in range(6):
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1 / (turn + 1))
            optimizer.zero_grad()
            model(torch.ones(1, 3)).sum().backward()
            optimizer.step()
    steps = [event for event in optrace.load(path).events if event.kind == "step"]
    assert [event.position.iteration for event in steps] == list(range(0, 6, every))


def test_optimizers_made_when_they_are_first_needed(path: Path) -> None:
    models = {name: nn.Linear(3, 1) for name in ("first", "second")}
    optimizers: dict[str, torch.optim.Optimizer] = {}
    with optrace.record(path):
        for _ in range(3):
            for name, model in models.items():
                if name not in optimizers:
                    optimizers[name] = torch.optim.SGD(model.parameters(), lr=0.1)
                optimizers[name].zero_grad()
                model(torch.ones(1, 3)).sum().backward()
                optimizers[name].step()
    steps = [event for event in optrace.load(path).events if event.kind == "step"]
    assert [event.position.iteration for event in steps] == [0, 0, 1, 1, 2, 2]


def test_a_helper_called_from_two_places(path: Path) -> None:
    model, optimizer = parts()

    def turn() -> None:
        optimizer.zero_grad()
        loss_of(model).backward()
        optimizer.step()

    with optrace.record(path):
        for _ in range(2):
            turn()
            turn()
    trace = optrace.load(path)
    assert iterations(trace) == [ZBS * 2] * 2
    here = line_of(test_a_helper_called_from_two_places, "for _ in range(2)")
    assert [site.line for event in trace.iterations[0].events for site in event.stack[1:2]] == [here + 1] * 3 + [
        here + 2
    ] * 3


def test_a_scheduler_once_per_epoch_and_evaluation_between(path: Path) -> None:
    model, optimizer = parts()
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    with optrace.record(path):
        for _ in range(2):
            for _ in range(2):
                optimizer.zero_grad()
                loss_of(model).backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                loss_of(model)
            model.train()
            scheduler.step()
    assert iterations(optrace.load(path)) == [ZBS, [*ZBS, "scheduler_step"]] * 2


def test_a_loop_of_epochs_that_ends_and_another(path: Path) -> None:
    model, optimizer = parts()
    with optrace.record(path):
        for _ in range(2):
            loss_of(model).backward()
            optimizer.step()
        for _ in range(2):
            loss_of(model).backward()
            optimizer.step()
            optimizer.zero_grad()
    trace = optrace.load(path)
    assert len(set(positions(trace))) == len(trace.events) == 10
    assert positions(trace) == sorted(positions(trace))


def test_training_by_hand(path: Path) -> None:
    weight = torch.ones(2, requires_grad=True)
    with optrace.record(path):
        for _ in range(3):
            (weight * 3).sum().backward()
            with torch.no_grad():
                weight -= 0.1 * weight.grad  # type: ignore[operator]
            weight.grad = None
    trace = optrace.load(path)
    assert list(trace.parameters) == ["weight"]
    assert iterations(trace) == [["backward", "mutation", "zero_grad"]] * 3
    assert trace.value("weight", "grad", at="2:0").tolist() == [3, 3]  # type: ignore[union-attr]
    assert trace.value("weight", "grad") is None
    events = [event for event in trace.events if event.kind == "backward"]
    assert trace.value("weight", "param", at=events[1]).tolist() == pytest.approx([0.7, 0.7])  # type: ignore[union-attr]


class Trainer:
    def __init__(self) -> None:
        self.model, self.optimizer = parts()

    def turn(self) -> None:
        self.optimizer.zero_grad()
        loss_of(self.model).backward()
        self.optimizer.step()

    clear = property(lambda self: self.optimizer.zero_grad())


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    def inside(*args: Any) -> Any:
        return function(*args)

    return inside


def test_call_sites(path: Path) -> None:
    trainer = Trainer()
    with optrace.record(path):
        trainer.turn()
        (lambda: trainer.optimizer.zero_grad())()
        decorated(lambda: loss_of(trainer.model).backward())()
        [step() for step in [trainer.optimizer.step]]
    trace = optrace.load(path)
    sites = [event.site for event in trace.events]
    assert {site.file for site in sites if site} == {__file__}
    own = line_of(Trainer.turn, "zero_grad")
    here = line_of(test_call_sites, "trainer.turn()")
    assert [site.line for site in sites if site] == [own, own + 1, own + 2, here + 1, here + 2, here + 3]
    assert [site.function for site in sites if site][:4] == ["turn", "turn", "turn", "<lambda>"]
    assert trace.sources[__file__] == Path(__file__).read_text()
    assert trace.events[0].stack[1].line == here
    assert not any("torch" in Path(site.file).parts for event in trace.events for site in event.stack)


def test_code_without_a_file(path: Path) -> None:
    model, optimizer = parts()
    names = {"model": model, "optimizer": optimizer, "loss_of": loss_of}
    with optrace.record(path):
        exec(compile("\n\nloss_of(model).backward()\noptimizer.step()", "<cell 1>", "exec"), names)
    sites = [event.site for event in optrace.load(path).events]
    assert [(site.file, site.line, site.function) for site in sites if site] == [
        ("<cell 1>", 3, "<module>"),
        ("<cell 1>", 4, "<module>"),
    ]
