"""Small tasks for the loops of these tests: data that can be learnt, and models that learn it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def batches(count: int = 12, size: int = 8, width: int = 4, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    """Regression: inputs [size, width] and targets [size, 1] with a little noise."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(width, 1, generator=generator)
    made = []
    for _ in range(count):
        inputs = torch.randn(size, width, generator=generator)
        noise = torch.randn(size, 1, generator=generator)
        made.append((inputs, inputs @ weight + 0.1 * noise))
    return made


def classes(count: int = 12, size: int = 8, width: int = 4, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    """Classification into three: inputs [size, width] and labels [size]."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(width, 3, generator=generator)
    made = []
    for _ in range(count):
        inputs = torch.randn(size, width, generator=generator)
        made.append((inputs, (inputs @ weight).argmax(dim=1)))
    return made


def mlp(width: int = 4, hidden: int = 8, outputs: int = 1) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(width, hidden), nn.Tanh(), nn.Linear(hidden, outputs))
