"""What is kept of a tensor that is too large to keep whole: its statistics and a fixed sample."""

from __future__ import annotations

import math
import random
import struct
from array import array

import numpy as np
import torch

from optrace.recording.capture import Form

SAMPLE = 64  # elements followed in every tensor; tensors of up to this many are always kept whole
_STATISTICS = struct.Struct("<6d")  # in the order of `format.STATISTICS`
_PART = 1 << 17  # elements that stay in a core's cache
_SMALL_SQUARE = 1e-31  # on average; below it, what float32 loses of the smallest squares begins to show


def sample_indices(parameter: int, numel: int) -> array[int]:
    """Which elements (flat, ascending) of a tensor are followed. The user's random state is not touched."""
    return array("q", sorted(random.Random(f"{parameter} {numel}").sample(range(numel), SAMPLE)))


def summary(view: memoryview, form: Form, indices: array[int] | None) -> bytes:
    """The statistics as float64, then the sampled elements in the tensor's own dtype; `None` for no elements."""
    with torch.no_grad():
        tensor = torch.frombuffer(view, dtype=form.dtype)
        if indices is None:
            return _STATISTICS.pack(*statistics(tensor))
        sampled = tensor[torch.frombuffer(indices, dtype=torch.int64)].contiguous()
        elements = bytes(sampled.view(torch.uint8).numpy())
    with np.errstate(all="ignore"):
        return _STATISTICS.pack(*statistics(tensor)) + elements


def statistics(tensor: torch.Tensor) -> tuple[float, ...]:
    """Norm, mean, min, max, zeros, non-finite of a flat tensor; computed in float32 at least, float64 for float64.

    Of a complex tensor: norm and counts of the elements, the rest of their magnitudes.
    """
    squares = total = zeros = nonfinite = 0.0
    low, high = float("inf"), float("-inf")
    exact = False  # some squares are too large or too small
    parts = tensor.tensor_split(tuple(range(_PART, tensor.numel(), _PART)))
    for part in parts:  # several passes over what stays in the cache, not over main memory
        work = _real(part)
        array = work.numpy()
        square = float(torch.dot(work, work))
        low_here, high_here = float(array.min()), float(array.max())
        if not math.isfinite(square):
            bad = work.numel() - int(torch.isfinite(work).sum())
            nonfinite += bad
            exact = exact or not bad
        squares += square
        total += float(work.sum(dtype=torch.float64) if exact else work.sum())
        if not low_here > 0 and not high_here < 0:
            zeros += work.numel() - int(np.count_nonzero(array != 0))
        low, high = _lower(low, low_here), _higher(high, high_here)
    if squares < tensor.numel() * _SMALL_SQUARE:
        exact = low != 0 or high != 0
    if exact and not nonfinite:
        scale = max(-low, high)
        norms = [float(torch.linalg.vector_norm(_real(part).double() / scale)) for part in parts]
        norm = scale * math.hypot(*norms)
    else:
        norm = math.sqrt(squares)
    return (norm, total / tensor.numel(), low, high, zeros, nonfinite)


def _real(part: torch.Tensor) -> torch.Tensor:
    work = part.abs() if part.is_complex() else part
    if not work.is_floating_point():
        return work.double()
    return work.float() if work.element_size() < 4 else work


def _lower(one: float, other: float) -> float:
    """The lower of the two; nan where one is."""
    return other if other < one or other != other else one


def _higher(one: float, other: float) -> float:
    return other if other > one or other != other else one
