"""Tied weights, one optimizer per layer, optimizers in hooks, checkpointing."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from checks.conftest import Recorded
from checks.tasks import batches, mlp


class Language(nn.Module):
    """The output layer's weight is the embedding's."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(11, 8)
        self.mix = nn.Linear(8, 8)
        self.out = nn.Linear(8, 11, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return self.out(torch.tanh(self.mix(self.embed(words))))


def test_tied_weights(correct: Recorded) -> None:
    with correct():
        model = Language()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        for _ in range(20):
            words = torch.randint(0, 11, (6, 5))
            optimizer.zero_grad()
            F.cross_entropy(model(words).flatten(0, 1), words.roll(1, 1).flatten()).backward()
            optimizer.step()


def test_tied_after_the_model_was_made_and_before_the_optimizer(correct: Recorded) -> None:
    with correct():
        model = nn.ModuleDict({"first": nn.Linear(4, 4), "second": nn.Linear(4, 4), "head": nn.Linear(4, 1)})
        model["second"].weight = model["first"].weight
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        for inputs, targets in batches():
            optimizer.zero_grad()
            output = model["head"](torch.tanh(model["second"](torch.tanh(model["first"](inputs)))))
            F.mse_loss(output, targets).backward()
            optimizer.step()


def test_one_optimizer_per_layer(correct: Recorded) -> None:
    with correct():
        model = mlp()
        layers = [layer for layer in model if list(layer.parameters())]
        optimizers = [torch.optim.SGD(layer.parameters(), lr=0.05) for layer in layers]
        for inputs, targets in batches():
            for optimizer in optimizers:
                optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            for optimizer in optimizers:
                optimizer.step()


def test_one_optimizer_per_parameter_in_backward_hooks(correct: Recorded) -> None:
    with correct():
        model = mlp()
        optimizers = {p: torch.optim.Adam([p], lr=0.01, foreach=False) for p in model.parameters()}

        def step_now(parameter: torch.Tensor) -> None:
            optimizers[parameter].step()
            optimizers[parameter].zero_grad()

        for p in model.parameters():
            p.register_post_accumulate_grad_hook(step_now)
        for inputs, targets in batches():
            F.mse_loss(model(inputs), targets).backward()


def test_sparse_and_dense_parts(correct: Recorded) -> None:
    with correct():
        torch.manual_seed(0)
        embed, head = nn.Embedding(20, 6, sparse=True), nn.Linear(6, 1)
        optimizers = [torch.optim.SparseAdam(embed.parameters(), lr=0.01), torch.optim.Adam(head.parameters(), lr=0.01)]
        for _ in range(15):
            words = torch.randint(0, 20, (8,))
            loss = F.mse_loss(head(embed(words)), words.float().unsqueeze(1) / 20)
            [optimizer.zero_grad() for optimizer in optimizers]
            loss.backward()
            [optimizer.step() for optimizer in optimizers]


def test_matrices_and_the_rest(correct: Recorded) -> None:
    with correct():
        model = mlp()
        matrices = [p for p in model.parameters() if p.ndim == 2]
        rest = [p for p in model.parameters() if p.ndim < 2]
        first, second = torch.optim.SGD(matrices, lr=0.02, momentum=0.9), torch.optim.AdamW(rest, lr=0.01)
        for inputs, targets in batches():
            model.zero_grad(set_to_none=True)
            F.mse_loss(model(inputs), targets).backward()
            first.step()
            second.step()


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing(reentrant: bool, correct: Recorded) -> None:
    with correct():
        torch.manual_seed(0)
        start, block, head = nn.Linear(4, 8), nn.Sequential(nn.Linear(8, 8), nn.Tanh()), nn.Linear(8, 1)
        model = nn.ModuleList([start, block, head])
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for inputs, targets in batches():
            optimizer.zero_grad()
            hidden = checkpoint(block, start(inputs), use_reentrant=reentrant)
            F.mse_loss(head(hidden), targets).backward()
            optimizer.step()


def test_checkpointed_in_segments(correct: Recorded) -> None:
    with correct():
        torch.manual_seed(0)
        model = nn.Sequential(*(layer for _ in range(4) for layer in (nn.Linear(4, 4), nn.Tanh())), nn.Linear(4, 1))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        for inputs, targets in batches():
            optimizer.zero_grad()
            output = checkpoint_sequential(model, 2, inputs.requires_grad_(), use_reentrant=False)
            F.mse_loss(output, targets).backward()
            optimizer.step()
