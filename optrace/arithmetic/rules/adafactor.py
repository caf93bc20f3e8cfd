"""Adafactor: second moments by row and column, and an update clipped by its root mean square."""

from __future__ import annotations

from typing import Any

import numpy as np

from optrace.arithmetic.account import Account, StepInput
from optrace.arithmetic.conclude import conclude
from optrace.arithmetic.pick import implementation
from optrace.arithmetic.rules.registry import whole
from optrace.arithmetic.sheet import Hyper
from optrace.arithmetic.text import power, scalar
from optrace.arithmetic.whole import Stages

Array = np.ndarray[Any, Any]

_ROUNDINGS = 4
"""How many roundings the update may be off by: the order in which norms and means add up is not fixed."""


@whole("Adafactor", paper="Shazeer & Stern 2018, https://arxiv.org/abs/1804.04235")
def adafactor(step: StepInput, element: tuple[int, ...]) -> Account:
    """α = max(ε₂, RMS(θ))·min(lr, 1/√t); U = G/√V; θ ← θ − α·U/max(1, RMS(U)/d); V from row and column means."""
    hyper, stages = Hyper(step.hyper, "Adafactor"), Stages(step, element)
    n, before, foreach = stages.n, stages.before, implementation(step) == "foreach"
    lr, d, decay = (hyper.scalar(name) for name in ("lr", "d", "weight_decay"))
    epsilons = hyper.get("eps") or (None, 1e-3)
    eps1, eps2 = n.eps if epsilons[0] is None else float(epsilons[0]), float(epsilons[1])
    count = float(np.asarray(step.state_before.get("step", 0.0)).reshape(-1)[0]) + 1
    gain = count ** float(hyper.scalar("beta2_decay"))

    grad = stages.grad
    stages.line("gradient", "gradient", "g", "", grad)
    if hyper.flag("maximize"):
        grad = -grad
        stages.line("maximize", "maximize", "g", "−g", grad)
    rho = min(lr, 1 / count**0.5)
    stages.line("relative_step", "relative step", "ρ", f"min({scalar(lr)}, 1/√{scalar(count)})", float(rho))
    size = float(n.stored(np.linalg.norm(before.ravel()))) / before.size**0.5
    alpha = max(eps2, size) * rho
    formula = f"max({scalar(eps2)}, RMS(θ) = {size:.5g}) · ρ"
    stages.line("rate", "rate", "α", formula, float(alpha), "relative to the parameter's size")
    if decay:
        formula = f"{stages.say(before)} · (1 − {scalar(lr)} · {scalar(decay)})"
        before = n.mul(before, 1 - lr * decay)
        stages.line("decay", "weight decay", "θ", formula, before, "decoupled: the parameter shrinks")

    stages.line("gain", "share of this g²", "w", power(count, hyper.scalar("beta2_decay")), gain)
    if grad.ndim > 1:
        variance = _factored(stages, grad, gain, eps1)
    else:
        old = stages.state("variance", grad.shape)
        variance = n.lerp(old, n.mul(grad, grad), gain)
        stages.line("variance", "second moment", "v", f"(1 − w) · {stages.say(old)} + w · g²", variance, "", "variance")

    update = n.mul(n.reciprocal(n.wide(np.sqrt(np.maximum(variance, n.stored(eps1 * eps1))))), grad)
    stages.line("update", "scaled gradient", "u", "g / √v", update)
    spread = float(n.stored(np.linalg.norm(update.ravel()))) / (update.size**0.5 * float(d))
    clip = max(1.0, spread)
    note = "clipped" if clip > 1 else "below the threshold"
    stages.line("clip", "clipping", "c", f"max(1, RMS(u)/d = {spread:.5g})", clip, note)
    stages.line("change", "change", "Δ", "−α · u / c", n.wide(-alpha / clip * update))
    rate = -alpha / clip
    new = n.add(before, n.mul(update, n.stored(rate))) if foreach else n.add(before, update, rate)
    slack = abs(float(alpha) / clip * stages.at(update)) * n.eps * _ROUNDINGS
    return conclude(step, element, stages.terms, stages.finish(before, n.stored(new)), slack=slack)


def _factored(stages: Stages, grad: Array, gain: float, eps1: float) -> Array:
    """The second moment as (row factor · column factor) / mean of the row factors, over the last two dimensions."""
    n = stages.n
    factors = []
    for axis, name, label, symbol in ((-1, "row_var", "row factor", "r"), (-2, "col_var", "column factor", "k")):
        norm = n.stored(np.sqrt(np.sum(grad * grad, axis=axis, keepdims=True)))
        mean = n.div(n.mul(norm, norm), grad.shape[axis])
        old = stages.state(name, mean.shape)
        factor = n.lerp(old, mean, gain)
        place = "row" if axis == -1 else "column"
        formula = f"(1 − w) · {stages.say(old)} + w · {stages.say(mean)}"
        stages.line(name, label, symbol, formula, factor, f"mean of g² over the {place}", name)
        factors.append(factor)
    row, column = factors
    mean = np.maximum(n.stored(np.mean(row, axis=-2, keepdims=True)), n.stored(eps1))
    variance = n.div(n.result(row * column), mean)
    stages.line("variance", "second moment", "v", f"r · k / {stages.say(mean)}", variance, "by the mean of all r")
    return np.asarray(variance)
