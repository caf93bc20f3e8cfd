"""Bytes to NumPy arrays, in the tensor's own dtype."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from optrace.errors import DamagedError

_NUMPY = frozenset({"float64", "float32", "float16", "complex128", "complex64", "bool"}) | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}
_ML = frozenset({"bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"})


def is_known(name: str) -> bool:
    """Whether values of a torch dtype come as numbers."""
    return name in _NUMPY or name in _ML or name == "complex32"


@cache
def numpy_dtype(name: str) -> np.dtype[Any]:
    """The NumPy dtype of a torch dtype. Dtypes NumPy has no word for come as raw bytes (uint8)."""
    if name in _NUMPY:
        return np.dtype(name).newbyteorder("<")
    if name in _ML:
        import ml_dtypes  # only where such a value is read: it takes as long as a tenth of NumPy

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

    The bytes are the number of sparse dimensions (int64), the indices, the values.
    """
    sparse = int.from_bytes(data[:8], "little", signed=True)
    if len(data) >= 8 and 0 <= sparse <= len(shape):
        dense = shape[sparse:]
        per = sparse * 8 + math.prod(dense) * numpy_dtype(dtype).itemsize
        count, rest = divmod(len(data) - 8, per) if per else (0, len(data) - 8)
        if not rest:
            indices = np.frombuffer(data, np.int64, sparse * count, 8).reshape(sparse, count)
            bounds = np.array(shape[:sparse], np.int64)[:, None]
            if np.all((indices >= 0) & (indices < bounds)):
                return indices, decode(memoryview(data)[8 + sparse * count * 8 :], dtype, (count, *dense))
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
