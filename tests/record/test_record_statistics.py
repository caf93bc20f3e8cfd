"""The statistics of sampled tensors, against float64 arithmetic on all elements."""

from __future__ import annotations

import math
import warnings

import pytest
import torch

from optrace.recording.sampling import brief, statistics

NUMEL = 300_000  # several parts, the last one incomplete


def values(kind: str) -> torch.Tensor:
    torch.manual_seed(0)
    normal = torch.randn(NUMEL)
    some = torch.arange(NUMEL) % 3 == 0
    return {
        "normal": normal,
        "with zeros": normal.masked_fill(some, 0.0),
        "with negative zeros": normal.masked_fill(some, -0.0),
        "all zeros": torch.zeros(NUMEL),
        "positive": normal.abs() + 1,
        "negative": -normal.abs() - 1,
        "squares too large": normal * 1e25,
        "squares too small": normal * 1e-25,
        "subnormal": normal * 1e-40,
        "large and small": torch.cat([normal[:150_000] * 1e25, normal[:150_000] * 1e-25]),
        "float64, squares too large": normal.double() * 1e200,
        "bfloat16": normal.bfloat16(),
        "float16": (normal * 1e3).half(),
        "integers": (normal * 10).long(),
        "bool": normal > 0,
        "complex": torch.complex(normal, normal.flip(0)),
        "few": normal[:65],
    }[kind]


@pytest.mark.parametrize("kind", [
    "normal", "with zeros", "with negative zeros", "all zeros", "positive", "negative", "squares too large",
    "squares too small", "subnormal", "large and small", "float64, squares too large", "bfloat16", "float16",
    "integers", "bool", "complex", "few",
])  # fmt: skip
def test_statistics(kind: str) -> None:
    tensor = values(kind)
    wide = (tensor.abs() if tensor.is_complex() else tensor).double()
    norm, mean, low, high, zeros, nonfinite = statistics(tensor)
    largest = float(wide.abs().max())
    scale = largest or 1.0
    assert norm == pytest.approx(scale * float(torch.linalg.vector_norm(wide / scale)), rel=5e-6)
    assert mean == pytest.approx(float(wide.mean()), rel=1e-5, abs=1e-7 * largest)
    assert low == pytest.approx(float(wide.min()), rel=1e-6)
    assert high == pytest.approx(float(wide.max()), rel=1e-6)
    assert zeros == int((wide == 0).sum())
    assert nonfinite == 0


@pytest.mark.parametrize("kind", [
    "normal", "with zeros", "negative", "large and small", "float64, squares too large", "bfloat16", "float16", "few",
])  # fmt: skip
def test_what_one_pass_gives(kind: str) -> None:
    tensor = values(kind)
    found = brief(tensor)
    if kind in ("large and small", "float64, squares too large"):
        assert found is None
    else:
        assert found is not None
        assert found[0] == pytest.approx(float(torch.linalg.vector_norm(tensor.double())), rel=5e-6)
        assert all(map(math.isnan, found[1:5]))
        assert found[5] == 0


@pytest.mark.parametrize("kind", ["all zeros", "squares too small", "subnormal", "integers", "bool", "complex"])
def test_one_pass_does_not_do_for_all(kind: str) -> None:
    assert brief(values(kind)) is None


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite(bad: float) -> None:
    tensor = values("normal")
    tensor[[3, 200_000]] = bad
    assert brief(tensor) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        norm, mean, low, high, zeros, nonfinite = statistics(tensor)
    assert nonfinite == 2
    assert zeros == 0
    assert not math.isfinite(norm)
    for found, expected in ((mean, tensor.mean()), (low, tensor.min()), (high, tensor.max())):
        assert found == float(expected) or (math.isnan(found) and math.isnan(float(expected)))
