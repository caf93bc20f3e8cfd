"""Statistics and samples of large values, made on the device that they are on.

What is fetched of a value is what is kept of it, and a checksum by which it is seen whether it changed: the sum of all
its elements' bits, as integers. Many values are summarised at once: they are laid side by side in rows, the rows are
summarised, and what the rows of a value come to is added up by whoever takes it in.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import torch

from optrace.trace.format import STATISTICS

CHECKSUM = 8
"""Bytes that come after a summary and are not kept."""
ROW = 1 << 10  # elements
TOGETHER = 1 << 24  # elements that are laid side by side at once; one value that is larger stays where it is
_LAYOUTS = 256  # to be remembered: a model of a hundred million elements has about a hundred
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}

Take = Callable[[memoryview], None]
Array = np.ndarray[Any, Any]


def elements(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor's elements side by side, on its device, in row-major order."""
    source = tensor.detach()
    if source.is_neg() or (source.dtype.is_complex and source.is_conj()):
        source = source.resolve_conj().resolve_neg()
    return source.contiguous().view(-1)


def flat(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor's elements as flat bytes, on its device, in row-major order."""
    return elements(tensor).view(torch.uint8)


class Asked(NamedTuple):
    """One value that is to be summarised."""

    whole: torch.Tensor
    """Its elements, side by side."""
    indices: torch.Tensor | None
    """Those that are kept."""
    complete: bool
    """All statistics, not the norm and the count of non-finite elements alone; the others are nan then."""
    parameter: int
    """Whose it is: by this, and how many elements there are, the indices are chosen."""
    take: Take


class Summaries:
    """Summarises many values. `send` fetches flat bytes of a device, and says by whom they are taken in."""

    def __init__(self, send: Callable[[torch.Tensor, Take], None]) -> None:
        self._send = send
        self._asked: list[Asked] = []
        self._layouts: dict[tuple[Any, ...], torch.Tensor] = {}

    def add(self, asked: Asked) -> None:
        """Summarise a value as it is at the next `send`."""
        self._asked.append(asked)

    def send(self) -> None:
        """Send for the summaries of what was added."""
        waiting: dict[Any, list[Asked]] = {}
        for asked in self._asked:
            alike = asked.whole.dtype, asked.whole.device, asked.indices is None, asked.complete
            waiting.setdefault(alike, []).append(asked)
        self._asked = []
        for values in waiting.values():
            batch: list[Asked] = []
            size = 0
            for asked in values:
                size += asked.whole.numel()
                if batch and size > TOGETHER:
                    self._summarise(batch)
                    batch, size = [], asked.whole.numel()
                batch.append(asked)
            self._summarise(batch)

    def _summarise(self, values: list[Asked]) -> None:
        first = values[0]
        blocks, rows = self._rows(values)
        found = [torch.cat(parts) for parts in zip(*(_of_rows(block, first.complete) for block in blocks), strict=True)]
        if first.complete:
            found += self._last_rows(blocks, values, rows)
        if first.indices is not None:
            whole = first.whole if len(values) == 1 else blocks[0].view(-1)
            found.append(whole.index_select(0, self._indices(values, rows)))

        def take(view: memoryview) -> None:
            _hand_out(view, values, rows)

        self._send(torch.cat([flat(part) for part in found]), take)

    def _rows(self, values: list[Asked]) -> tuple[list[torch.Tensor], list[int]]:
        """The values in rows, each beginning with a row of its own, the last filled up; how many rows each has."""
        if values[0].whole.numel() > TOGETHER:
            whole = values[0].whole
            row = ROW * -(-whole.numel() // TOGETHER)  # as many rows as of others
            edge = whole.numel() // row * row
            blocks = [whole[:edge].view(-1, row), *([whole[edge:].view(1, -1)] if edge < whole.numel() else [])]
            return blocks, [sum(block.shape[0] for block in blocks)]
        parts: list[torch.Tensor] = []
        rows: list[int] = []
        for asked in values:
            parts.append(asked.whole)
            size = asked.whole.numel()
            rows.append(-(-size // ROW))
            if size % ROW:
                parts.append(self._zeros(asked.whole)[: ROW - size % ROW])
        return [torch.cat(parts).view(-1, ROW)], rows

    def _last_rows(
        self, blocks: list[torch.Tensor], values: list[Asked], rows: list[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Lowest and highest of each value's last row, without what it was filled up with."""
        if len(blocks) > 1 or blocks[0].shape[1] > ROW:
            return _extremes(blocks[-1][-1:])
        device, sizes = blocks[0].device, [asked.whole.numel() for asked in values]
        ends = [end - 1 for end in accumulate(rows)]
        last = blocks[0].index_select(0, self._known(("ends", device, *ends), lambda: _there(ends, device)))
        left = [size - (count - 1) * ROW for size, count in zip(sizes, rows, strict=True)]

        def own() -> torch.Tensor:
            return torch.arange(ROW, device=device) < _there(left, device)[:, None]

        return _extremes(last, self._known(("own", device, *left), own))

    def _indices(self, values: list[Asked], rows: list[int]) -> torch.Tensor:
        """Where the elements that are kept lie."""
        starts = [0, *accumulate(rows)]

        def moved() -> torch.Tensor:
            both = zip(values, starts, strict=False)
            return torch.cat([asked.indices + start * ROW for asked, start in both if asked.indices is not None])

        return self._known(
            (values[0].whole.device, *((asked.parameter, asked.whole.numel()) for asked in values)), moved
        )

    def _zeros(self, like: torch.Tensor) -> torch.Tensor:
        return self._known((like.dtype, like.device), lambda: torch.zeros(ROW, dtype=like.dtype, device=like.device))

    def _known(self, key: tuple[Any, ...], make: Callable[[], torch.Tensor]) -> torch.Tensor:
        """What lies on a device from before; the same values are summarised together again and again."""
        known = self._layouts.get(key)
        if known is None:
            if len(self._layouts) >= _LAYOUTS:
                self._layouts.clear()
            known = self._layouts[key] = make()
        return known


def _hand_out(view: memoryview, values: list[Asked], rows: list[int]) -> None:
    """Add up what the rows came to, and give every value its summary."""
    total, width = sum(rows), values[0].whole.element_size()
    place = 0

    def column(kind: str, count: int = total) -> Array:
        nonlocal place
        start, place = place, place + 8 * count
        return np.frombuffer(view[start:place], kind)

    norms, nonfinite, bits = column("f8"), column("i8"), column("i8")
    complete = values[0].complete
    if complete:
        sums, zeros, lows, highs = column("f8"), column("i8"), column("f8"), column("f8")
        last_lows, last_highs = column("f8", len(values)), column("f8", len(values))
    start = 0
    for number, (asked, count) in enumerate(zip(values, rows, strict=True)):
        mine, before = slice(start, start + count), slice(start, start + count - 1)
        told = dict.fromkeys(STATISTICS, math.nan)
        told["norm"], told["nonfinite"] = _norm_of_norms(norms[mine]), float(nonfinite[mine].sum())
        if complete:
            size = asked.whole.numel()
            filled = count * ROW - size if len(values) > 1 or size <= TOGETHER else 0
            with np.errstate(all="ignore"):
                told["mean"] = float(sums[mine].sum()) / size
            told["zeros"] = float(zeros[mine].sum()) - filled
            told["min"] = float(np.min(np.append(lows[before], last_lows[number])))
            told["max"] = float(np.max(np.append(highs[before], last_highs[number])))
        length = 0 if asked.indices is None else asked.indices.numel() * width
        kept, place = view[place : place + length], place + length
        checksum = bits[mine].sum(dtype=np.int64).tobytes()
        asked.take(memoryview(np.array([told[name] for name in STATISTICS]).tobytes() + bytes(kept) + checksum))
        start += count


def _of_rows(rows: torch.Tensor, complete: bool) -> list[torch.Tensor]:
    """Of each row: norm, count of non-finite elements and sum of bits; sum, zeros, lowest and highest."""
    work = _real(rows)
    bits = _bits(rows).view(rows.shape[0], -1).sum(1, dtype=torch.int64)
    found = [_norm(work), torch.isfinite(work).logical_not().sum(1), bits]
    if complete:
        found += [work.sum(1, dtype=torch.float64), (work == 0).sum(1), *_extremes(rows)]
    return found


def _extremes(rows: torch.Tensor, own: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Lowest and highest of each row; of its `own` elements alone, if there are others."""
    work = _real(rows)
    low = work if own is None else torch.where(own, work, math.inf)
    high = work if own is None else torch.where(own, work, -math.inf)
    return low.amin(1).double(), high.amax(1).double()


def _real(whole: torch.Tensor) -> torch.Tensor:
    """Floats: of complex numbers their magnitudes."""
    work = whole.abs() if whole.is_complex() else whole
    if not work.is_floating_point():
        return work.double()
    return work.float() if work.element_size() == 1 else work  # few operations know floats of 8 bits


def _norm(rows: torch.Tensor) -> torch.Tensor:
    """Of each row, in float64, which holds the squares of every narrower float."""
    norm_of: Callable[..., torch.Tensor] = torch.linalg.vector_norm
    if rows.dtype is not torch.float64:
        return norm_of(rows, dim=1, dtype=torch.float64)
    scale = norm_of(rows, math.inf, dim=1, keepdim=True)
    scale = torch.where((scale > 0) & torch.isfinite(scale), scale, 1.0)
    return norm_of(rows / scale, dim=1) * scale.view(-1)


def _norm_of_norms(norms: Array) -> float:
    scale = float(np.max(norms))
    return scale * math.sqrt(float(np.square(norms / scale).sum())) if 0 < scale < math.inf else scale


def _bits(whole: torch.Tensor) -> torch.Tensor:
    parts = torch.view_as_real(whole) if whole.is_complex() else whole
    return parts.view(_INTEGERS[parts.element_size()])


def _there(numbers: list[int], device: torch.device) -> torch.Tensor:
    """Whole numbers, on a device."""
    here = torch.tensor(numbers, dtype=torch.int64, device="cpu", pin_memory=device.type != "cpu")
    return here.to(device, non_blocking=True)
