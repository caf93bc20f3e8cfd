"""What is kept of a tensor that is too large to keep whole: its statistics and a fixed sample."""

from __future__ import annotations

import math
import random
import struct
from array import array
from typing import Any, ClassVar

import numpy as np
import torch

from optrace.recording.forms import Form, digest

SAMPLE = 64  # elements followed in every tensor; tensors of up to this many are always kept whole
PIECES = 64  # of a tensor; one after the other is compared in full
LEAST_PIECE = 1 << 16  # bytes
UNKNOWN = -2  # a version that no tensor has
_STATISTICS = struct.Struct("<6d")  # in the order of `format.STATISTICS`
_PART = 1 << 21  # elements looked at together: torch's threads have to wait for one another after each
_CACHED = 1 << 17  # the same where a copy in another dtype is made, which should stay in the cache
_ROW = 1 << 14  # elements whose squares are added up in float32
_SMALL_SQUARE = 1e-31  # on average; below it, what float32 loses of the smallest squares begins to show
_INTEGERS = {4: (torch.int32, np.uint32), 8: (torch.int64, np.uint64)}
_LOWEST = {4: -(1 << 31), 8: -(1 << 63)}
_FLOATS = {4: (struct.Struct("<i"), struct.Struct("<f")), 8: (struct.Struct("<q"), struct.Struct("<d"))}


def sample_indices(parameter: int, numel: int) -> array[int]:
    """Which elements (flat, ascending) of a tensor are followed. The user's random state is not touched."""
    return array("q", sorted(random.Random(f"{parameter} {numel}").sample(range(numel), min(SAMPLE, numel))))


