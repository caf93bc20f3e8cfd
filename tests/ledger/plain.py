"""A real training loop run from a list of actions, with the account of its gradients kept in the plainest way.

Everything here is written from what the words mean, action by action, on lists of small objects,
and shares nothing with the ledger it is compared with.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

import optrace

Action = tuple[Any, ...]


@dataclass
class Item:
    """One contribution."""

    origin: str  # "backward 3" or "by hand"
    steps: list[int] = field(default_factory=list)  # the steps that applied it


@dataclass
class Sheet:
    """One parameter's account."""

    inside: list[Item] = field(default_factory=list)
    past: list[tuple[Item, bool]] = field(default_factory=list)  # and whether it was replaced by hand
    seen: bytes | None = None

    def empty(self, replaced: bool = False) -> None:
        self.past += [(item, replaced) for item in self.inside]
        self.inside = []


class Snapshot(dict[int, Any]):
    """The accounts at one mark."""


class Stop(Exception):
    """Raised by the loop on purpose."""


class Refuse(torch.autograd.Function):
    """A function whose backward raises."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        raise Stop


class World:
    """Two modules, a bare tensor, and optimizers over them."""

    def __init__(self, owners: list[set[int]], kinds: list[str]) -> None:
        torch.manual_seed(0)
        self.left = nn.Linear(2, 1)
        self.right = nn.Linear(2, 1, bias=False)
        self.bare = torch.ones(3, requires_grad=True)
        self.tensors = [self.left.weight, self.left.bias, self.right.weight, self.bare]
        self.sheets = [Sheet() for _ in self.tensors]
        self.owners = owners
        makers = {
            "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
            "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, foreach=False),
            "adam": lambda p: torch.optim.Adam(p, lr=0.1),
        }
        self.optimizers = [
            makers[kind]([self.tensors[i] for i in sorted(own)]) for own, kind in zip(owners, kinds, strict=True)
        ]
        self.backwards = 0
        self.steps = 0
        self.within: tuple[int, int] | None = None  # the optimizer whose closure runs, and its step
        self.closure_backwards = 0
        self.snapshots: list[Snapshot] = []

    # The account

    def notice(self) -> None:
        """What was done by hand since the last call."""
        for tensor, sheet in zip(self.tensors, self.sheets, strict=True):
            now = content(tensor)
            if now == sheet.seen:
                continue
            sheet.seen = now
            if now is None or not any(now):
                self.cleared(sheet)
            elif not any(not item.steps for item in sheet.inside):
                sheet.empty(replaced=True)
                sheet.inside = [Item("by hand")]

    def cleared(self, sheet: Sheet) -> None:
        if self.within is not None and self.closure_backwards:
            optimizer, step = self.within
            if self.sheets.index(sheet) in self.owners[optimizer]:
                self.used(sheet, step)
        sheet.empty()

    @staticmethod
    def used(sheet: Sheet, step: int) -> None:
        for item in sheet.inside:
            if step not in item.steps:
                item.steps.append(step)

    def look(self) -> None:
        for tensor, sheet in zip(self.tensors, self.sheets, strict=True):
            sheet.seen = content(tensor)

    # The actions

    def act(self, action: Action) -> None:
        getattr(self, f"do_{action[0]}")(*action[1:])

    def do_mark(self) -> None:
        self.notice()
        optrace.mark("look", len(self.snapshots))
        shot = Snapshot()
        for index, (tensor, sheet) in enumerate(zip(self.tensors, self.sheets, strict=True)):
            shot[index] = (
                copy.deepcopy(sheet.inside),
                copy.deepcopy(sheet.past),
                None if tensor.grad is None else tensor.grad.detach().clone(),
            )
        self.snapshots.append(shot)

    def do_backward(self, reach: set[int], factor: float, fails: bool = False) -> None:
        loss = sum((self.tensors[i] * (factor + 0.1 * i)).sum() for i in sorted(reach))
        if not isinstance(loss, torch.Tensor) or not loss.requires_grad:
            return
        if fails:
            loss = Refuse.apply(loss)
        self.notice()
        number = self.backwards
        self.backwards += 1
        try:
            loss.backward()
        except Stop:
            pass
        else:
            for i in sorted(reach):
                if self.tensors[i].requires_grad:
                    self.sheets[i].inside.append(Item(f"backward {number}"))
            self.closure_backwards += self.within is not None
        self.look()

    def do_step(self, which: int) -> None:
        self.notice()
        self._step(which, None)

    def do_closure(self, which: int, clears: bool, reach: set[int], factor: float, fails: bool) -> None:
        self.notice()

        def closure() -> torch.Tensor:
            if clears:
                self.optimizers[which].zero_grad()
                self._after_zero(self.owners[which])
            self.do_backward(reach, factor)
            if fails:
                raise Stop
            return torch.tensor(0.0)

        try:
            self._step(which, closure)
        except Stop:
            self.within = None

    def _step(self, which: int, closure: Any) -> None:
        step = self.steps
        self.steps += 1
        optimizer = self.optimizers[which]
        before = [(t.detach().clone(), dict(optimizer.state.get(t, {}))) for t in self.tensors]
        kept = copy.deepcopy([state for _, state in before])
        self.within, self.closure_backwards = (which, step), 0
        optimizer.step(closure)
        self.within = None
        moved = any(
            not torch.equal(old, tensor) or not same(state, optimizer.state.get(tensor, {}))
            for (old, _), state, tensor in zip(before, kept, self.tensors, strict=True)
        )
        if moved:
            for i in self.owners[which]:
                if self.tensors[i].grad is not None:
                    self.used(self.sheets[i], step)
        self.look()

    def do_zero(self, which: int, to_none: bool) -> None:
        self.notice()
        self.optimizers[which].zero_grad(set_to_none=to_none)
        self._after_zero(self.owners[which])

    def do_module_zero(self, left: bool, to_none: bool) -> None:
        self.notice()
        (self.left if left else self.right).zero_grad(set_to_none=to_none)
        self._after_zero({0, 1} if left else {2})

    def _after_zero(self, which: set[int]) -> None:
        for i in which:
            if self.sheets[i].seen is not None:
                self.cleared(self.sheets[i])
        self.look()

    def do_clear_by_hand(self, which: int, to_none: bool) -> None:
        tensor = self.tensors[which]
        if to_none:
            tensor.grad = None
        elif tensor.grad is not None:
            tensor.grad.zero_()

    def do_scale_by_hand(self, which: int, factor: float) -> None:
        if self.tensors[which].grad is not None:
            self.tensors[which].grad.mul_(factor)

    def do_set_by_hand(self, which: int, value: float) -> None:
        self.tensors[which].grad = torch.full_like(self.tensors[which], value)

    def do_clip(self, which: set[int], limit: float) -> None:
        self.notice()
        torch.nn.utils.clip_grad_norm_([self.tensors[i] for i in sorted(which)], limit)
        self.look()

    def do_freeze(self, which: int, frozen: bool) -> None:
        self.tensors[which].requires_grad_(not frozen)


def content(tensor: torch.Tensor) -> bytes | None:
    return None if tensor.grad is None else tensor.grad.detach().numpy().tobytes()


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(torch.as_tensor(one[k]), torch.as_tensor(other[k])) if one[k] is not None else other[k] is None
        for k in one
    )
