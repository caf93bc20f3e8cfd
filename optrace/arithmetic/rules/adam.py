"""Adam and AdamW, with amsgrad."""

from __future__ import annotations

from typing import Any

import numpy as np

from optrace.arithmetic.buffers import MOMENT
from optrace.arithmetic.floating import Real
from optrace.arithmetic.rules.registry import elementwise
from optrace.arithmetic.sheet import Sheet, share
from optrace.arithmetic.text import power, scalar

_ADAM = "Kingma & Ba 2015, Adam, https://arxiv.org/abs/1412.6980"


@elementwise("Adam", paper=_ADAM, buffer=MOMENT)
def adam(sheet: Sheet) -> Real:
    """m ← β₁·m + (1−β₁)·g; v ← β₂·v + (1−β₂)·g²; θ ← θ − lr·m̂/(√v̂ + ε)."""
    return _adam(sheet, decoupled=sheet.hyper.flag("decoupled_weight_decay"))


@elementwise("AdamW", paper="Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101", buffer=MOMENT)
def adamw(sheet: Sheet) -> Real:
    """Adam with θ ← θ − lr·λ·θ in place of the L2 penalty."""
    return _adam(sheet, decoupled=True)


def first_moment(sheet: Sheet, beta1: Any, name: str = "exp_avg") -> Real:
    """m ← β₁·m + (1−β₁)·g, which torch computes as a `lerp`."""
    old = sheet.state(name)
    return sheet.line(
        "first_moment",
        "first moment",
        "m",
        f"{scalar(beta1)} · {sheet.say(old)} + {scalar(1 - beta1)} · g",
        sheet.n.lerp(old, sheet.g, 1 - beta1),
        share((1 - beta1) * sheet.g, beta1 * old),
        state=name,
    )


def second_moment(sheet: Sheet, beta2: Any, name: str = "exp_avg_sq") -> Real:
    """v ← β₂·v + (1−β₂)·g²."""
    n, old = sheet.n, sheet.state(name)
    kept = n.scale(old, beta2)
    return sheet.line(
        "second_moment",
        "second moment",
        "v",
        f"{scalar(beta2)} · {sheet.say(old)} + {scalar(1 - beta2)} · g²",
        n.addcmul(kept, sheet.g, sheet.g, 1 - beta2),
        share((1 - beta2) * sheet.g * sheet.g, kept),
        state=name,
    )


def root(number: Any) -> Any:
    """Of a float as Python takes it, of a tensor as torch does: in its own dtype."""
    return np.sqrt(number) if isinstance(number, np.generic) else number**0.5


def over(number: Any, divisor: Any) -> Any:
    """number / divisor; torch divides a Python number by a tensor as number · (1 / divisor)."""
    if isinstance(divisor, np.floating) and not isinstance(number, np.generic):
        return np.reciprocal(divisor) * number
    return number / divisor


def pow_slack(*corrections: Any) -> float:
    """The relative error of a step size whose 1 − βᵗ are computed in float32, as on the device (capturable).

    βᵗ is near 1 at first, so one rounding of it is large beside 1 − βᵗ.
    """
    eps = float(np.finfo(np.float32).eps)
    return eps * (2.0 + sum(1.0 / float(correction) for correction in corrections if correction))


def _adam(sheet: Sheet, *, decoupled: bool) -> Real:
    n = sheet.n
    lr, eps = sheet.hyper.scalar("lr"), sheet.hyper.scalar("eps")
    beta1, beta2 = sheet.hyper.pair("betas")
    count = sheet.count()
    sheet.direction(decay=not decoupled)
    if decoupled:
        sheet.decouple(lr)
    m = first_moment(sheet, beta1)
    v = second_moment(sheet, beta2)
    symbol = "v"
    if sheet.hyper.flag("amsgrad"):
        old, symbol = sheet.state("max_exp_avg_sq"), "u"
        formula = f"max({sheet.say(old)}, v)"
        v = sheet.line("largest", "largest v so far", "u", formula, np.maximum(old, v), "amsgrad", "max_exp_avg_sq")

    correction1, correction2 = 1 - beta1**count, 1 - beta2**count
    first, second = f"1 − {power(beta1, count)}", f"1 − {power(beta2, count)}"
    hat = n.wide(m / correction1)
    sheet.line("corrected_first", "corrected", "m̂", f"m / ({first}) = m / {scalar(correction1)}", hat)
    hat = n.wide(v / correction2)
    sheet.line("corrected_second", "", f"{symbol}̂", f"{symbol} / ({second}) = {symbol} / {scalar(correction2)}", hat)

    step_size = over(lr, correction1)
    root2 = root(correction2)
    if sheet.capturable or sheet.hyper.flag("differentiable"):
        new, denominator = _capturable(sheet, m, v, lr, correction1, root2, eps)
        sheet.slack = abs(float(step_size * m / denominator)) * pow_slack(correction1, correction2)
    else:
        denominator = n.add(n.div(n.sqrt(v), root2), eps)
        new = n.addcdiv(sheet.p, m, denominator, -step_size)
    sheet.line("denominator", "divisor", "d", f"√{symbol}̂ + {scalar(eps)}", denominator)
    sheet.line("rate", "effective rate", "r", f"{scalar(lr)} / d", n.wide(lr / denominator), "per unit of m̂")
    change = sheet.line("change", "change", "Δ", "−r · m̂", n.wide(-step_size * m / denominator))
    return sheet.finish(new, change)


def _capturable(sheet: Sheet, m: Real, v: Real, lr: Any, correction1: Any, root2: Any, eps: Any) -> tuple[Real, Real]:
    """torch folds the step size into the divisor here, so that no number has to leave the device."""
    n = sheet.n
    if sheet.mode == "foreach":
        step_size = 1 / (-correction1 / lr)
        folded = n.div(n.add(n.div(n.sqrt(v), root2), eps), step_size)
    else:
        step_size = -over(lr, correction1)
        folded = n.add(n.div(n.sqrt(v), root2 * step_size), over(eps, step_size))
    return n.addcdiv(sheet.p, m, folded), n.wide(folded * step_size)
