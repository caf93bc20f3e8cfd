"""What a step puts into the buffers that sum up past gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from optrace.arithmetic.account import StepInput
from optrace.arithmetic.general import dense, wide
from optrace.arithmetic.origins import Deposit
from optrace.arithmetic.rules.registry import Buffer
from optrace.arithmetic.sheet import Hyper


def direction(step: StepInput, hyper: Hyper) -> np.ndarray[Any, Any]:
    """The gradient after maximize and an L2 penalty."""
    assert step.grad is not None
    gradient = dense(step.grad)
    if hyper.flag("maximize"):
        gradient = -gradient
    decoupled = step.class_name in ("AdamW", "Muon") or hyper.flag("decoupled_weight_decay")
    weight_decay = 0.0 if decoupled else float(hyper.scalar("weight_decay", 0.0))
    return gradient + weight_decay * wide(step.before) if weight_decay else gradient


def momentum(step: StepInput, hyper: Hyper) -> Deposit:
    """SGD: b ← μ·b + (1−τ)·g; the first step takes the gradient whole."""
    first = step.state_before.get("momentum_buffer") is None
    gain = 1.0 if first else 1.0 - float(hyper.scalar("dampening", 0.0))
    return Deposit(direction(step, hyper), float(hyper.scalar("momentum")), gain)


def average(step: StepInput, hyper: Hyper) -> Deposit:
    """Adam: m ← β₁·m + (1−β₁)·g."""
    beta1 = float(hyper.pair("betas")[0])
    return Deposit(direction(step, hyper), beta1, 1.0 - beta1)


def muon_momentum(step: StepInput, hyper: Hyper) -> Deposit:
    """Muon: B ← μ·B + (1−μ)·G."""
    mu = float(hyper.scalar("momentum"))
    return Deposit(direction(step, hyper), mu, 1.0 - mu)


def scaled_momentum(step: StepInput, hyper: Hyper) -> Deposit:
    """RMSprop: b ← μ·b + g/(√v + ε)."""
    squares = wide(np.asarray(step.state_after["square_avg"]))
    if hyper.flag("centered"):
        squares = squares - wide(np.asarray(step.state_after["grad_avg"])) ** 2
    with np.errstate(all="ignore"):
        scaled = direction(step, hyper) / (np.sqrt(squares) + float(hyper.scalar("eps")))
    return Deposit(scaled, float(hyper.scalar("momentum")), 1.0)


MOMENTUM = Buffer("momentum_buffer", momentum)
MOMENT = Buffer("exp_avg", average)
SCALED = Buffer("momentum_buffer", scaled_momentum, "gradient / d")
MUON = Buffer("momentum_buffer", muon_momentum)
