"""One operation at a time against torch's own, bit for bit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from optrace.arithmetic.floating import Floating
from optrace.arithmetic.text import number

from .torch_steps import array

DTYPES = ("float64", "float32", "bfloat16", "float16")
Torch = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, float], torch.Tensor]
Ours = Callable[[Floating, float, float, float, float], float]

OPERATIONS: dict[str, tuple[Torch, Ours]] = {
    "mul": (lambda a, b, c, k: a * k, lambda n, a, b, c, k: n.mul(a, k)),
    "div": (lambda a, b, c, k: a / k, lambda n, a, b, c, k: n.div(a, k)),
    "divide tensors": (lambda a, b, c, k: a / c, lambda n, a, b, c, k: n.div(a, c)),
    "add": (lambda a, b, c, k: a.add(b, alpha=k), lambda n, a, b, c, k: n.add(a, b, k)),
    "add a number": (lambda a, b, c, k: a + k, lambda n, a, b, c, k: n.add(a, k)),
    "sub": (lambda a, b, c, k: a - b, lambda n, a, b, c, k: n.sub(a, b)),
    "addcmul": (lambda a, b, c, k: a.addcmul(b, c, value=k), lambda n, a, b, c, k: n.addcmul(a, b, c, k)),
    "addcdiv": (lambda a, b, c, k: a.addcdiv(b, c, value=k), lambda n, a, b, c, k: n.addcdiv(a, b, c, k)),
    "lerp, near": (lambda a, b, c, k: a.lerp(b, 0.1), lambda n, a, b, c, k: n.lerp(a, b, 0.1)),
    "lerp, far": (lambda a, b, c, k: a.lerp(b, 0.7), lambda n, a, b, c, k: n.lerp(a, b, 0.7)),
    "reciprocal": (lambda a, b, c, k: c.reciprocal(), lambda n, a, b, c, k: n.reciprocal(c)),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", list(OPERATIONS))
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**20), factor=st.sampled_from([0.9, 0.999, 0.0137, -0.01, 3.0]))
def test_operation_equals_torchs(dtype: str, name: str, seed: int, factor: float) -> None:
    """Over 45 numbers: 32 in torch's vectorised loop, the rest one by one."""
    generator = torch.Generator().manual_seed(seed)
    a, b, c = (torch.randn(45, dtype=torch.float64, generator=generator).to(getattr(torch, dtype)) for _ in range(3))
    c = c.abs() + 0.125
    in_torch, ours = OPERATIONS[name]
    expected = array(in_torch(a, b, c, factor)).astype(np.float64)
    operands = [array(tensor).astype(np.float64) for tensor in (a, b, c)]
    for place in range(45):
        n = Floating(dtype, lane="body" if place < 32 else "tail")
        x, y, z = (float(operand[place]) for operand in operands)
        assert ours(n, x, y, z, factor) == expected[place], (place, x, y, z)


@pytest.mark.parametrize("dtype", DTYPES)
@given(value=st.floats(allow_nan=False, allow_infinity=False, width=16))
def test_spacing_is_the_unit_in_the_last_place(dtype: str, value: float) -> None:
    n = Floating(dtype)
    if abs(value) < 1e-4:
        return
    held = float(n.stored(value))
    step = n.spacing(held)
    assert float(n.stored(held + step)) == held + step
    assert float(n.stored(held + 0.25 * step)) == held


@pytest.mark.parametrize("dtype", DTYPES)
@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_in_full_reads_back(dtype: str, value: float) -> None:
    with np.errstate(over="ignore", under="ignore"):
        held = float(Floating(dtype).stored(value))
    if not np.isfinite(held):
        return
    text = number(held, dtype, None).replace("−", "-")
    assert float(Floating(dtype).stored(float(text))) == held


def test_a_number_that_is_cut_says_so() -> None:
    assert number(1 / 3) == "0.333333333…"
    assert number(0.5) == "0.5"
    assert number(-1e-8) == "−1e-8"
    assert number(float(np.float32(0.1)), "float32") == "0.1"
    assert number(float("nan")) == "nan"
    assert number(float("-inf")) == "−inf"
    assert number(0.0) == "0"
