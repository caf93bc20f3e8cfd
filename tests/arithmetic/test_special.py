"""Sparse gradients, whole-matrix optimizers, unknown optimizers, numbers that are not finite."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from optrace.arithmetic import AGREE_WITHIN, StepInput, account
from optrace.arithmetic.render import first_departure, render, verdict
from optrace.arithmetic.rules import names

from .torch_steps import array, steps


def sparse(rows: list[int], seed: int, size: tuple[int, int] = (6, 3)) -> torch.Tensor:
    """A gradient as an embedding's: whole rows, named as often as they were looked up."""
    values = torch.randn(len(rows), size[1], generator=torch.Generator().manual_seed(seed))
    return torch.sparse_coo_tensor(torch.tensor([rows]), values, size, check_invariants=True)


ROWS = st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=5), min_size=1, max_size=5)


@pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")
@pytest.mark.parametrize("name", ["SparseAdam", "SGD", "SGD with momentum", "Adagrad"])
@settings(max_examples=25, deadline=None)
@given(rows=ROWS, seed=st.integers(0, 1000))
def test_sparse_gradients(name: str, rows: list[list[int]], seed: int) -> None:
    """Within 3 ulps; entries that the gradient does not name are left alone."""
    parameter = torch.nn.Parameter(torch.randn(6, 3, generator=torch.Generator().manual_seed(seed)))
    optimizer: torch.optim.Optimizer = {
        "SparseAdam": lambda: torch.optim.SparseAdam([parameter], lr=0.1),
        "SGD": lambda: torch.optim.SGD([parameter], lr=0.1),
        "SGD with momentum": lambda: torch.optim.SGD([parameter], lr=0.1, momentum=0.9),
        "Adagrad": lambda: torch.optim.Adagrad([parameter], lr=0.1),
    }[name]()
    gradients: list[torch.Tensor | None] = [sparse(some, seed + i) for i, some in enumerate(rows)]
    for some, step in zip(rows, steps(optimizer, parameter, gradients), strict=True):
        for element in np.ndindex(6, 3):
            found = account(step, element)
            assert found.ulps is not None, found.reason
            assert found.ulps <= 3 + found.within - AGREE_WITHIN if found.terms else found.ulps == 0
            if element[0] not in some and name != "SGD with momentum":
                assert "no entry here" in found.reason


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@settings(max_examples=15, deadline=None)
@given(
    shape=st.sampled_from([(3, 5), (5, 3), (1, 4), (4, 4)]),
    nesterov=st.booleans(),
    decay=st.sampled_from([0.0, 0.1]),
    adjust=st.sampled_from([None, "original", "match_rms_adamw"]),
    seed=st.integers(0, 1000),
)
def test_muon(dtype: str, shape: tuple[int, int], nesterov: bool, decay: float, adjust: str | None, seed: int) -> None:
    """Within eight bfloat16 roundings of the orthogonalised update's largest entry."""
    generator = torch.Generator().manual_seed(seed)
    parameter = torch.nn.Parameter(torch.randn(shape, generator=generator).to(getattr(torch, dtype)))
    optimizer = torch.optim.Muon([parameter], 0.02, decay, 0.9, nesterov, adjust_lr_fn=adjust)
    gradients: list[torch.Tensor | None] = [
        torch.randn(shape, generator=generator).to(parameter.dtype) for _ in range(3)
    ]
    for step in steps(optimizer, parameter, gradients):
        for element in np.ndindex(*shape):
            found = account(step, element)
            assert found.agrees, render(found)
            largest = 2.0  # of an orthogonalised entry
            rate = found["rate"].value
            assert abs(found.difference) <= 8 * 2**-7 * largest * rate + 4 * 2**-7 * abs(found.recorded)
        assert found["orthogonal"].note == "in bfloat16"
        assert "…" in str(found["spectrum_after"].value)


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("foreach", [False, True])
@settings(max_examples=15, deadline=None)
@given(
    shape=st.sampled_from([(), (4,), (3, 5), (2, 3, 4)]),
    hyper=st.fixed_dictionaries(
        {
            "lr": st.sampled_from([0.01, 0.5]),
            "weight_decay": st.sampled_from([0.0, 0.1]),
            "d": st.sampled_from([1.0, 1.5]),
            "maximize": st.booleans(),
            "eps": st.sampled_from([(None, 1e-3), (1e-6, 1e-2)]),
        }
    ),
    seed=st.integers(0, 1000),
)
def test_adafactor(dtype: str, foreach: bool, shape: tuple[int, ...], hyper: dict[str, Any], seed: int) -> None:
    """Within 4 ulps, and 4 roundings of the update for norms that add up in another order."""
    generator = torch.Generator().manual_seed(seed)
    parameter = torch.nn.Parameter(torch.randn(shape, generator=generator).to(getattr(torch, dtype)))
    optimizer = torch.optim.Adafactor([parameter], foreach=foreach, **hyper)
    gradients: list[torch.Tensor | None] = [
        torch.randn(shape, generator=generator).to(parameter.dtype) for _ in range(4)
    ]
    for step in steps(optimizer, parameter, gradients):
        for element in np.ndindex(*shape):
            found = account(step, element)
            assert found.agrees, render(found)


