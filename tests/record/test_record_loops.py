"""Which events a loop makes, in which order, in which iteration, at which line."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from witness import Witness, iterations, kinds, positions

import optrace
from optrace.trace.reader import Trace

ZBS = ["zero_grad", "backward", "step"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.optrace"


def parts(lr: float = 0.1) -> tuple[nn.Linear, torch.optim.SGD]:
    model = nn.Linear(2, 1)
    return model, torch.optim.SGD(model.parameters(), lr=lr)


def loss_of(model: nn.Module) -> torch.Tensor:
    return model(torch.ones(3, 2)).square().mean()


def line_of(function: Callable[..., Any], text: str) -> int:
    """The number of the one line of a function's source that holds a text."""
    lines, start = inspect.getsourcelines(function)
    found = [start + index for index, line in enumerate(lines) if text in line and "line_of" not in line]
    assert len(found) == 1, (text, found)
    return found[0]


# Iterations


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


# Lines


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


# Closures and failures


def test_a_closure_is_inside_its_step(path: Path) -> None:
    model, optimizer = parts()

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        return loss

    with optrace.record(path):
        for _ in range(2):
            optimizer.step(closure)
    trace = optrace.load(path)
    assert iterations(trace) == [ZBS] * 2
    assert [event.depth for event in trace.events] == [1, 1, 0] * 2


def test_a_step_inside_a_step(path: Path) -> None:
    inner_model, inner = parts()
    model, outer = parts()

    def closure() -> torch.Tensor:
        loss_of(inner_model).backward()
        inner.step()
        outer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        return loss

    with optrace.record(path):
        outer.step(closure)
    trace = optrace.load(path)
    assert [(event.kind, event.depth) for event in trace.events] == [
        ("backward", 1),
        ("step", 1),
        ("zero_grad", 1),
        ("backward", 1),
        ("step", 0),
    ]


def test_exceptions_pass_and_later_events_are_fine(path: Path) -> None:
    model, optimizer = parts()
    other_model, other = parts()

    class Stopped(Exception):
        pass

    def bad_closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss_of(model).backward()
        raise Stopped

    def bad_hook(gradient: torch.Tensor) -> torch.Tensor:
        raise Stopped

    with optrace.record(path) as recording:
        witness = Witness(recording, {f"model.{n}": p for n, p in model.named_parameters()}, optimizer)
        with pytest.raises(Stopped):
            optimizer.step(bad_closure)
        optimizer.zero_grad()
        witness.look()
        with pytest.raises(RuntimeError, match="scalar"):
            model(torch.ones(3, 2)).backward()
        handle = model.weight.register_hook(bad_hook)
        with pytest.raises(Stopped):
            loss_of(model).backward()
        handle.remove()
        loss_of(model).backward()
        witness.look()
        optimizer.step()
        witness.look()
        loss_of(other_model).backward()
        other.step()
    trace = optrace.load(path)
    assert [(event.kind, event.depth, event.failed) for event in trace.events] == [
        ("zero_grad", 1, False),
        ("backward", 1, False),
        ("step", 0, True),
        ("zero_grad", 0, False),
        ("backward", 0, True),
        ("backward", 0, True),
        ("backward", 0, False),
        ("step", 0, False),
        ("backward", 0, False),
        ("step", 0, False),
    ]
    witness.check(trace)


def test_many_failed_steps(path: Path) -> None:
    """Frames are reused by the interpreter; an old failed step is not taken for a running one."""
    model, optimizer = parts()

    def fail(depth: int) -> Any:
        if depth:
            return fail(depth - 1)
        raise ValueError

    def attempt(depth: int) -> None:
        if depth:
            attempt(depth - 1)
            return
        with pytest.raises(ValueError):  # noqa: PT011
            optimizer.step(lambda: fail(depth))

    with optrace.record(path):
        for turn in range(40):
            attempt(turn % 5)
            if turn % 3:
                loss_of(model).backward()
            if turn % 2:
                optimizer.zero_grad()
            attempt(turn % 7)
            optimizer.step(lambda: loss_of(model))
    trace = optrace.load(path)
    assert {event.depth for event in trace.events} == {0}
    failed = [event.failed for event in trace.events if event.kind == "step"]
    assert failed == [True, True, False] * 40


