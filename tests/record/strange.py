"""A training loop in which something out of the ordinary happens at chosen places."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

import optrace

OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.01),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, foreach=False),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "fused": lambda p: torch.optim.AdamW(p, lr=0.01, fused=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, foreach=True),
}


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