class Halve(torch.optim.Optimizer):
    """An optimizer that nobody knows."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {"lr": 0.5})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(p.grad, alpha=0.25)


def test_an_unknown_optimizer_gets_an_honest_account() -> None:
    p = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    (step,) = steps(Halve([p]), p, [torch.tensor([1.0, 2.0])])
    found = account(step, (1,))
    assert found.rule == ""
    assert found.predicted is None
    assert found.agrees is None
    assert found["change"].value == -0.5
    assert found["rate"].value == 0.25
    assert found["angle"].value == pytest.approx(0, abs=1e-5)
    assert found["whole_rate"].value == pytest.approx(0.25)
    assert found["whole_rate"].note == "0.5 × lr"
    assert "does not know the update rule of Halve" in render(found)


def test_another_optimizer_of_torchs_name_is_found_out() -> None:
    class Adam(torch.optim.SGD):
        pass

    p = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    optimizer = Adam([p], lr=0.1)
    optimizer.param_groups[0].update(betas=(0.9, 0.999), eps=1e-8)
    (step,) = steps(optimizer, p, [torch.tensor([10.0, 2.0])])
    found = account(step, (0,))
    assert found.agrees is False
    assert "✗ differs from the recorded value" in render(found)
    assert "does not do what torch's Adam does" in render(found).replace("\n    ", " ")


def test_one_without_torchs_hyperparameters_falls_back() -> None:
    class Adam(Halve):
        pass

    p = torch.nn.Parameter(torch.ones(2))
    (step,) = steps(Adam([p]), p, [torch.ones(2)])
    found = account(step, (0,))
    assert found.predicted is None
    assert "no hyperparameter 'eps'" in found.reason


def test_the_first_line_that_departs_is_named() -> None:
    p = torch.nn.Parameter(torch.ones(2))
    (step,) = steps(torch.optim.Adam([p]), p, [torch.ones(2)])
    state = {**step.state_after, "exp_avg_sq": step.state_after["exp_avg_sq"] * 2}
    departed = first_departure(account(StepInput(**{**vars(step), "state_after": state}), (0,)))
    assert departed is not None
    assert departed.key == "second_moment"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop", "Adagrad"])
def test_numbers_that_are_not_finite(name: str, bad: float) -> None:
    p = torch.nn.Parameter(torch.ones(3))
    optimizer = getattr(torch.optim, name)([p], lr=0.1)
    for step in steps(optimizer, p, [torch.tensor([1.0, bad, 0.0]), torch.tensor([1.0, 1.0, bad])]):
        for element in np.ndindex(3):
            found = account(step, element)
            assert found.agrees, render(found)
            render(found)


def test_a_step_left_out_and_a_missing_gradient() -> None:
    p = torch.nn.Parameter(torch.ones(3))
    none, some = steps(torch.optim.Adam([p]), p, [None, torch.ones(3)])
    found = account(none, (0,))
    assert found.agrees
    assert "no gradient" in found.reason
    left_out = account(StepInput(**{**vars(none), "grad": array(torch.ones(3)), "skipped": True}), (0,))
    assert left_out.agrees
    assert "GradScaler left this step out" in left_out.reason
    moved = account(StepInput(**{**vars(some), "grad": None}), (0,))
    assert moved.agrees is False
    assert verdict(moved) == "✗ yet its value changed during this step"


def test_no_such_element() -> None:
    p = torch.nn.Parameter(torch.ones(3))
    (step,) = steps(torch.optim.SGD([p]), p, [torch.ones(3)])
    assert account(step, (-1,)).element == (2,)
    for element in ((3,), (), (0, 0)):
        with pytest.raises(IndexError, match="has no element"):
            account(step, element)


def test_state_that_the_trace_lacks_is_said() -> None:
    p = torch.nn.Parameter(torch.ones(3))
    _, step = steps(torch.optim.Adam([p]), p, [torch.ones(3), torch.ones(3)])
    state = {name: value for name, value in step.state_before.items() if name != "exp_avg"}
    found = account(StepInput(**{**vars(step), "state_before": state}), (0,))
    assert found.predicted is None
    assert "exp_avg before this step is not in the trace" in found.reason


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_fused_sgd_is_torchs_formula_or_no_update(dtype: torch.dtype) -> None:
    """torch 2.13's fused SGD on the CPU leaves narrow parameters as they were but for the last size % 32 numbers."""
    p = torch.nn.Parameter(torch.ones(40, dtype=dtype))
    (step,) = steps(torch.optim.SGD([p], lr=0.5, fused=True), p, [torch.ones(40, dtype=dtype)])
    for place in range(40):
        found = account(step, (place,))
        assert found.predicted == 0.5
        assert found.agrees is (float(step.after[place]) == 0.5)
        assert found.agrees or float(step.after[place]) == 1.0
    assert account(step, (39,)).agrees