def test_the_last_step_failed(path: Path) -> None:
    _, optimizer = parts()
    with optrace.record(path), pytest.raises(ZeroDivisionError):
        optimizer.step(lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    trace = optrace.load(path)
    assert [(event.kind, event.failed) for event in trace.events] == [("step", True)]


# Clearing


def clear_model(model: nn.Module, optimizer: Any) -> None:
    model.zero_grad()


def clear_to_zero(model: nn.Module, optimizer: Any) -> None:
    optimizer.zero_grad(set_to_none=False)


@pytest.mark.parametrize("clear", [clear_model, clear_to_zero])
def test_clearing_calls(path: Path, clear: Callable[..., None]) -> None:
    model, optimizer = parts()
    with optrace.record(path) as recording:
        witness = Witness(recording, model.named_parameters(), optimizer)
        for _ in range(2):
            clear(model, optimizer)
            witness.look()
            loss_of(model).backward()
            witness.look()
            optimizer.step()
            witness.look()
    trace = optrace.load(path)
    assert iterations(trace) == [ZBS] * 2
    assert not any(event.by_hand for event in trace.events)
    witness.check(trace)


def set_none(model: nn.Module) -> None:
    for parameter in model.parameters():
        parameter.grad = None


def zero_in_place(model: nn.Module) -> None:
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.grad.zero_()


def zero_by_data(model: nn.Module) -> None:
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.grad.data.fill_(0)


def zero_all_at_once(model: nn.Module) -> None:
    torch._foreach_zero_([p.grad for p in model.parameters() if p.grad is not None] or [torch.ones(1)])


def new_zeros(model: nn.Module) -> None:
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)


def delete(model: nn.Module) -> None:
    for parameter in model.parameters():
        del parameter.grad


@pytest.mark.parametrize("clear", [set_none, zero_in_place, zero_by_data, zero_all_at_once, new_zeros, delete])
def test_clearing_by_hand(path: Path, clear: Callable[[nn.Module], None]) -> None:
    model, optimizer = parts()
    loss_of(model).backward()
    with optrace.record(path) as recording:
        witness = Witness(recording, model.named_parameters(), optimizer)
        for _ in range(3):
            loss_of(model).backward()
            witness.look()
            optimizer.step()
            witness.look()
            clear(model)
    trace = optrace.load(path)
    assert iterations(trace) == [["backward", "step", "zero_grad"]] * 3
    assert [event.by_hand for event in trace.events if event.kind == "zero_grad"] == [True] * 3
    witness.check(trace)


# Changes from outside


def test_weight_clipping_and_averages_through_data(path: Path) -> None:
    model, optimizer = parts()
    average = nn.Linear(2, 1)
    nn.init.constant_(model.weight, 0.5)
    nn.init.constant_(model.bias, 0.5)
    with optrace.record(path, model={"live": model, "ema": average}) as recording:
        names = [(f"live.{n}", p) for n, p in model.named_parameters()]
        names += [(f"ema.{n}", p) for n, p in average.named_parameters()]
        witness = Witness(recording, names, optimizer)
        for _ in range(3):
            optimizer.zero_grad()
            loss_of(model).backward()
            optimizer.step()
            for parameter in model.parameters():
                parameter.data.clamp_(-0.1, 0.1)
            for slow, fast in zip(average.parameters(), model.parameters(), strict=True):
                slow.data.mul_(0.9).add_(fast.data, alpha=0.1)
            optrace.mark("here")
            witness.look()
    trace = optrace.load(path)
    assert set(trace.parameters) == {"live.weight", "live.bias", "ema.weight", "ema.bias"}
    assert iterations(trace) == [[*ZBS, "mutation", "mark"]] * 3
    assert {(change.parameter, change.kind) for change in trace.effect(3)} == {(n, "param") for n in range(4)}
    witness.check(trace)


