"""The account as text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from optrace.arithmetic import StepInput, account, momentum_origins
from optrace.arithmetic.render import render, render_origins

from .recorded import record, steps_of
from .torch_steps import steps

ADAM = """\
  element [0] of 0.weight at 3:1             Adam, lr 0.001, β 0.9 0.999, ε 1e-8

  gradient        g                                         =  0.046
  first moment    m = 0.9 · 0.01342 + 0.1 · g               =  0.016678
                      28 % of it from this step
  second moment   v = 0.999 · 0.0000412 + 0.001 · g²        =  0.000043274802
                      5 % of it from this step
  corrected       m̂ = m / (1 − 0.9⁴) = m / 0.3439           =  0.048496656
                  v̂ = v / (1 − 0.999⁴) = v / 0.00399400399… =  0.010834942
  divisor         d = √v̂ + 1e-8                             =  0.10409103
  effective rate  r = 0.001 / d                             =  0.009606975
                      per unit of m̂
  change          Δ = −r · m̂                                = −0.00046590617
  parameter       θ = 0.3127441 − 0.00046590617             =  0.3122782

  recorded: 0.3122782
  ✓ equals the recorded value

  Formula: torch.optim.Adam,
  https://docs.pytorch.org/docs/stable/generated/torch.optim.Adam.html; Kingma
  & Ba 2015, Adam, https://arxiv.org/abs/1412.6980"""


def test_adam_as_on_the_screen() -> None:
    """The numbers of the Update tab's sketch."""
    single = np.float32
    step = StepInput(
        class_name="Adam",
        optimizer="Adam",
        hyper={"lr": 0.001, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0, "amsgrad": False},
        before=np.array([0.3127441], single),
        after=np.array([0.3122782], single),
        grad=np.array([0.046], single),
        state_before={
            "step": single(3),
            "exp_avg": np.array([0.01342], single),
            "exp_avg_sq": np.array([0.0000412], single),
        },
        state_after={},
        parameter="0.weight",
    )
    assert render(account(step, (0,)), "3:1") == ADAM


def test_lines_fit_a_terminal_of_80_columns() -> None:
    p = torch.nn.Parameter(torch.randn(3, dtype=torch.complex128))
    gradients: list[torch.Tensor | None] = [torch.randn(3, dtype=torch.complex128) for _ in range(3)]
    for name in ("SGD", "Adam", "NAdam", "RAdam", "RMSprop", "Adadelta", "ASGD", "Rprop", "Adagrad", "Adamax"):
        for step in steps(getattr(torch.optim, name)([p], lr=0.0123456789), p, gradients):
            for line in render(account(step, (1,)), "123456:7").splitlines():
                assert len(line.replace("\u0302", "")) <= 80, line


def test_every_optimizer_shows_its_hyperparameters_and_source() -> None:
    p = torch.nn.Parameter(torch.ones(2))
    (step,) = steps(torch.optim.SGD([p], lr=0.1, momentum=0.9, nesterov=True), p, [torch.ones(2)])
    text = render(account(step, (0,)))
    assert "SGD, lr 0.1, μ 0.9, nesterov" in text
    assert "https://docs.pytorch.org/docs/stable/generated/torch.optim.SGD.html" in text
    assert "starts as the gradient" in text
    assert text.count("✓ equals the recorded value") == 1


def test_origins_as_text(tmp_path: Path) -> None:
    with record(tmp_path / "t.optrace", lambda net: torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.5)) as trace:
        found = momentum_origins(trace, steps_of(trace)[-1], "bias", (1,), limit=3)
    lines = render_origins(found).splitlines()
    assert lines[0].startswith("  momentum_buffer[1] of bias = ")
    assert [line.split()[0] for line in lines[3:7]] == ["4:2", "3:2", "2:2", "older"]
    assert [line.split()[2] for line in lines[3:6]] == ["1", "0.5", "0.25"]
    assert "the last 3 steps" in lines[-1]
    assert all(len(line) <= 80 for line in lines)


@pytest.mark.parametrize("where", ["", "3:1"])
def test_a_zero_dimensional_parameter(where: str) -> None:
    p = torch.nn.Parameter(torch.tensor(2.0))
    (step,) = steps(torch.optim.SGD([p], lr=0.1), p, [torch.tensor(1.0)])
    first = render(account(step, ()), where).splitlines()[0]
    assert first.startswith("  w at 3:1" if where else "  w ")