def test_fused_with_a_scale() -> None:
    p = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([p], lr=0.1, fused=True)
    optimizer.grad_scale, optimizer.found_inf = torch.tensor(8.0), torch.tensor(0.0)  # type: ignore[attr-defined]
    for step in steps(optimizer, p, [torch.tensor([8.0, -4.0, 0.5])] * 2, grad_scale=8.0):
        found = account(step, (1,))
        assert found["scaled"].value == -4.0
        assert found["gradient"].value == -0.5
        assert found.agrees


@pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")
@pytest.mark.parametrize("absurd", [-3.0, 0.0, 1.0, 1.5, 1e300, math.inf, math.nan])
@pytest.mark.parametrize("name", sorted(name for name in names() if name != "LBFGS"))
def test_absurd_hyperparameters_are_no_reason_to_fail(name: str, absurd: float) -> None:
    """Torch refuses most of them when an optimizer is made, and none when they are put into its groups afterwards."""
    parameter = torch.nn.Parameter(torch.ones(2, 2))
    optimizer = getattr(torch.optim, name)([parameter])
    gradient = sparse([1], 0, (2, 2)) if name == "SparseAdam" else torch.ones(2, 2)
    *_, step = steps(optimizer, parameter, [gradient] * 2)
    hyper = {key: made_absurd(value, absurd) for key, value in step.hyper.items()}
    found = account(StepInput(**{**vars(step), "hyper": hyper}), (1, 1))
    assert found.reason or found.terms


def made_absurd(value: Any, absurd: float) -> Any:
    if isinstance(value, tuple):
        return tuple(made_absurd(part, absurd) for part in value)
    return absurd if isinstance(value, float) else value