def test_assigning_data_and_gradients(path: Path) -> None:
    model, optimizer = parts()
    with optrace.record(path) as recording:
        witness = Witness(recording, model.named_parameters(), optimizer)
        loss_of(model).backward()
        witness.look()
        model.weight.data = torch.tensor([[5.0, 6.0]])
        optrace.mark("swapped")
        witness.look()
        model.weight.grad = torch.tensor([[1.0, 2.0]])
        optrace.mark("given")
        witness.look()
        model.weight.grad.mul_(2)
        optrace.mark("changed")
        witness.look()
        optimizer.step()
        witness.look()
    trace = optrace.load(path)
    assert kinds(trace) == ["backward", "mutation", "mark", "mutation", "mark", "mutation", "mark", "step"]
    witness.check(trace)


# Marks


def test_marks_and_logs(path: Path) -> None:
    optrace.mark("nothing is recorded")
    optrace.log(loss=1.0)
    model, optimizer = parts()
    with optrace.record(path):
        for epoch in range(2):
            optrace.mark("epoch", epoch)
            loss_of(model).backward()
            optimizer.step()
            optrace.log(val_loss=torch.tensor(0.5), accuracy=0.25, note="fine", odd=object, ratio=float("nan"))
    trace = optrace.load(path)
    assert iterations(trace) == [["mark", "backward", "step", "mark"]] * 2
    assert [mark.detail.get("name") for mark in trace.marks] == ["epoch", None] * 2
    assert [mark.detail.get("value") for mark in trace.marks] == [0, None, 1, None]
    values = trace.marks[1].detail["values"]
    assert values["val_loss"] == 0.5
    assert values["accuracy"] == 0.25
    assert values["note"] == "fine"
    assert isinstance(values["odd"], str)
    assert trace.marks[0].site is not None
    assert trace.marks[0].site.line == line_of(test_marks_and_logs, 'mark("epoch", epoch)')


# Backward in its variants


def test_ways_to_call_backward(path: Path) -> None:
    weight = torch.tensor([1.0, 2.0], requires_grad=True)
    with optrace.record(path) as recording:
        witness = Witness(recording, {"weight": weight})
        loss = (weight * 3).sum()
        loss.backward(retain_graph=True)
        witness.look()
        loss.backward()
        witness.look()
        torch.autograd.backward([weight.sum(), (weight * 2).sum()])
        witness.look()
        (weight * 2).backward(gradient=torch.tensor([1.0, 10.0]))
        witness.look()
        weight.square().sum().backward(create_graph=False, inputs=[weight])
        witness.look()
        weight.square().sum().backward(torch.tensor(0.5))
        witness.look()
        weight.sum().backward()
        weight.grad = None
        (weight * 0).sum().backward()
        witness.look()
        (weight * 0).sum().backward()
        witness.look()
    trace = optrace.load(path)
    assert kinds(trace) == ["backward"] * 7 + ["zero_grad"] + ["backward"] * 2
    assert [event.loss for event in trace.events] == [9, 9, 9, None, 5, 5, 3, None, 0, 0]
    assert trace.events[1].detail["same_graph_as"] == 0
    assert all(event.depth == 0 for event in trace.events)
    witness.check(trace)


@pytest.mark.filterwarnings("ignore:Using backward")
def test_create_graph(path: Path) -> None:
    weight = torch.tensor([1.0, 2.0], requires_grad=True)
    with optrace.record(path) as recording:
        witness = Witness(recording, {"weight": weight})
        weight.pow(3).sum().backward(create_graph=True)
        witness.look()
        assert weight.grad is not None
        weight.grad.square().sum().backward()
        witness.look()
        weight.grad = None
    trace = optrace.load(path)
    assert kinds(trace)[:2] == ["backward"] * 2
    witness.check(trace)


