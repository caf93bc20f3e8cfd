"""Muon: momentum, orthogonalised by Newton–Schulz."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from optrace.arithmetic.account import Account, StepInput, Unaccountable
from optrace.arithmetic.buffers import MUON
from optrace.arithmetic.conclude import conclude
from optrace.arithmetic.floating import Floating
from optrace.arithmetic.rules.registry import whole
from optrace.arithmetic.sheet import Hyper
from optrace.arithmetic.text import scalar
from optrace.arithmetic.whole import Stages, norm_note

Array = np.ndarray[Any, Any]

_ROUNDINGS = 8
"""How many bfloat16 roundings of its largest entry the orthogonalised update may be off: the order in which a
matrix product adds up is not fixed."""


@whole("Muon", paper="Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/", buffer=MUON)
def muon(step: StepInput, element: tuple[int, ...]) -> Account:
    """B ← lerp(B, G, 1−μ); O = NewtonSchulz(nesterov B) in bfloat16; θ ← θ·(1 − lr·λ) − lr′·O."""
    hyper, stages = Hyper(step.hyper, "Muon"), Stages(step, element)
    lr, momentum, decay, eps = (hyper.scalar(name) for name in ("lr", "momentum", "weight_decay", "eps"))
    n, grad = stages.n, stages.grad
    if grad.ndim != 2:
        raise Unaccountable("its gradient is not a matrix")
    stages.line("gradient", "gradient", "G", "", grad, norm_note("G", grad))

    old = stages.state("momentum_buffer", grad.shape)
    buffer = n.lerp(old, grad, 1 - momentum)
    formula = f"{scalar(momentum)} · {stages.say(old)} + {scalar(1 - momentum)} · G"
    stages.line("momentum", "momentum", "B", formula, buffer, norm_note("B", buffer), "momentum_buffer")
    update, symbol = buffer, "B"
    if hyper.flag("nesterov"):
        update, symbol = n.lerp(grad, buffer, momentum), "N"
        formula = f"{scalar(1 - momentum)} · G + {scalar(momentum)} · B"
        stages.line("nesterov", "nesterov", "N", formula, update, norm_note("N", update))

    rounds = int(hyper.scalar("ns_steps"))
    coefficients = tuple(float(c) for c in hyper.get("ns_coefficients") or ())
    orthogonal = newton_schulz(update, coefficients, rounds, float(eps))
    formula = f"NewtonSchulz({symbol}/‖{symbol}‖), {rounds} rounds"
    stages.line("orthogonal", "orthogonalised", "O", formula, orthogonal, "in bfloat16")
    for key, name, matrix in (("spectrum_before", symbol, update), ("spectrum_after", "O", orthogonal)):
        stages.say_text(key, "singular values", f"σ({name})", "smallest … largest", _spectrum(matrix))

    ratio = adjustment(hyper.get("adjust_lr_fn"), step.shape)
    adjusted = lr * ratio
    stages.line("rate", "adjusted rate", "η", f"{scalar(lr)} · {scalar(ratio)}", float(adjusted), "by the shape")
    before = stages.before
    if decay:
        formula = f"{stages.say(before)} · (1 − {scalar(lr)} · {scalar(decay)})"
        before = n.mul(before, 1 - lr * decay)
        stages.line("decay", "weight decay", "θ", formula, before, "decoupled: the parameter shrinks")
    new = n.stored(n.add(before, orthogonal, -adjusted))
    stages.line("change", "change", "Δ", "−η · O", n.wide(-adjusted * orthogonal))
    largest = float(np.max(np.abs(orthogonal), initial=0.0))
    slack = float(adjusted) * _ROUNDINGS * Floating("bfloat16").spacing(largest)
    return conclude(step, element, stages.terms, stages.finish(before, new), slack=slack)


def newton_schulz(update: Array, coefficients: tuple[float, ...], rounds: int, eps: float) -> Array:
    """The quintic iteration X ← a·X + (b·XXᵀ + c·(XXᵀ)²)·X on a [rows, columns] matrix, rounded to bfloat16."""
    if len(coefficients) != 3:
        raise Unaccountable(f"Newton–Schulz takes three coefficients, not {len(coefficients)}")
    a, b, c = coefficients
    narrow = Floating("bfloat16").stored
    x = narrow(update)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = narrow(x / max(float(narrow(np.linalg.norm(x))), eps))
    for _ in range(rounds):
        gram = narrow(x @ x.T)
        x = narrow(a * x + narrow(b * gram + c * (gram @ gram)) @ x)
    return np.asarray(x.T if tall else x)


def adjustment(name: Any, shape: tuple[int, ...]) -> float:
    """What the learning rate is multiplied by for a [rows, columns] parameter."""
    rows, columns = shape
    if name in (None, "original"):
        return math.sqrt(max(1, rows / columns))
    return 0.2 * math.sqrt(max(rows, columns)) if name == "match_rms_adamw" else 1.0


def _spectrum(matrix: Array) -> str:
    if not np.isfinite(matrix).all():
        return "not finite"
    values = np.linalg.svd(matrix, compute_uv=False)
    return f"{values.min():.4g} … {values.max():.4g}" if values.size else "none"
