"""The loops that are measured: from one weight to 124 million."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.gpt import GPT

DIGITS = Path(__file__).parent.parent / "demos" / "data" / "digits.npz"
LEARNING_RATES = {"sgd": 1e-3, "adam": 1e-4}  # small: a long run must not diverge


@dataclass(frozen=True)
class Workload:
    """A model with an optimizer, and one turn of its training loop."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    step: Callable[[], None]

    @property
    def elements(self) -> int:
        """How many numbers are trained."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def moving(self) -> int:
        """Bytes that change in one turn: gradients, parameters, and the optimizer's state."""
        state = [value for entry in self.optimizer.state.values() for value in entry.values()]
        held = sum(value.nbytes for value in state if isinstance(value, torch.Tensor))
        return 2 * sum(parameter.nbytes for parameter in self.model.parameters()) + held


def tiny(optimizer: str, device: str) -> Workload:
    """The loop of demos/line_sgd_adam.py: `Linear(1, 1)`, one point at a time."""
    return _regression(nn.Linear(1, 1), 1, optimizer, device)


def mlp(optimizer: str, device: str) -> Workload:
    """98,880 parameters, batches of 512."""
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 64))
    return _regression(model, 512, optimizer, device)


def _regression(model: nn.Module, batch: int, optimizer: str, device: str) -> Workload:
    model.to(device)
    width = next(model.parameters()).shape[1]
    inputs, targets = torch.randn(batch, width, device=device), torch.randn(batch, width, device=device)
    return _workload(model, optimizer, lambda: F.mse_loss(model(inputs), targets))


def digits(optimizer: str, device: str) -> Workload:
    """The network, data and batches of demos/digits_cnn.py."""
    with np.load(DIGITS) as data:
        images = torch.from_numpy(data["images"]).float().unsqueeze(1) / 16  # (1797, 1, 8, 8)
        labels = torch.from_numpy(data["labels"]).long()  # (1797,)
    model = nn.Sequential(
        nn.Conv2d(1, 8, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 10),
    ).to(device)
    batches = _forever(images.to(device), labels.to(device))

    def loss() -> torch.Tensor:
        x, y = next(batches)
        return F.cross_entropy(model(x), y)

    return _workload(model, optimizer, loss, reads_loss=True)


def _forever(images: torch.Tensor, labels: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    while True:
        for batch in torch.randperm(len(images), device=images.device).split(32):
            yield images[batch], labels[batch]


def gpt_10m(optimizer: str, device: str) -> Workload:
    """10.8 million parameters; 12 sequences of 64 tokens, as nanoGPT's README proposes for a CPU."""
    return _language(GPT(vocabulary=256, context=64, width=384, layers=6, heads=6), (12, 64), optimizer, device)


def gpt_124m(optimizer: str, device: str) -> Workload:
    """The shape of GPT-2: 124 million parameters, 1 sequence of 128 tokens."""
    return _language(GPT(vocabulary=50257, context=1024, width=768, layers=12, heads=12), (1, 128), optimizer, device)


def _language(model: GPT, shape: tuple[int, int], optimizer: str, device: str) -> Workload:
    model.to(device)
    tokens = torch.randint(model.vocabulary, (shape[0], shape[1] + 1), device=device)
    return _workload(model, optimizer, lambda: model.loss(tokens[:, :-1], tokens[:, 1:]), reads_loss=True)


def _workload(model: nn.Module, name: str, compute: Callable[[], torch.Tensor], reads_loss: bool = False) -> Workload:
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[name]
    optimizer = kind(model.parameters(), lr=LEARNING_RATES[name])

    def step() -> None:
        optimizer.zero_grad()
        loss = compute()
        loss.backward()
        optimizer.step()
        if reads_loss:
            loss.item()

    return Workload(model, optimizer, step)


WORKLOADS: dict[str, Callable[[str, str], Workload]] = {
    "tiny": tiny,
    "mlp-100k": mlp,
    "digits-cnn": digits,
    "gpt-10m": gpt_10m,
    "gpt-124m": gpt_124m,
}
