"""Loops that ranks run: right ones, and the same with one thing wrong."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from .ranks import bits

STEPS = 4


def net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))


def batch(rank: int, step: int) -> torch.Tensor:
    return torch.randn(3, 4, generator=torch.Generator().manual_seed(100 * rank + step))


def loss_of(model: Any, rank: int, step: int) -> torch.Tensor:
    return model(batch(rank, step)).square().mean()


def train(model: Any, optimizer: Any, rank: int, steps: int = STEPS) -> list[bytes]:
    for step in range(steps):
        optimizer.zero_grad()
        loss_of(model, rank, step).backward()
        optimizer.step()
    return bits(model)


# Right


def plain(rank: int, size: int) -> Any:
    model = DistributedDataParallel(net(seed=rank))  # which makes them equal
    return train(model, torch.optim.Adam(model.parameters(), lr=0.01), rank)


def bucket_views(rank: int, size: int) -> Any:
    model = DistributedDataParallel(net(), gradient_as_bucket_view=True, static_graph=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for step in range(STEPS):
        optimizer.zero_grad(set_to_none=step % 2 == 0)
        loss_of(model, rank, step).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
    return bits(model)


class TwoHeads(nn.Module):
    """Which head is used depends on the data: on some ranks one, on others the other."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 5)
        self.heads = nn.ModuleList([nn.Linear(5, 2), nn.Linear(5, 2)])

    def forward(self, x: torch.Tensor, head: int) -> torch.Tensor:
        found: torch.Tensor = self.heads[head](self.body(x))
        return found


