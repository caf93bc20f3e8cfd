"""Statistics and samples of large values, made on the device that they are on.

What is fetched of a value is what is kept of it, and a checksum by which it is seen whether it changed: the sum of all
its elements' bits, as integers. A value at a time takes a dozen operations. So where norm and count of the non-finite
elements are enough, which is at most events, values are laid side by side in rows, and all rows are summarised at once;
what the rows come to is added up by whoever takes them in.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from optrace.trace.format import STATISTICS

CHECKSUM = 8
"""Bytes that come after a summary and are not kept."""
ROW = 1 << 10  # elements
TOGETHER = 1 << 24  # elements that are laid side by side at once; one value that is larger stays where it is
_LAYOUTS = 64  # to be remembered
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_HEAD = len(STATISTICS) * 8


def flat(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor's elements as flat bytes, on its device, in row-major order."""
    return elements(tensor).view(torch.uint8)


def elements(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor's elements side by side, on its device, in row-major order."""
    source = tensor.detach()
    if source.is_conj() or source.is_neg():
        source = source.resolve_conj().resolve_neg()
    return source.contiguous().view(-1)


def summary(tensor: torch.Tensor, indices: torch.Tensor | None) -> torch.Tensor:
    """All statistics of a tensor, its elements at `indices`, and its checksum, as flat bytes on its device."""
    whole = elements(tensor)
    work = _real(whole)
    norm = _norm(work)
    low, high = torch.aminmax(work)
    mean = work.sum(dtype=torch.float64) / work.numel()
    zeros = (work == 0).sum()
    nonfinite = torch.isfinite(work).logical_not().sum()
    statistics = torch.stack([value.double() for value in (norm, mean, low, high, zeros, nonfinite)])
    kept = [] if indices is None else [whole.index_select(0, indices)]
    return torch.cat([flat(part) for part in (statistics, *kept, _bits(whole).sum(dtype=torch.int64))])


class Asked(NamedTuple):
    """One value that is to be summarised."""

    whole: torch.Tensor
    """Its elements, side by side."""
    indices: torch.Tensor | None
    """Those that are kept."""
    key: tuple[int, int]
    """What they depend on."""
    take: Callable[[memoryview], None]


class Summaries:
    """Brief summaries of many values: norm, count of the non-finite elements, sample, checksum."""

    def __init__(self, send: Callable[[torch.Tensor, Callable[[memoryview], None]], None]) -> None:
        self._send = send
        self._asked: list[Asked] = []
        self._layouts: dict[tuple[Any, ...], torch.Tensor] = {}  # the indices of values that lie side by side
        self._padding: dict[tuple[torch.dtype, torch.device], torch.Tensor] = {}

    def add(self, asked: Asked) -> None:
        """Summarise a value as it is at the next `send`."""
        self._asked.append(asked)

    def send(self) -> None:
        """Send for the summaries of what was added."""
        if not self._asked:
            return
        waiting: dict[Any, list[Asked]] = {}
        for asked in self._asked:
            waiting.setdefault((asked.whole.dtype, asked.whole.device, asked.indices is None), []).append(asked)
        self._asked = []
        for values in waiting.values():
            while values:
                count, size = 1, len(values[0].whole)
                while count < len(values) and size + len(values[count].whole) <= TOGETHER:
                    size += len(values[count].whole)
                    count += 1
                self._summarise(values[:count])
                del values[:count]

    def _summarise(self, values: list[Asked]) -> None:
        blocks, ends = self._rows(values)
        found = [torch.cat(parts) for parts in zip(*map(_of_rows, blocks), strict=True)]
        if values[0].indices is not None:
            whole = values[0].whole if len(values) == 1 else blocks[0].view(-1)
            found.append(whole.index_select(0, self._indices(values, ends)))
        width = values[0].whole.element_size()

        def take(view: memoryview) -> None:
            count = ends[-1] * 8
            norms = np.frombuffer(view[:count], np.float64)
            nonfinite = np.frombuffer(view[count : 2 * count], np.int64)
            bits = np.frombuffer(view[2 * count : 3 * count], np.int64)
            kept = 3 * count
            start = 0
            for asked, end in zip(values, ends, strict=True):
                mine = slice(start, end)
                told = np.full(len(STATISTICS), math.nan)
                told[0], told[-1] = _norm_of_norms(norms[mine]), nonfinite[mine].sum()
                checksum = bits[mine].sum(dtype=np.int64).tobytes()
                length = 0 if asked.indices is None else len(asked.indices) * width
                asked.take(memoryview(told.tobytes() + bytes(view[kept : kept + length]) + checksum))
                kept += length
                start = end

        self._send(torch.cat([flat(part) for part in found]), take)

    def _rows(self, values: list[Asked]) -> tuple[list[torch.Tensor], list[int]]:
        """The values in rows, each beginning with a row of its own; after how many rows each ends."""
        if len(values) == 1 and len(values[0].whole) > TOGETHER:
            whole = values[0].whole
            row = ROW * -(-len(whole) // TOGETHER)  # as many rows as of others
            edge = len(whole) // row * row
            blocks = [whole[:edge].view(-1, row), *([whole[edge:].view(1, -1)] if edge < len(whole) else [])]
            return blocks, [sum(map(len, blocks))]
        parts: list[torch.Tensor] = []
        ends: list[int] = []
        end = 0
        for asked in values:
            parts.append(asked.whole)
            size = len(asked.whole)
            end += -(-size // ROW)
            ends.append(end)
            if size % ROW:
                parts.append(self._zeros(asked.whole)[: ROW - size % ROW])
        return [torch.cat(parts).view(-1, ROW)], ends

    def _indices(self, values: list[Asked], ends: list[int]) -> torch.Tensor:
        """Where the elements that are kept lie."""
        key = (values[0].whole.device, *(asked.key for asked in values))
        known = self._layouts.get(key)
        if known is None:
            if len(self._layouts) >= _LAYOUTS:
                self._layouts.clear()
            starts = [0, *ends]
            moved = [
                asked.indices + start * ROW
                for asked, start in zip(values, starts, strict=False)
                if asked.indices is not None
            ]
            known = self._layouts[key] = torch.cat(moved)
        return known

    def _zeros(self, like: torch.Tensor) -> torch.Tensor:
        key = like.dtype, like.device
        known = self._padding.get(key)
        if known is None:
            known = self._padding[key] = torch.zeros(ROW, dtype=like.dtype, device=like.device)
        return known


def _real(whole: torch.Tensor) -> torch.Tensor:
    """Floats: of complex numbers their magnitudes."""
    work = whole.abs() if whole.is_complex() else whole
    if not work.is_floating_point():
        return work.double()
    return work.float() if work.element_size() == 1 else work  # few operations know floats of 8 bits


def _norm(work: torch.Tensor, dim: int | None = None) -> torch.Tensor:
    """The norm in float64, which holds the squares of every narrower float."""
    norm_of: Callable[..., torch.Tensor] = torch.linalg.vector_norm
    if work.dtype is not torch.float64:
        return norm_of(work, dim=dim, dtype=torch.float64)
    scale = norm_of(work, math.inf, dim=dim, keepdim=True)
    scale = torch.where((scale > 0) & torch.isfinite(scale), scale, 1.0)
    norm = norm_of(work / scale, dim=dim)
    return norm * scale.view(norm.shape)


def _of_rows(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Norm, count of non-finite elements and sum of bits, by row."""
    work = _real(rows)
    bits = _bits(rows).view(len(rows), -1)
    return _norm(work, 1), torch.isfinite(work).logical_not().sum(1), bits.sum(1, dtype=torch.int64)


def _norm_of_norms(norms: np.ndarray[Any, Any]) -> float:
    scale = float(np.max(norms))
    return scale * math.sqrt(float(np.square(norms / scale).sum())) if 0 < scale < math.inf else scale


def _bits(whole: torch.Tensor) -> torch.Tensor:
    parts = torch.view_as_real(whole) if whole.is_complex() else whole
    return parts.view(_INTEGERS[parts.element_size()])


assert STATISTICS[0] == "norm"
assert STATISTICS[-1] == "nonfinite"
