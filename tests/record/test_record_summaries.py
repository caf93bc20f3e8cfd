"""Summaries as they are made on a device, against NumPy in float64. They are made of plain operations: any device's."""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest
import torch

from optrace.recording import summaries
from optrace.recording.summaries import CHECKSUM, ROW, Asked, Summaries, summary

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


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_all_statistics(dtype: torch.dtype, size: int) -> None:
    for seed in range(6):
        tensor = tensor_of(dtype, size, seed)
        indices = torch.tensor(sorted(random.Random(seed).sample(range(size), min(size, 5))))
        told = summary(tensor, indices).numpy().tobytes()
        work = work_of(tensor)
        with np.errstate(all="ignore"):
            expected = [
                norm_of(work),
                work.mean(),
                work.min(),
                work.max(),
                (work == 0).sum(),
                (~np.isfinite(work)).sum(),
            ]
        np.testing.assert_allclose(_STATISTICS.unpack_from(told), expected, rtol=1e-6)
        assert told[_STATISTICS.size : -CHECKSUM] == tensor[indices].view(torch.uint8).numpy().tobytes()
        assert told[-CHECKSUM:] == bits_of(tensor)


@pytest.mark.parametrize("together", [2 * ROW, 1 << 24])
@pytest.mark.parametrize("sampled", [True, False])
def test_many_at_once(sampled: bool, together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summaries, "TOGETHER", together)
    sent: list[tuple[torch.Tensor, object]] = []
    many = Summaries(lambda source, take: sent.append((source, take)))
    told: dict[int, bytes] = {}
    asked = []
    for number, (dtype, size) in enumerate((dtype, size) for size in SIZES for dtype in DTYPES):
        tensor = tensor_of(dtype, size, number)
        kept = torch.tensor(sorted(random.Random(number).sample(range(size), min(size, 5)))) if sampled else None
        asked.append((tensor, kept))
        many.add(Asked(tensor, kept, (number, size), lambda view, number=number: told.update({number: bytes(view)})))  # type: ignore[misc]
    many.send()
    many.send()  # nothing is left
    assert len(sent) >= len(DTYPES)
    for source, take in sent:
        take(memoryview(source.numpy()))  # type: ignore[operator]
    for number, (tensor, kept) in enumerate(asked):
        work = work_of(tensor)
        norm, *others, nonfinite = _STATISTICS.unpack_from(told[number])
        with np.errstate(all="ignore"):
            np.testing.assert_allclose(norm, norm_of(work), rtol=1e-6)
        assert np.isnan(others).all()
        assert nonfinite == (~np.isfinite(work)).sum()
        elements = b"" if kept is None else tensor[kept].view(torch.uint8).numpy().tobytes()
        assert told[number][_STATISTICS.size : -CHECKSUM] == elements
        assert told[number][-CHECKSUM:] == bits_of(tensor)


@pytest.mark.parametrize("scale", [1e-300, 1e200])
def test_squares_that_no_float_holds(scale: float) -> None:
    tensor = torch.linspace(1, 2, 3000, dtype=torch.float64) * scale
    told = summary(tensor, None).numpy().tobytes()
    np.testing.assert_allclose(_STATISTICS.unpack_from(told)[0], norm_of(work_of(tensor)), rtol=1e-12)
    found: list[bytes] = []
    sent: list[tuple[torch.Tensor, object]] = []
    many = Summaries(lambda source, take: sent.append((source, take)))
    many.add(Asked(tensor, None, (0, 3000), lambda view: found.append(bytes(view))))
    many.send()
    sent[0][1](memoryview(sent[0][0].numpy()))  # type: ignore[operator]
    np.testing.assert_allclose(_STATISTICS.unpack_from(found[0])[0], norm_of(work_of(tensor)), rtol=1e-12)


def test_negative_zeros_and_exchanged_signs_are_changes() -> None:
    zeros = torch.zeros(2000)
    negative = torch.zeros(2000)
    negative[3] = -0.0
    ones = torch.ones(2000)
    ones[7] = -1.0
    checksums = [summary(t, None).numpy().tobytes()[-CHECKSUM:] for t in (zeros, negative, torch.ones(2000), ones)]
    assert len(set(checksums)) == 4
    assert not any(checksums[0])
