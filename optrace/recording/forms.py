"""How values are laid out, and by what a value's bytes are told from others."""

from __future__ import annotations

import ctypes
import struct
import weakref
from typing import Any, ClassVar

import torch
import xxhash

SPARSE_DIMS = struct.Struct("<q")
HOLLOW = -1
SMALL = 256  # bytes; below it, content is its own fingerprint
digest = xxhash.xxh3_64_intdigest


class Form:
    """How one value is laid out: dtype, shape, bytes. Interned: equal forms are one object."""

    __slots__ = ("__weakref__", "array", "dtype", "nbytes", "odd", "shape", "sparse", "text", "zero")
    _known: ClassVar[weakref.WeakValueDictionary[tuple[Any, ...], Form]] = weakref.WeakValueDictionary()

    def __init__(self, dtype: torch.dtype, shape: tuple[int, ...], nbytes: int, sparse: int) -> None:
        self.dtype = dtype
        self.shape = shape
        self.nbytes = nbytes
        self.sparse = sparse  # how many dimensions are sparse; HOLLOW where nothing can be read
        self.odd = bool(sparse) or dtype.is_complex or not nbytes  # never read in place without a closer look
        self.text = str(dtype).removeprefix("torch.")
        self.array: Any = None if self.odd else ctypes.c_ubyte * nbytes
        self.zero = self._zero()
        """The fingerprint of a value whose every byte is zero; of a sparse one without elements."""

    @classmethod
    def of(cls, dtype: torch.dtype, shape: tuple[int, ...], nbytes: int, sparse: int = 0) -> Form:
        key = (dtype, shape, nbytes, sparse)
        known = cls._known.get(key)
        if known is None:
            known = cls(*key)
            cls._known[key] = known
        return known

    def _zero(self) -> bytes | int:
        if self.sparse:
            return SPARSE_DIMS.pack(self.sparse) if self.nbytes == SPARSE_DIMS.size else b""
        if self.nbytes <= SMALL:
            return bytes(self.nbytes)
        state = xxhash.xxh3_64()
        chunk = bytes(min(self.nbytes, 1 << 20))
        for _ in range(self.nbytes // len(chunk)):
            state.update(chunk)
        state.update(chunk[: self.nbytes % len(chunk)])
        return state.intdigest()
