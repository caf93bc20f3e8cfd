"""Tensors on a device: what is known of them without reading them, and copies of many of them with one wait.

A read waits until the device has done all it was told, and the training with it. So between the events that write to
a tensor it counts as unchanged while it is the same tensor, at the same place, and torch has counted no write to it.
What has to be read is copied into pinned memory together, and waited for once.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterable
from typing import Any

import torch

BATCH = 32 << 20
"""Bytes that are copied together, or one tensor if it is larger."""


def is_remote(tensor: torch.Tensor) -> bool:
    """Whether reading it waits for a device."""
    return not tensor.is_cpu and not tensor.is_meta


def facts_of(tensor: torch.Tensor) -> Any:
    """What changes when the tensor is written to, as far as can be seen without reading it; None if nothing does."""
    try:
        if tensor.is_inference():  # torch counts no writes to it
            return None
        return (tensor._version, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
    except RuntimeError:  # it has no memory of its own: sparse, say
        return None


class Together:
    """Copies of tensors that are all about to be read, one after the other."""

    def __init__(self) -> None:
        self._waiting: deque[weakref.ref[torch.Tensor]] = deque()
        self._planned: dict[int, weakref.ref[torch.Tensor]] = {}
        self._copies: dict[int, torch.Tensor] = {}
        self._pinned = True
        self.waits = 0
        """How often the training has waited for a device."""

    def plan(self, tensors: Iterable[torch.Tensor]) -> None:
        """These will be taken, in this order, before anything is written to them; what was planned before will not."""
        dense = [tensor for tensor in tensors if tensor.layout is torch.strided and not tensor.is_quantized]
        self._copies.clear()
        self._waiting = deque(map(weakref.ref, dense))
        self._planned = {id(tensor): weakref.ref(tensor) for tensor in dense}

    def take(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """Its values in this process's memory, row-major; None if it was not planned."""
        key = id(tensor)
        planned = self._planned.pop(key, None)
        if planned is None or planned() is not tensor:
            return None
        while key not in self._copies and self._waiting:
            self._fetch()
        return self._copies.pop(key, None)

    def _fetch(self) -> None:
        """Copy as many of the next tensors as may be held together."""
        self._copies.clear()
        size = 0
        devices = set()
        while self._waiting:
            tensor = self._waiting[0]()
            if tensor is not None:
                nbytes = tensor.numel() * tensor.element_size()
                if self._copies and size + nbytes > BATCH:
                    break
                size += nbytes
                devices.add(tensor.device)
                self._copies[id(tensor)] = self._begin(tensor)
            self._waiting.popleft()
        for device in devices:
            if device.type == "cuda":
                torch.cuda.current_stream(device).synchronize()
        self.waits += 1

    def _begin(self, tensor: torch.Tensor) -> torch.Tensor:
        source = tensor.detach().resolve_conj().resolve_neg()
        copy = self._room(source)
        copy.copy_(source, non_blocking=copy.is_pinned() if source.is_cuda else False)
        return copy

    def _room(self, source: torch.Tensor) -> torch.Tensor:
        if source.is_cuda and self._pinned:
            try:
                return torch.empty(source.shape, dtype=source.dtype, device="cpu", pin_memory=True)
            except RuntimeError:  # the system lets no more memory be pinned
                self._pinned = False
        return torch.empty(source.shape, dtype=source.dtype, device="cpu")
