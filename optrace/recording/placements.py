"""How a parameter is spread over several processes: a shard of a larger one (DTensor), or one of equal replicas (DDP).

All of this is read from what torch keeps in this process; nothing here communicates.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

_WRAPPERS = (DistributedDataParallel, DataParallel)
_INNER = "module."


def is_spread(tensor: torch.Tensor) -> bool:
    """Whether only a part of the tensor is in this process."""
    kind = _dtensor()
    return kind is not None and isinstance(tensor, kind)


def local_of(tensor: Any) -> Any:
    """The part of a DTensor that is in this process; any other tensor is itself."""
    return tensor._local_tensor if is_spread(tensor) else tensor


def whole_number(value: Any) -> Any:
    """A DTensor that every process has whole, as a plain tensor; None for one whose number nobody here knows."""
    if not is_spread(value):
        return value
    return value._local_tensor if all(place.is_replicate() for place in value.placements) else None


def of_dtensor(tensor: Any) -> dict[str, Any] | None:
    """How a DTensor lies over the processes, as JSON can hold it; None for any other tensor."""
    if not is_spread(tensor):
        return None
    mesh = tensor.device_mesh
    whole = all(place.is_replicate() for place in tensor.placements)
    return {
        "kind": "replica" if whole else "shard",
        "by": "DTensor",
        "ranks": mesh.mesh.flatten().tolist(),
        "placements": [_written(place) for place in tensor.placements],
        "mesh": list(mesh.shape),
        "shape": list(tensor.shape),
    }


def replicas(modules: Iterable[nn.Module]) -> Iterator[tuple[torch.Tensor, dict[str, Any]]]:
    """The parameters whose gradients DistributedDataParallel averages, and among which processes."""
    for module in modules:
        if isinstance(module, DistributedDataParallel) and "module" in module._modules:
            placement = {"kind": "replica", "by": "DistributedDataParallel", "ranks": _ranks(module)}
            left_out = getattr(module, "parameters_to_ignore", ())
            for name, parameter in module.module.named_parameters():
                if parameter.requires_grad and name not in left_out:
                    yield parameter, placement


def plain_names(root: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """The names of a model's parameters as they are without DistributedDataParallel's own `module.` in them."""
    prefixes = [f"{name}." if name else "" for name, inner in root.named_modules() if isinstance(inner, _WRAPPERS)]
    prefixes.sort(key=len, reverse=True)
    for name, parameter in root.named_parameters(remove_duplicate=False):
        for prefix in prefixes:
            if name.startswith(prefix + _INNER):
                name = prefix + name[len(prefix) + len(_INNER) :]
        yield name, parameter


def shards_behind(modules: Iterable[nn.Module]) -> dict[int, nn.Parameter]:
    """FSDP puts the whole parameter in its shard's place while it is needed: the shard, by id of the whole one."""
    fsdp = sys.modules.get("torch.distributed.fsdp")
    kind = getattr(fsdp, "FSDPModule", None)
    found: dict[int, nn.Parameter] = {}
    if kind is None:
        return found
    for module in modules:
        group = getattr(module._get_fsdp_state(), "_fsdp_param_group", None) if isinstance(module, kind) else None
        for held in getattr(group, "fsdp_params", ()):
            for name in ("_unsharded_param", "_sharded_post_forward_param"):
                whole = getattr(held, name, None)
                if whole is not None:
                    found[id(whole)] = held.sharded_param
    return found


def process_group() -> dict[str, Any] | None:
    """The processes that torch.distributed has brought together; None where it has not."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return {
        "rank": int(distributed.get_rank()),
        "size": int(distributed.get_world_size()),
        "backend": str(distributed.get_backend()),
    }


def _dtensor() -> Any:
    """The class, once somebody has imported it."""
    return getattr(sys.modules.get("torch.distributed.tensor"), "DTensor", None)


def _ranks(module: DistributedDataParallel) -> list[int]:
    from torch import distributed

    return [int(rank) for rank in distributed.get_process_group_ranks(module.process_group)]


def _written(placement: Any) -> str:
    if placement.is_replicate():
        return "Replicate()"
    return f"Shard({placement.dim})" if placement.is_shard() else str(placement)