def unused(rank: int, size: int) -> Any:
    torch.manual_seed(0)
    model = DistributedDataParallel(TwoHeads(), find_unused_parameters=True, gradient_as_bucket_view=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(STEPS):
        optimizer.zero_grad(set_to_none=False)
        model(batch(rank, step), (rank + step) % 2).square().mean().backward()
        optimizer.step()
    return bits(model)


def accumulate(rank: int, size: int) -> Any:
    model = DistributedDataParallel(net())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(3):
        optimizer.zero_grad()
        for part in range(3):
            with nullcontext() if part == 2 else model.no_sync():
                (loss_of(model, rank, 3 * step + part) / 3).backward()
        optimizer.step()
    return bits(model)


def averaged_by_hand(rank: int, size: int) -> Any:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(STEPS):
        optimizer.zero_grad()
        loss_of(model, rank, step).backward()
        for p in model.parameters():
            assert p.grad is not None
            distributed.all_reduce(p.grad)
            p.grad /= size
        optimizer.step()
    return bits(model)


def local_sgd(rank: int, size: int) -> Any:
    """Each rank alone for two steps, then all weights averaged; the last stretch is never averaged."""
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(7):
        optimizer.zero_grad()
        loss_of(model, rank, step).backward()
        optimizer.step()
        if step % 2:
            with torch.no_grad():
                for p in model.parameters():
                    distributed.all_reduce(p)
                    p /= size
    return bits(model)


def only_rank_0_says_more(rank: int, size: int) -> Any:
    """Marks and validation on rank 0 alone shift its events against the others'."""
    import optrace

    model = DistributedDataParallel(net())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of(model, rank, step)
        loss.backward()
        if rank == 0:
            optrace.log(loss=loss.item())
        optimizer.step()
    return bits(model)


def sweep(rank: int, size: int) -> Any:
    """Independent processes: each its own model and learning rate, no process group."""
    model = net()
    return train(model, torch.optim.SGD(model.parameters(), lr=0.1 * (rank + 1)), rank)


def stages(rank: int, size: int) -> Any:
    """A pipeline: stages that are alike by chance, only the last of which has a loss."""
    stage = nn.Linear(4, 4)
    with torch.no_grad():
        stage.weight.copy_(torch.arange(16.0).reshape(4, 4) / 16)
    optimizer = torch.optim.SGD(stage.parameters(), lr=0.1)
    for step in range(3):
        optimizer.zero_grad()
        if rank == 0:
            out = stage(batch(0, step))
            distributed.send(out.detach(), 1)
            gradient = torch.empty_like(out)
            distributed.recv(gradient, 1)
            out.backward(gradient)
        else:
            x = torch.empty(3, 4)
            distributed.recv(x, 0)
            x.requires_grad_()
            stage(x).square().mean().backward()
            assert x.grad is not None
            distributed.send(x.grad, 0)
        optimizer.step()
    return bits(stage)


# Wrong


def made_unequal(rank: int, size: int) -> Any:
    model = DistributedDataParallel(net(seed=rank), init_sync=False)
    return train(model, torch.optim.SGD(model.parameters(), lr=0.1), rank)


def averaged_loss(rank: int, size: int) -> Any:
    """No DDP: the loss is averaged over the ranks, which changes no gradient."""
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of(model, rank, step)
        with torch.no_grad():
            distributed.all_reduce(loss)
            loss /= size
        loss.backward()
        optimizer.step()
    return bits(model)


def never_synced(rank: int, size: int) -> Any:
    model = DistributedDataParallel(net())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(3):
        optimizer.zero_grad()
        for part in range(2):
            with model.no_sync() if step else nullcontext():
                loss_of(model, rank, 2 * step + part).backward()
        optimizer.step()
    return bits(model)


def skips_a_step(rank: int, size: int) -> Any:
    model = DistributedDataParallel(net())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(STEPS):
        optimizer.zero_grad()
        loss_of(model, rank, step).backward()
        if rank == 0 or step != 1:
            optimizer.step()
    return bits(model)


def other_rates(rank: int, size: int) -> Any:
    model = DistributedDataParallel(net())
    return train(model, torch.optim.SGD(model.parameters(), lr=0.1 * (rank + 1)), rank)


def head_outside(rank: int, size: int) -> Any:
    """The optimizer also steps a head that no rank tells the others about."""
    torch.manual_seed(0)
    body, head = DistributedDataParallel(nn.Linear(4, 5)), nn.Linear(5, 2)
    optimizer = torch.optim.SGD([*body.parameters(), *head.parameters()], lr=0.1)
    for step in range(STEPS):
        optimizer.zero_grad()
        head(body(batch(rank, step)).relu()).square().mean().backward()
        optimizer.step()
    return bits(head)


def touched(rank: int, size: int) -> Any:
    """One rank sets a bias by hand, once."""
    model = DistributedDataParallel(net())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(STEPS):
        optimizer.zero_grad()
        loss_of(model, rank, step).backward()
        if rank == 1 and step == 2:
            model.module[0].bias.data.add_(0.01)
        optimizer.step()
    return bits(model)


def wide_and_never_synced(rank: int, size: int) -> Any:
    torch.manual_seed(0)
    model = DistributedDataParallel(nn.Linear(4, 3000, bias=False))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(8):
        optimizer.zero_grad()
        with model.no_sync() if step > 4 else nullcontext():
            loss_of(model, rank, step).backward()
        optimizer.step()
    return bits(model)


def unused_head_outside(rank: int, size: int) -> Any:
    """A head outside DDP that one rank does not use at first."""
    torch.manual_seed(0)
    body, head = DistributedDataParallel(nn.Linear(4, 5)), nn.Linear(5, 2)
    optimizer = torch.optim.SGD([*body.parameters(), *head.parameters()], lr=0.1)
    for step in range(STEPS):
        optimizer.zero_grad()
        out = body(batch(rank, step)).relu()
        (head(out) if rank == 0 or step else out).square().mean().backward()
        optimizer.step()
    return bits(head)


def forgets_to_clear(rank: int, size: int) -> Any:
    model = DistributedDataParallel(net())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for step in range(STEPS):
        loss_of(model, rank, step).backward()
        optimizer.step()
    return bits(model)


def last_rank_skips(rank: int, size: int) -> Any:
    model = DistributedDataParallel(net())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(STEPS):
        optimizer.zero_grad()
        loss_of(model, rank, step).backward()
        if rank != size - 1 or step != 1:
            optimizer.step()
    return bits(model)
