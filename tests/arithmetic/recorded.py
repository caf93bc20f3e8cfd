"""Small recorded runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from optrace.recording.session import record as recording
from optrace.trace.model import Event
from optrace.trace.reader import Trace, load

Make = Callable[[nn.Module], torch.optim.Optimizer]


def record(path: Path, make: Make, steps: int = 5, dtype: torch.dtype = torch.float32, closure: bool = False) -> Trace:
    """A small network trained for some steps; its parameters are `weight` [3, 4] and `bias` [3]."""
    torch.manual_seed(0)
    net = nn.Linear(4, 3).to(dtype)
    optimizer = make(net)
    with recording(path):
        for _ in range(steps):
            batch = torch.randn(8, 4, dtype=torch.float64).to(dtype)

            def loss(batch: torch.Tensor = batch) -> torch.Tensor:
                optimizer.zero_grad()
                value = (net(batch) - 1).pow(2).sum()
                value.backward()
                return value

            if closure:
                optimizer.step(loss)
            else:
                loss()
                optimizer.step()
    return load(path)


def steps_of(trace: Trace) -> list[Event]:
    return [event for event in trace.events if event.kind == "step"]
