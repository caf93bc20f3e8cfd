"""What is kept of a tensor that is too large to keep whole: its statistics and a fixed sample."""

from __future__ import annotations

import random
import struct
from array import array

import torch

from optrace.recording.capture import Form

SAMPLE = 64  # elements followed in every tensor; tensors of up to this many are always kept whole
_STATISTICS = struct.Struct("<6d")  # in the order of `format.STATISTICS`


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
    return _STATISTICS.pack(*statistics(tensor)) + elements


def statistics(tensor: torch.Tensor) -> tuple[float, ...]:
    """Norm, mean, min, max, zeros, non-finite; computed in float32 at least, float64 for float64.

    Of a complex tensor: norm and counts of the elements, the rest of their magnitudes.
    """
    work = tensor.abs() if tensor.is_complex() else tensor
    if not work.is_floating_point():
        work = work.double()
    elif work.element_size() < 4:
        work = work.float()
    low, high = torch.aminmax(work)
    norm = float(torch.linalg.vector_norm(work))
    finite = work.numel()
    if not norm < float("inf"):
        finite = int(torch.isfinite(work).sum())
        if finite == work.numel():  # the squares overflowed, the elements did not
            norm = float(torch.linalg.vector_norm(work, dtype=torch.float64))
    return (
        norm,
        float(work.mean()),
        float(low),
        float(high),
        float(work.numel() - int(torch.count_nonzero(work))),
        float(work.numel() - finite),
    )
