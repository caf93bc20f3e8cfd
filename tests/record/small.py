"""The smallest model, its optimizer, its loss; and where a line of a test stands."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

ZBS = ["zero_grad", "backward", "step"]


def parts(lr: float = 0.1) -> tuple[nn.Linear, torch.optim.SGD]:
    model = nn.Linear(2, 1)
    return model, torch.optim.SGD(model.parameters(), lr=lr)


def loss_of(model: nn.Module) -> torch.Tensor:
    return model(torch.ones(3, 2)).square().mean()


def with_momentum() -> tuple[nn.Module, torch.optim.Optimizer]:
    model = nn.Linear(3, 2)
    return model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)


def turn(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """One turn of a loop with `with_momentum`'s model."""
    optimizer.zero_grad()
    model(torch.ones(2, 3)).square().mean().backward()
    optimizer.step()


def line_of(function: Callable[..., Any], text: str) -> int:
    """The number of the one line of a function's source that holds a text."""
    lines, start = inspect.getsourcelines(function)
    found = [start + index for index, line in enumerate(lines) if text in line and "line_of" not in line]
    assert len(found) == 1, (text, found)
    return found[0]
