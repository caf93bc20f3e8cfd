"""The straight path of a steady loop writes what the general one writes, byte for byte, whatever comes in between."""

from __future__ import annotations

import gc
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.overrides import TorchFunctionMode

import optrace
from optrace.recording.steady import Steady
from optrace.trace.format import RECORD_FIELDS

OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.01),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, foreach=False),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "fused": lambda p: torch.optim.AdamW(p, lr=0.01, fused=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, foreach=True),
}
TIMED = ("time", "duration", "thread")  # a thread that ends leaves its identifier, and so its number, to another
pytestmark = pytest.mark.filterwarnings("ignore")  # torch's, about what is strange here


class Stop(Exception):
    """Raised by the loop on purpose."""


class Loop:
    """A training loop of a few turns; something out of the ordinary happens at chosen places."""

    def __init__(self, kind: str, width: int, strange: dict[tuple[int, int], str]) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 2), nn.LayerNorm(2))
        self.make = OPTIMIZERS[kind]
        self.optimizer = self.make(self.model.parameters())
        self.inputs = torch.randn(5, 3)
        self.strange = strange
        self.kept: list[Any] = []

    def run(self, turns: int) -> None:
        for turn in range(turns):
            self.happen(turn, 0)
            self.optimizer.zero_grad()
            self.happen(turn, 1)
            loss = self.loss()
            self.happen(turn, 2)
            loss.backward()
            self.happen(turn, 3)
            self.optimizer.step()
            self.happen(turn, 4)

    def loss(self) -> torch.Tensor:
        return self.model(self.inputs).square().mean()

    def happen(self, turn: int, place: int) -> None:
        name = self.strange.get((turn, place))
        if name is not None:
            with torch.no_grad():
                getattr(self, f"do_{name}")()

    # What may happen. Each does what it can with the gradients that are there.

    def parameter(self) -> nn.Parameter:
        return self.model[2].weight  # type: ignore[return-value]

    def do_write_through_data(self) -> None:
        self.parameter().data.add_(1)

    def do_write_memory(self) -> None:
        self.parameter().detach().numpy()[0, 0] = 7

    def do_write_counted(self) -> None:
        self.parameter().mul_(1.5)

    def do_touch(self) -> None:
        self.parameter().add_(0)

    def do_new_memory(self) -> None:
        self.parameter().data = self.parameter().data.clone()

    def do_new_values(self) -> None:
        self.parameter().data = torch.ones(2, self.parameter().shape[1])

    def do_transpose(self) -> None:
        weight = self.model[0].weight
        weight.data = weight.data.t().contiguous().t()

    def do_scale_gradient(self) -> None:
        if self.parameter().grad is not None:
            self.parameter().grad.mul_(0.5)

    def do_scale_gradient_unseen(self) -> None:
        if self.parameter().grad is not None:
            self.parameter().grad.data.mul_(0.5)

    def do_touch_gradient(self) -> None:
        if self.parameter().grad is not None:
            self.parameter().grad.mul_(1)

    def do_drop_gradient(self) -> None:
        self.parameter().grad = None

    def do_zero_gradient(self) -> None:
        if self.parameter().grad is not None:
            self.parameter().grad.zero_()

    def do_same_memory(self) -> None:
        if self.parameter().grad is not None:
            self.parameter().grad = self.parameter().grad.detach()

    def do_other_gradient(self) -> None:
        self.parameter().grad = torch.full_like(self.parameter(), 0.25)

    def do_strided_gradient(self) -> None:
        self.parameter().grad = torch.ones(self.parameter().shape[::-1]).t()

    def do_keep_gradients(self) -> None:
        self.kept.append([p.grad for p in self.model.parameters()])

    def do_second_backward(self) -> None:
        with torch.enable_grad():
            self.loss().backward()

    def do_same_graph_twice(self) -> None:
        with torch.enable_grad():
            loss = self.loss()
            loss.backward(retain_graph=True)
            loss.backward()

    def do_create_graph(self) -> None:
        with torch.enable_grad():
            self.loss().backward(create_graph=True)

    def do_scaled_loss(self) -> None:
        with torch.enable_grad():
            (self.loss() / 4).backward()

    def do_vector_loss(self) -> None:
        with torch.enable_grad():
            self.model(self.inputs).sum(1).backward(torch.ones(5))

    def do_backward_of_autograd(self) -> None:
        with torch.enable_grad():
            torch.autograd.backward([self.loss()])

    def do_part_of_the_model(self) -> None:
        with torch.enable_grad():
            self.model[:1](self.inputs).sum().backward()

    def do_step(self) -> None:
        self.optimizer.step()

    def do_closure(self) -> None:
        def closure() -> torch.Tensor:
            with torch.enable_grad():
                self.optimizer.zero_grad()
                loss = self.loss()
                loss.backward()
            return loss

        self.optimizer.step(closure)

    def do_raise_in_step(self) -> None:
        def closure() -> float:
            raise Stop

        with pytest.raises(Stop):
            self.optimizer.step(closure)

    def do_raise_in_backward(self) -> None:
        def hook(gradient: torch.Tensor) -> None:
            raise Stop

        handle = self.parameter().register_hook(hook)
        with torch.enable_grad(), pytest.raises(Stop):
            self.loss().backward()
        handle.remove()

    def do_clear_in_backward(self) -> None:
        handle = self.parameter().register_hook(lambda gradient: self.optimizer.zero_grad())
        with torch.enable_grad():
            self.loss().backward()
        handle.remove()

    def do_write_in_backward(self) -> None:
        handle = self.parameter().register_post_accumulate_grad_hook(lambda p: p.data.add_(0.5))
        with torch.enable_grad():
            self.loss().backward()
        handle.remove()

    def do_hooks_on_step(self) -> None:
        def before(optimizer: Any, args: Any, kwargs: Any) -> None:
            for p in self.model.parameters():
                if p.grad is not None:
                    p.grad.data.mul_(0.5)

        handle = self.optimizer.register_step_pre_hook(before)
        self.optimizer.step()
        handle.remove()

    def do_zero_in_place(self) -> None:
        self.optimizer.zero_grad(set_to_none=False)

    def do_zero_model(self) -> None:
        self.model.zero_grad()

    def do_learning_rate(self) -> None:
        self.optimizer.param_groups[0]["lr"] *= 0.5

    def do_learning_rate_tensor(self) -> None:
        self.optimizer.param_groups[0]["lr"] = torch.tensor(0.005)

    def do_new_option(self) -> None:
        self.optimizer.param_groups[0]["mine"] = [1, 2]

    def do_group_in_place(self) -> None:
        members = self.optimizer.param_groups[0]["params"]
        members.append(nn.Parameter(torch.ones(2)))

    def do_replace_member(self) -> None:
        self.optimizer.param_groups[0]["params"][0] = nn.Parameter(torch.ones(2))

    def do_split_groups(self) -> None:
        (group,) = self.optimizer.param_groups[:1]
        last = group["params"].pop()
        self.optimizer.param_groups.append({**group, "params": [last]})

    def do_new_optimizer(self) -> None:
        self.optimizer = self.make(self.model.parameters())

    def do_second_optimizer(self) -> None:
        other = torch.optim.SGD(self.model[2].parameters(), lr=0.1)
        other.step()

    def do_load_optimizer(self) -> None:
        self.optimizer.load_state_dict(self.optimizer.state_dict())

    def do_load_model(self) -> None:
        self.model.load_state_dict({name: value * 2 for name, value in self.model.state_dict().items()})

    def do_write_state(self) -> None:
        for state in self.optimizer.state.values():
            for value in state.values():
                if isinstance(value, torch.Tensor) and value.numel() > 1:
                    value.data.mul_(0.5)

    def do_write_state_counted(self) -> None:
        for state in self.optimizer.state.values():
            for value in state.values():
                if isinstance(value, torch.Tensor) and value.numel() > 1:
                    value.mul_(0.5)

    def do_drop_state(self) -> None:
        self.optimizer.state.clear()

    def do_rename_state(self) -> None:
        for state in self.optimizer.state.values():
            state["mine"] = torch.ones(2)

    def do_clip(self) -> None:
        nn.utils.clip_grad_norm_(self.model.parameters(), 0.1)

    def do_schedule(self) -> None:
        torch.optim.lr_scheduler.StepLR(self.optimizer, 1).step()

    def do_mark(self) -> None:
        optrace.mark("here", 1)

    def do_evaluate(self) -> None:
        self.model.eval()

    def do_freeze(self) -> None:
        self.parameter().requires_grad_(False)

    def do_thaw(self) -> None:
        self.parameter().requires_grad_(True)

    def do_new_layer(self) -> None:
        self.model.append(nn.Linear(2, 2))

    def do_replace_layer(self) -> None:
        self.model[0] = nn.Linear(3, self.model[0].out_features)

    def do_forget_layer(self) -> None:
        del self.model[3]

    def do_double_precision(self) -> None:
        self.model.double()
        self.inputs = self.inputs.double()

    def do_other_thread(self) -> None:
        def work() -> None:
            with torch.enable_grad():
                self.optimizer.zero_grad()
                self.loss().backward()

        thread = threading.Thread(target=work, name="other")
        thread.start()
        thread.join()

    def do_function_mode(self) -> None:
        class Counting(TorchFunctionMode):
            def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                kept.append(getattr(function, "__name__", ""))
                return function(*args, **(kwargs or {}))

        kept = self.kept
        with Counting(), torch.enable_grad():
            self.optimizer.zero_grad()
            self.loss().backward()
            self.optimizer.step()

    def do_inference(self) -> None:
        with torch.inference_mode():
            self.loss()
            self.optimizer.zero_grad()

    def do_autocast(self) -> None:
        with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16):
            self.loss().backward()

    def do_nothing_left(self) -> None:
        for p in self.model.parameters():
            p.data.zero_()