class Sketch:
    """What is remembered of a large tensor's content, once only a part of it is kept: enough to notice most changes.

    Statistics and sample are made where the tensor certainly was written to: one pass over it, and no other is
    needed to know that it changed. In between, it counts as unchanged while its version, the bytes of its
    sample and those of one of its 64 pieces are what they were; the piece is another after every such event.
    """

    complete: ClassVar[bool] = True
    """Whether all statistics are taken; else those alone that one pass gives, where it does."""

    __slots__ = (
        "_digest",
        "_elements",
        "_first",
        "_form",
        "_indices",
        "_last",
        "_memory",
        "_size",
        "_values",
        "_version",
        "summary",
    )

    def __init__(self, form: Form, indices: array[int]) -> None:
        self._form = form
        self._indices = np.frombuffer(indices, np.int64)
        self.summary = b""
        """Statistics as float64 (nan: not taken), then the sampled elements in the tensor's own dtype."""
        self._values: tuple[float, ...] = ()
        self._version = UNKNOWN
        self._elements: Any = None  # the memory, by elements
        self._memory = memoryview(b"")
        self._size = max(LEAST_PIECE, form.nbytes // PIECES)
        self._first = self._last = 0  # of the piece
        self._digest = 0

    @property
    def blank(self) -> bool:
        """Whether every element was zero."""
        return self._values[4] == self._form.nbytes // self._form.dtype.itemsize

    def take(self, view: memoryview, version: int) -> bool:
        """Read everything; whether the summary says that the content is another than before."""
        self._memory = view
        self._elements = np.frombuffer(view, f"V{self._form.dtype.itemsize}")
        with np.errstate(all="ignore"), torch.no_grad():
            tensor = torch.frombuffer(view, dtype=self._form.dtype)
            values = brief(tensor)
            if values is None:
                values = statistics(tensor)
            elif self.complete:  # with the very norm that will be compared with the next one
                values = statistics(tensor, values[0])
        elements = self._elements.take(self._indices).tobytes()
        self._version = version
        self._first = self._last % self._form.nbytes
        self._last = min(self._first + self._size, self._form.nbytes)
        self._digest = digest(view[self._first : self._last])
        same = elements == self.summary[_STATISTICS.size :] and all(map(_agree, values, self._values))
        self._values, self.summary = values, _STATISTICS.pack(*values) + elements
        return not same

    def distrust(self) -> None:
        """`holds` says no until everything has been read again."""
        self._version = UNKNOWN

    def holds(self, view: memoryview, version: int) -> bool:
        """Whether nothing is seen that says that the tensor was written to since."""
        if view is not self._memory:
            self._memory = view
            self._elements = np.frombuffer(view, f"V{self._form.dtype.itemsize}")
        return (
            version == self._version
            and self._elements.take(self._indices).tobytes() == self.summary[_STATISTICS.size :]
            and digest(view[self._first : self._last]) == self._digest
        )


def _agree(one: float, other: float) -> bool:
    """Whether both are the same, or one was not taken."""
    return one == other or one != one or other != other


def brief(tensor: torch.Tensor) -> tuple[float, ...] | None:
    """Norm and non-finite of a flat tensor, the others nan: what one pass over the memory gives.

    None where that does not tell: something is not finite, or its squares are too large or too small for float32.
    """
    if not tensor.is_floating_point() or tensor.element_size() == 1:
        return None
    numel = tensor.numel()
    edge = numel - numel % _ROW
    size = _CACHED if tensor.element_size() < 4 else numel
    parts = [part.view(-1, _ROW) for part in _parts(tensor[:edge], size)] if edge else []
    if edge < numel:
        parts.append(tensor[edge:].view(1, -1))
    norms = [torch.linalg.vector_norm(_real(part), dim=1).double() for part in parts]
    square = sum(float(torch.dot(norm, norm)) for norm in norms)
    if not math.isfinite(square) or square < numel * _SMALL_SQUARE:
        return None
    return (math.sqrt(square), math.nan, math.nan, math.nan, math.nan, 0.0)


def statistics(tensor: torch.Tensor, norm: float | None = None) -> tuple[float, ...]:
    """Norm, mean, min, max, zeros, non-finite of a flat tensor; computed in float32 at least, float64 for float64.

    `norm`: what `brief` gave. Of a complex tensor: norm and counts of the elements, the rest of their magnitudes.
    """
    numel = tensor.numel()
    squares = total = zeros = nonfinite = 0.0
    low, high = float("inf"), float("-inf")
    exact = False  # some squares are too large or too small
    size = _PART if tensor.dtype in (torch.float32, torch.float64) else _CACHED
    parts = _parts(tensor, size)
    for part in parts:
        work = _real(part)
        square = 0.0 if norm is not None else float(torch.dot(work, work))
        if math.isfinite(square):
            low_here, high_here, empty = _range(work)
        else:
            array = work.numpy()
            low_here, high_here, empty = float(array.min()), float(array.max()), True
            bad = work.numel() - int(torch.isfinite(work).sum())
            nonfinite += bad
            exact = exact or not bad
        squares += square
        total += float(work.sum(dtype=torch.float64) if exact else work.sum())
        if empty and not low_here > 0 and not high_here < 0:
            zeros += work.numel() - int(np.count_nonzero(work.numpy() != 0))
        low, high = _lower(low, low_here), _higher(high, high_here)
    if norm is not None:
        return (norm, total / numel, low, high, zeros, nonfinite)
    if squares < numel * _SMALL_SQUARE:
        exact = low != 0 or high != 0
    if exact and not nonfinite:
        scale = max(-low, high)
        norms = [float(torch.linalg.vector_norm(_real(part).double() / scale)) for part in parts]
        norm = scale * math.hypot(*norms)
    else:
        norm = math.sqrt(squares)
    return (norm, total / numel, low, high, zeros, nonfinite)


def _range(work: torch.Tensor) -> tuple[float, float, bool]:
    """Min and max of finite floats, and whether a zero is among them.

    As integers of the same bits, floats that are not negative keep their order, negative ones turn it round and come
    below all others. Torch finds the extremes of integers in one pass, in the time in which it finds one of floats.
    """
    width = work.element_size()
    signed, unsigned = _INTEGERS[width]
    as_integer, as_float = _FLOATS[width]
    first, last = (int(bound) for bound in torch.aminmax(work.view(signed)))

    def value(bits: int) -> float:
        return float(as_float.unpack(as_integer.pack(bits))[0])

    if first >= 0:
        return value(first), value(last), first == 0
    if last < 0:
        return value(last), value(first), first == _LOWEST[width]
    zero = first == _LOWEST[width] or not work.numpy().view(unsigned).min()
    return float(work.amin()), value(last), zero


def _parts(tensor: torch.Tensor, size: int) -> tuple[torch.Tensor, ...]:
    return tensor.tensor_split(tuple(range(size, tensor.numel(), size)))


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
