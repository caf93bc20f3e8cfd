"""RAdam: Adam whose adaptive rate waits until its variance is known well enough."""

from __future__ import annotations

from typing import Any

import numpy as np

from optrace.arithmetic.buffers import MOMENT
from optrace.arithmetic.floating import Real
from optrace.arithmetic.rules.adam import first_moment, pow_slack, root, second_moment
from optrace.arithmetic.rules.registry import elementwise
from optrace.arithmetic.sheet import Sheet
from optrace.arithmetic.text import power, scalar


@elementwise("RAdam", paper="Liu et al. 2020, https://arxiv.org/abs/1908.03265", buffer=MOMENT)
def radam(sheet: Sheet) -> Real:
    """ρ = ρ∞ − 2t·β₂ᵗ/(1−β₂ᵗ); θ ← θ − lr·m̂·r·√(1−β₂ᵗ)/(√v + ε) where ρ > 5, θ − lr·m̂ before."""
    n = sheet.n
    lr, eps = sheet.hyper.scalar("lr"), sheet.hyper.scalar("eps")
    beta1, beta2 = sheet.hyper.pair("betas")
    count = sheet.count()
    decoupled = sheet.hyper.flag("decoupled_weight_decay")
    sheet.direction(decay=not decoupled, viewed=True)
    if decoupled:
        sheet.decouple(lr)
    m = first_moment(sheet, beta1)
    v = second_moment(sheet, beta2)

    correction1, correction2 = 1 - beta1**count, 1 - beta2**count
    formula = f"m / (1 − {power(beta1, count)}) = m / {scalar(correction1)}"
    hat = sheet.line("corrected_first", "corrected", "m̂", formula, n.div(m, correction1))
    limit = 2 / (1 - beta2) - 1
    length = limit - 2 * count * (beta2**count) / correction2
    formula = f"{scalar(limit)} − 2 · {scalar(count)} · {power(beta2, count)} / (1 − {power(beta2, count)})"
    rectified = bool(length > 5.0)
    if sheet.capturable:  # ρ is a small difference of large numbers there, in float32
        relative = pow_slack(correction1, correction2) * (1.0 + float(limit))
        sheet.slack = abs(float(lr * hat)) * relative
    note = "over 5: adaptive" if rectified else "5 or less: not adaptive yet"
    sheet.line("length", "averaged over", "ρ", formula, float(length), note)
    if not rectified:
        change = sheet.line("change", "change", "Δ", f"−{scalar(lr)} · m̂", n.mul(hat, -lr))
        if sheet.mode == "foreach":
            return sheet.finish(_foreach(sheet, m, v, 0, lr / correction1, correction2, eps), change)
        return sheet.finish(n.sub(sheet.p, n.mul(hat, lr)), change)

    rectification = root((length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length))
    sheet.line("rectification", "rectification", "r", "√((ρ−4)(ρ−2)ρ∞ / ((ρ∞−4)(ρ∞−2)ρ))", float(rectification))
    denominator = sheet.line("denominator", "divisor", "d", f"√v + {scalar(eps)}", n.add(n.sqrt(v), eps))
    adaptive = n.mul(n.reciprocal(denominator), root(correction2))
    sheet.line("adaptive", "adaptive rate", "l", f"√(1 − {power(beta2, count)}) / d", adaptive)
    rate = n.wide(lr * rectification * adaptive)
    sheet.line("rate", "effective rate", "α", f"{scalar(lr)} · r · l", rate, "per unit of m̂")
    change = sheet.line("change", "change", "Δ", "−α · m̂", n.wide(-rate * hat))
    if sheet.mode == "foreach":
        step_size = lr * rectification / correction1
        return sheet.finish(_foreach(sheet, m, v, step_size, 0, correction2, eps), change)
    if sheet.capturable:
        update = n.mul(n.mul(hat, lr), n.mul(adaptive, rectification))
    else:
        update = n.mul(n.mul(n.mul(hat, lr), adaptive), rectification)
    return sheet.finish(n.sub(sheet.p, update), change)


def _foreach(sheet: Sheet, m: Real, v: Real, rectified: Any, unrectified: Any, correction2: Any, eps: Any) -> Real:
    """torch adds the rectified and the unrectified step size here, of which one is zero."""
    n = sheet.n
    scale = (root(correction2)) * rectified * -1
    if scale == 0:
        scale = np.float64(-0.0)
    per_unit = n.reciprocal(n.div(n.add(n.sqrt(v), eps), scale))
    return n.addcmul(sheet.p, m, n.add(per_unit, -unrectified))