STRANGE = sorted(name.removeprefix("do_") for name in vars(Loop) if name.startswith("do_"))


def record(path: Path, make: Callable[[], Loop], turns: int, straight: bool, **options: Any) -> list[Any]:
    """Record the loop. What came of it, and whether it failed in its own way: some of what happens must fail."""
    loop, failed = make(), False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Steady, "off", not straight)
        with optrace.record(path, **options) as recording:
            try:
                loop.run(turns)
            except (RuntimeError, KeyError, IndexError):
                failed = True
        assert recording.failure is None
    names = [kept for kept in loop.kept if isinstance(kept, str)]
    return [failed, names, *(p.detach().tolist() for p in loop.model.parameters())]


def content(path: Path) -> dict[str, Any]:
    """All that a trace says, but for times."""
    found: dict[str, Any] = {}
    records = np.fromfile(path / "events.bin", np.dtype(RECORD_FIELDS))
    for name in records.dtype.names or ():
        if name not in TIMED:
            found[f"record {name}"] = records[name].tobytes() if name == "loss" else records[name].tolist()
    found["tensors"] = b"".join(part.read_bytes() for part in sorted(path.glob("tensors-*.bin"))).rstrip(b"\0")
    index = sqlite3.connect(path / "index.sqlite")
    names = [name for (name,) in index.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for name in sorted(set(names) - {"segment", "meta", "thread"}):
        found[f"table {name}"] = list(index.execute(f"SELECT * FROM {name}"))
    index.close()
    return found


def compare(folder: Path, make: Callable[[], Loop], turns: int, **options: Any) -> dict[str, Any]:
    came = []
    for straight in (True, False):  # from the same line
        came.append(record(folder / f"{straight}.optrace", make, turns, straight, **options))
        gc.collect()
    assert came[0] == came[1]
    found, general = content(folder / "True.optrace"), content(folder / "False.optrace")
    for name in general:
        assert found[name] == general[name], name
    return general


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_steady_loop_goes_the_straight_way(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    write = Steady._write
    monkeypatch.setattr(Steady, "_write", lambda *args: (taken.append(args[1].kind), write(*args)))
    found = compare(tmp_path, lambda: Loop(kind, 4, {}), 20)
    assert len(found["record kind"]) == 60
    assert {name: taken.count(name) for name in set(taken)} == {
        "zero_grad": 19,
        "backward": 15,  # at 1, 2, 4, 8 and 16 the graph is searched
        "step": 19,
    }


@pytest.mark.parametrize("part", range(6))
def test_strange_things(part: int, tmp_path: Path) -> None:
    names = STRANGE[part::6]
    strange = {(2 + 4 * number, (number + part) % 5): name for number, name in enumerate(names)}
    compare(tmp_path, lambda: Loop("adam", 4, strange), 4 * len(names) + 4)


@pytest.mark.slow
@pytest.mark.parametrize("name", STRANGE)
@pytest.mark.parametrize("kind", ["momentum", "adam"])
def test_one_strange_thing(kind: str, name: str, tmp_path: Path) -> None:
    compare(tmp_path, lambda: Loop(kind, 4, {(3 + 3 * place, place): name for place in range(5)}), 19)


@pytest.mark.slow
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    kind=st.sampled_from(sorted(OPTIMIZERS)),
    width=st.sampled_from([1, 4, 40]),
    strange=st.dictionaries(
        st.tuples(st.integers(1, 14), st.integers(0, 4)), st.sampled_from(STRANGE), min_size=1, max_size=8
    ),
)
def test_any_strange_things(
    kind: str, width: int, strange: dict[tuple[int, int], str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    compare(tmp_path_factory.mktemp("steady"), lambda: Loop(kind, width, strange), 15)


@pytest.mark.parametrize(
    "options",
    [
        {"capture": "stats"},
        {"every": 3},
        {"first": 5, "until": 9},
        {"params": "0.*"},
    ],
    ids=str,
)
def test_less_than_everything(options: dict[str, Any], tmp_path: Path) -> None:
    assert compare(tmp_path, lambda: Loop("adam", 100, {}), 20, **options)["record kind"]


class Heads(Loop):
    """Heads of one shape take turns, so that another gradient is there each time."""

    def __init__(self, kind: str, order: list[int]) -> None:
        super().__init__(kind, 4, {})
        self.model = nn.ModuleList([nn.Linear(3, 3), *(nn.Linear(3, 1) for _ in range(3))])
        self.optimizer = self.make(self.model.parameters())
        self.order = iter(order)

    def loss(self) -> torch.Tensor:
        return self.model[1 + next(self.order)](self.model[0](self.inputs)).square().mean()


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.lists(st.integers(0, 2), min_size=12, max_size=24), kind=st.sampled_from(list(OPTIMIZERS)))
def test_heads_that_take_turns(order: list[int], kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    content = compare(tmp_path_factory.mktemp("heads"), lambda: Heads(kind, order), len(order))
    assert len(content["record kind"]) == 3 * len(order)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_heads_that_take_turns_evenly(kind: str, tmp_path: Path) -> None:
    compare(tmp_path, lambda: Heads(kind, [turn % 2 for turn in range(30)]), 30)
