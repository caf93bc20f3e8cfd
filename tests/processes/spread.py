"""More ways to spread training over ranks, all of them right."""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from .loops import loss_of, net, train
from .ranks import bits


def zero_redundancy(rank: int, size: int) -> Any:
    """Each rank steps its part of the parameters and sends it to the others: within the step the weights differ."""
    from torch.distributed.optim import ZeroRedundancyOptimizer

    model = DistributedDataParallel(net())
    return train(model, ZeroRedundancyOptimizer(model.parameters(), torch.optim.Adam, lr=0.01), rank)


def post_local_sgd(rank: int, size: int) -> Any:
    """After two steps each rank goes on alone, and every third step their weights are averaged inside the step."""
    from torch.distributed.algorithms.ddp_comm_hooks.post_localSGD_hook import PostLocalSGDState, post_localSGD_hook
    from torch.distributed.algorithms.model_averaging.averagers import PeriodicModelAverager
    from torch.distributed.optim import PostLocalSGDOptimizer

    model = DistributedDataParallel(net())
    alone = distributed.new_group([rank], use_local_synchronization=True)
    model.register_comm_hook(PostLocalSGDState(None, alone, start_localSGD_iter=2), post_localSGD_hook)
    averager = PeriodicModelAverager(period=3, warmup_steps=2)
    inner = torch.optim.SGD(model.parameters(), lr=0.1)
    return train(model, PostLocalSGDOptimizer(inner, averager), rank, steps=10)


def half_precision_hook(rank: int, size: int) -> Any:
    from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import fp16_compress_hook

    model = DistributedDataParallel(net())
    model.register_comm_hook(None, fp16_compress_hook)
    return train(model, torch.optim.SGD(model.parameters(), lr=0.1), rank)


class Whole(nn.Module):
    """DDP around parts of a model, not around all of it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = DistributedDataParallel(nn.Linear(4, 5))
        self.head = DistributedDataParallel(nn.Linear(5, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(self.body(x).relu())
        return found


def wrapped_in_parts(rank: int, size: int) -> Any:
    model = Whole()
    return train(model, torch.optim.SGD(model.parameters(), lr=0.1), rank)


def never_resharded(rank: int, size: int) -> Any:
    """The first thing recorded is a backward, with whole parameters standing in for the shards."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model = net()
    fully_shard(model, mesh=init_device_mesh("cpu", (size,)), reshard_after_forward=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for step in range(3):
        loss_of(model, rank, step).backward()
        optimizer.step()
        optimizer.zero_grad()
    return bits(model)


def hybrid_sharded(rank: int, size: int) -> Any:
    """Replicas of two shards each."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model = net()
    fully_shard(model, mesh=init_device_mesh("cpu", (2, size // 2), mesh_dim_names=("replica", "shard")))
    return train(model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), rank)


def tensor_parallel(rank: int, size: int) -> Any:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    parallelize_module(model, init_device_mesh("cpu", (size,)), {"0": ColwiseParallel(), "2": RowwiseParallel()})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, foreach=False)
    return train(model, optimizer, 0)  # all ranks on the same data