def test_autograd_grad_deposits_nothing(path: Path) -> None:
    weight = torch.tensor([1.0, 2.0], requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.5)
    with optrace.record(path):
        (gradient,) = torch.autograd.grad(weight.square().sum(), weight)
        weight.grad = gradient
        optimizer.step()
    trace = optrace.load(path)
    assert kinds(trace)[-1] == "step"
    assert trace.before("weight", "grad", at=-1).tolist() == [2, 4]  # type: ignore[union-attr]
    assert trace.value("weight").tolist() == [0, 0]  # type: ignore[union-attr]


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_is_one_backward(path: Path, reentrant: bool) -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with optrace.record(path) as recording:
        witness = Witness(recording, model.named_parameters(), optimizer)
        for _ in range(2):
            optimizer.zero_grad()
            inputs = torch.ones(3, 2, requires_grad=True)
            out = checkpoint(model, inputs, use_reentrant=reentrant)
            assert isinstance(out, torch.Tensor)
            out.square().mean().backward()
            witness.look()
            optimizer.step()
            witness.look()
    trace = optrace.load(path)
    assert iterations(trace) == [ZBS] * 2
    witness.check(trace)


def test_stepping_inside_backward(path: Path) -> None:
    model = nn.Linear(2, 2)
    optimizers = {p: torch.optim.SGD([p], lr=0.1, momentum=0.9) for p in model.parameters()}

    def step(parameter: torch.Tensor) -> None:
        optimizers[parameter].step()
        optimizers[parameter].zero_grad()

    handles = [parameter.register_post_accumulate_grad_hook(step) for parameter in model.parameters()]
    with optrace.record(path) as recording:
        witness = Witness(recording, model.named_parameters(), *optimizers.values())
        for _ in range(3):
            loss_of(model).backward()
            witness.look()
    for handle in handles:
        handle.remove()  # the hooks hold the optimizers, and these the parameters
    trace = optrace.load(path)
    assert iterations(trace) == [["step", "zero_grad", "step", "zero_grad", "backward"]] * 3
    assert [event.depth for event in trace.events] == [1, 1, 1, 1, 0] * 3
    assert not any(event.by_hand or event.failed for event in trace.events)
    witness.check(trace)
    deposits = [c for e in trace.events for c in trace.effect(e) if c.kind == "grad" and c.op.name == "DEPOSIT"]
    assert len(deposits) == 6


def check_loss_memory(trace: Trace) -> list[int]:
    return [event.live_graphs for event in trace.events if event.kind == "backward"]


def test_graphs_kept_alive_are_counted(path: Path) -> None:
    model, optimizer = parts()
    total: Any = 0
    with optrace.record(path):
        for _ in range(3):
            loss = loss_of(model)
            loss.backward()
            optimizer.step()
            total += loss
    assert check_loss_memory(optrace.load(path))[-1] == 3


class Silent:
    def __repr__(self) -> str:
        raise RuntimeError("no name")


def test_marks_hold_what_was_given_at_that_moment(path: Path) -> None:
    running, history, loop = torch.tensor(1.0), [1, 2], []
    loop.append(loop)
    with optrace.record(path) as recording:
        optrace.log(running=running, history=history, table={"a": {1: np.float32(0.5)}})
        running += 1
        history.append(3)
        optrace.mark("\ud800", Silent())
        optrace.mark("shapes", [torch.ones(2), torch.ones(1000), torch.ones(1, device="meta"), np.arange(3), b"\xff"])
        optrace.mark("itself", loop)
    assert recording.failure is None
    first, second, third, _ = (mark.detail for mark in optrace.load(path).marks)
    assert first["values"] == {"running": 1.0, "history": [1, 2], "table": {"a": {"1": 0.5}}}
    assert second["value"] == "<Silent>"
    assert third["value"] == [[1, 1], "<tensor (1000,) float32>", "<tensor (1,) float32>", [0, 1, 2], repr(b"\xff")]


def test_a_hook_before_the_step_that_writes_gradients_through_data(path: Path) -> None:
    weight = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1)

    def triple(*_: Any) -> None:
        assert weight.grad is not None
        weight.grad.data.mul_(3)

    optimizer.register_step_pre_hook(triple)
    with optrace.record(path) as recording:
        witness = Witness(recording, {"weight": weight}, optimizer)
        for _ in range(2):
            optimizer.zero_grad()
            weight.sum().backward()
            witness.look()
            optimizer.step()
            witness.look()
    trace = optrace.load(path)
    assert iterations(trace) == [ZBS] * 2
    witness.check(trace)
