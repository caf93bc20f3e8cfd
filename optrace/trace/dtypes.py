"""Bytes to NumPy arrays, in the tensor's own dtype."""

from __future__ import annotations

from functools import cache
from typing import Any

import ml_dtypes
import numpy as np

from optrace.errors import DamagedError

_NUMPY = frozenset({"float64", "float32", "float16", "complex128", "complex64", "bool"}) | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}
_ML = frozenset({"bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"})


@cache
def numpy_dtype(name: str) -> np.dtype[Any]:
    """The NumPy dtype of a torch dtype. Dtypes NumPy has no word for come as raw bytes (uint8)."""
    if name in _NUMPY:
        return np.dtype(name).newbyteorder("<")
    if name in _ML:
        found: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
        return found
    return np.dtype(np.uint8)


def decode(data: bytes | memoryview, dtype: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """A dense value. Raises `DamagedError` where bytes and shape do not fit."""
    try:
        if dtype == "complex32":  # two float16; NumPy's smallest complex holds them exactly
            pairs = np.frombuffer(data, np.float16).astype(np.float32)
            return pairs.view(np.complex64).reshape(shape)
        found = np.frombuffer(data, numpy_dtype(dtype))
        if dtype not in _NUMPY and dtype not in _ML:
            return found
        return found.reshape(shape)
    except ValueError as error:
        raise DamagedError(f"a {dtype} value of shape {shape} does not fit its {len(data)} bytes") from error


def decode_sparse(
    data: bytes | memoryview, dtype: str, shape: tuple[int, ...]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """A COO value: indices [sparse dims, nnz] and values [nnz, …], uncoalesced as they were.

    How many dimensions are sparse follows from the length: all in the common case (an embedding's
    gradient has one), so the fewest that fit are taken.
    """
    item = numpy_dtype(dtype).itemsize
    for sparse in range(1, len(shape) + 1):
        dense = shape[sparse:]
        per = sparse * 8 + int(np.prod(dense, dtype=np.int64)) * item
        if per and len(data) % per == 0:
            count = len(data) // per
            indices = np.frombuffer(data, np.int64, count=sparse * count).reshape(sparse, count)
            bounds = np.array(shape[:sparse])[:, None]
            if not count or bool(np.all((indices >= 0) & (indices < bounds))):
                values = decode(memoryview(data)[sparse * count * 8 :], dtype, (count, *dense))
                return indices, values
    raise DamagedError(f"a sparse {dtype} value of shape {shape} does not fit its {len(data)} bytes")


def densify(
    indices: np.ndarray[Any, Any], values: np.ndarray[Any, Any], shape: tuple[int, ...]
) -> np.ndarray[Any, Any]:
    """The dense array of a COO value; repeated indices add up in order."""
    dense = np.zeros(shape, values.dtype)
    if dense.dtype.kind in "fciub" and dense.dtype.name in _NUMPY:
        np.add.at(dense, tuple(indices), values)
    else:
        for place, value in zip(indices.T, values, strict=True):
            dense[tuple(place)] += value
    return dense
