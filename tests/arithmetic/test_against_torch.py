"""The arithmetic against torch: every element-wise optimizer, dtype and implementation, over generated runs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optrace.arithmetic import AGREE_WITHIN, StepInput, account
from optrace.arithmetic.conclude import distance
from optrace.arithmetic.floating import Floating

from .strategies import COMPLEX, HYPER, REAL, Case, cases, modes

# How many units in the last place the prediction may lie from what torch computed. Zero: bit for bit.
# Families that take a square root may differ where torch's vectorised √ is a unit off: two units of the change, and
# one of the sum. Fused kernels may contract one more multiply-add than the formula shows, capturable ones divide by
# tensors that hold the bias corrections in float32.
ROOTS = ("Adam", "AdamW", "NAdam", "RAdam", "RMSprop", "Adagrad", "Adadelta")
NARROW = ("bfloat16", "float16")


def bound(family: str, dtype: str, mode: str) -> int:
    """In ulps. Where it is not 0, `slack` comes on top: momentum that nearly cancels, `capturable` in float32."""
    if mode == "fused" or "capturable" in mode:
        return 3 if family in ROOTS and dtype not in NARROW else 2
    if family in ROOTS:
        return 1 if dtype in NARROW else 3
    if family == "ASGD" and mode == "foreach" and dtype in NARROW:
        return 1  # a 0-dim parameter meets η, which is 0-dim float32 too: torch promotes
    return 0


GRID = [(family, dtype, mode) for family in HYPER for dtype in (*REAL, *COMPLEX) for mode in modes(family, dtype)]


@pytest.mark.parametrize(("family", "dtype", "mode"), GRID)
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_equals_torch(family: str, dtype: str, mode: str, data: st.DataObject) -> None:
    case = data.draw(cases(family, dtype, mode))
    for number, step in enumerate(case.steps()):
        for element in sampled_elements(step):
            found = account(step, element)
            slack = found.within - AGREE_WITHIN if bound(family, dtype, mode) else 0
            assert found.ulps is not None, found.reason
            assert found.ulps <= bound(family, dtype, mode) + slack, (number, element, found)
            assert found.agrees
            assert found.rule == family
            assert f"torch.optim.{family}" in found.source


@pytest.mark.parametrize("family", list(HYPER))
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_state_lines_equal_the_recorded_state(family: str, data: st.DataObject) -> None:
    """Each line that torch keeps in its state has the number torch keeps, bit for bit in float64."""
    case = data.draw(cases(family, "float64", "single"))
    kept = 0
    for step in case.steps():
        for element in sampled_elements(step):
            for term in account(step, element).terms:
                if term.recorded is None:
                    continue
                kept += 1
                size = max(abs(term.recorded), 1e-30)
                assert term.value == pytest.approx(term.recorded, rel=1e-12, abs=1e-15 * size), term
    assert kept or case.hyper.get("momentum") == 0 or family == "SGD"


def sampled_elements(step: StepInput) -> list[tuple[int, ...]]:
    """All of a small parameter; of a larger one some, among them the last."""
    every = list(np.ndindex(*step.shape))
    return every if len(every) < 10 else [*every[::9], every[-1]]


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_wrong_formula_is_noticed(data: st.DataObject) -> None:
    """The comparison can fail: a step with another learning rate than the recorded one disagrees."""
    family = data.draw(st.sampled_from(["SGD", "Adam", "AdamW", "Adamax", "RMSprop", "Adagrad", "NAdam"]))
    case = data.draw(cases(family, "float32", "single"))
    case = Case(family, "float32", "single", (3,), {**case.hyper, "lr": 0.1, "weight_decay": 0.0}, case.seed, [1.0])
    (step,) = case.steps()
    wrong = StepInput(**{**vars(step), "hyper": {**step.hyper, "lr": 0.1001}})
    for element in np.ndindex(3):
        found = account(wrong, element)
        assert found.agrees is False
        assert found.difference is not None
        assert abs(found.difference) > 0


def test_distance_counts_units_of_the_largest_number() -> None:
    n = Floating("float32")
    one = float(np.float32(1.0))
    assert distance(one, float(np.nextafter(np.float32(1), np.float32(2))), 1.0, n) == 1
    # 1e-8 off, where 1.0 and its update cancelled to about 0: less than a unit of 1.0.
    assert distance(0.0, 1e-8, 1.0, n) == 1
    assert distance(float("nan"), float("nan"), 1.0, n) == 0
    assert distance(float("inf"), float("inf"), 1.0, n) == 0
    assert distance(float("nan"), 1.0, 1.0, n) > 10**6
    assert distance(float("inf"), float("-inf"), 1.0, n) > 10**6
