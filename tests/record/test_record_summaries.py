"""Summaries as they are made on a device, against NumPy in float64. They are made of plain operations: any device's."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from optrace.recording import summaries
from optrace.recording.summaries import CHECKSUM, ROW, Asked, Summaries, Take

DTYPES = [
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn,
    torch.int64, torch.uint8, torch.bool, torch.complex64, torch.complex128,
]  # fmt: skip
SIZES = [1, 7, ROW - 1, ROW, ROW + 1, 3 * ROW, 5000]
_STATISTICS = struct.Struct("<6d")


def tensor_of(dtype: torch.dtype, size: int, seed: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    if dtype in (torch.int64, torch.uint8, torch.bool):
        return torch.randint(0, 3 if seed % 2 else 200, (size,), generator=draw).to(dtype)
    values = torch.randn(size, generator=draw, dtype=torch.complex128 if dtype.is_complex else torch.float64)
    values = values * random.Random(seed).choice([1.0, 1e-3, 50.0])
    if dtype.itemsize > 1 and seed % 3 == 0:
        values[:: max(1, size // 3)] = float("nan")
        values[-1] = float("inf")
    if seed % 3 == 1:
        values[::2] = 0.0
    return values.to(dtype)


def work_of(tensor: torch.Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    wide = tensor.to(torch.complex128).abs() if tensor.is_complex() else tensor.double()
    return np.asarray(wide.numpy())


def bits_of(tensor: torch.Tensor) -> bytes:
    parts = torch.view_as_real(tensor).reshape(-1) if tensor.is_complex() else tensor
    kind = {1: "u1", 2: "<i2", 4: "<i4", 8: "<i8"}[parts.element_size()]
    total = int(np.frombuffer(parts.view(torch.uint8).numpy().tobytes(), kind).astype(object).sum())
    return (total & (1 << 64) - 1).to_bytes(8, "little")


def norm_of(work: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    scale = float(np.abs(work).max())
    return scale * float(np.linalg.norm(work / scale)) if np.isfinite(scale) and scale else float(np.linalg.norm(work))


def told_of(
    asked: list[tuple[torch.Tensor, torch.Tensor | None]], complete: bool, parameters: Sequence[int] = range(1000)
) -> list[bytes]:
    """What values that are asked for together turn out to be."""
    sent: list[tuple[torch.Tensor, Take]] = []
    many = Summaries(lambda source, take: sent.append((source, take)))
    told = [b""] * len(asked)

    def taking(number: int) -> Take:
        def take(view: memoryview) -> None:
            told[number] = bytes(view)

        return take

    for number, (tensor, kept) in enumerate(asked):
        many.add(Asked(tensor, kept, complete, parameters[number], taking(number)))
    many.send()
    count = len(sent)
    many.send()
    assert len(sent) == count  # nothing was left
    for source, take in sent:
        take(memoryview(source.numpy()))
    return told


@pytest.mark.parametrize("together", [2 * ROW, 1 << 24])
@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("sampled", [True, False])
def test_many_at_once(sampled: bool, complete: bool, together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summaries, "TOGETHER", together)
    asked: list[tuple[torch.Tensor, torch.Tensor | None]] = []
    for number, (dtype, size) in enumerate((dtype, size) for _ in range(3) for size in SIZES for dtype in DTYPES):
        kept = torch.tensor(sorted(random.Random(number).sample(range(size), min(size, 5)))) if sampled else None
        asked.append((tensor_of(dtype, size, number), kept))
    for (tensor, kept), told in zip(asked, told_of(asked, complete), strict=True):
        work = work_of(tensor)
        norm, mean, low, high, zeros, nonfinite = _STATISTICS.unpack_from(told)
        with np.errstate(all="ignore"):
            np.testing.assert_allclose(norm, norm_of(work), rtol=1e-6)
            if complete:
                np.testing.assert_allclose(mean, work.mean(), rtol=1e-6, atol=1e-12 * float(np.abs(work).max()))
                np.testing.assert_allclose((low, high), (work.min(), work.max()), rtol=1e-6)
                assert zeros == (work == 0).sum()
            else:
                assert np.isnan((mean, low, high, zeros)).all()
        assert nonfinite == (~np.isfinite(work)).sum()
        elements = b"" if kept is None else tensor[kept].view(torch.uint8).numpy().tobytes()
        assert told[_STATISTICS.size : -CHECKSUM] == elements
        assert told[-CHECKSUM:] == bits_of(tensor)


def test_as_many_bytes_of_other_elements() -> None:
    """One parameter's values of different dtypes have samples of their own."""
    asked: list[tuple[torch.Tensor, torch.Tensor | None]] = []
    for dtype, size in ((torch.float32, 4000), (torch.float64, 2000), (torch.bfloat16, 8000)):
        kept = torch.tensor(sorted(random.Random(size).sample(range(size), 64)))
        asked.append((tensor_of(dtype, size, 2), kept))
    for (tensor, kept), told in zip(asked, told_of(asked, False, [7, 7, 7]), strict=True):
        assert kept is not None
        assert told[_STATISTICS.size : -CHECKSUM] == tensor[kept].view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("scale", [1e-300, 1e200])
def test_squares_that_no_float_holds(scale: float) -> None:
    tensor = torch.linspace(1, 2, 3000, dtype=torch.float64) * scale
    (told,) = told_of([(tensor, None)], False)
    np.testing.assert_allclose(_STATISTICS.unpack_from(told)[0], norm_of(work_of(tensor)), rtol=1e-12)


def test_negative_zeros_and_exchanged_signs_are_changes() -> None:
    zeros = torch.zeros(2000)
    negative = torch.zeros(2000)
    negative[3] = -0.0
    ones = torch.ones(2000)
    ones[7] = -1.0
    told = told_of([(tensor, None) for tensor in (zeros, negative, torch.ones(2000), ones)], True)
    checksums = [each[-CHECKSUM:] for each in told]
    assert len(set(checksums)) == 4
    assert not any(checksums[0])
