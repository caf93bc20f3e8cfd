"""SparseAdam: Adam on the entries that a sparse gradient names."""

from __future__ import annotations

import math

from optrace.arithmetic.floating import Real
from optrace.arithmetic.rules.registry import elementwise
from optrace.arithmetic.sheet import Sheet, share
from optrace.arithmetic.text import power, scalar


@elementwise("SparseAdam", paper="Kingma & Ba 2015, Adam, https://arxiv.org/abs/1412.6980", sparse=True)
def sparse_adam(sheet: Sheet) -> Real:
    """As Adam, with ε outside the bias correction: θ ← θ − lr·√(1−β₂ᵗ)/(1−β₁ᵗ) · m/(√v + ε)."""
    n = sheet.n
    lr, eps = sheet.hyper.scalar("lr"), sheet.hyper.scalar("eps")
    beta1, beta2 = sheet.hyper.pair("betas")
    count = int(sheet.tensor("step", 0.0)) + 1
    sheet.direction(decay=False)

    old_m, old_v = sheet.state("exp_avg"), sheet.state("exp_avg_sq")
    step_m = n.mul(n.sub(sheet.g, old_m), 1 - beta1)
    step_v = n.mul(n.sub(n.mul(sheet.g, sheet.g), old_v), 1 - beta2)
    m = sheet.line(
        "first_moment",
        "first moment",
        "m",
        f"{scalar(beta1)} · {sheet.say(old_m)} + {scalar(1 - beta1)} · g",
        n.add(step_m, old_m),
        share((1 - beta1) * sheet.g, beta1 * old_m),
        state="exp_avg",
    )
    v = sheet.line(
        "second_moment",
        "second moment",
        "v",
        f"{scalar(beta2)} · {sheet.say(old_v)} + {scalar(1 - beta2)} · g²",
        n.add(step_v, old_v),
        share((1 - beta2) * sheet.g * sheet.g, beta2 * old_v),
        state="exp_avg_sq",
    )
    denominator = sheet.line("denominator", "divisor", "d", f"√v + {scalar(eps)}", n.add(n.sqrt(v), eps))
    correction1, correction2 = 1 - beta1**count, 1 - beta2**count
    step_size = lr * math.sqrt(correction2) / correction1
    formula = f"{scalar(lr)} · √(1 − {power(beta2, count)}) / (1 − {power(beta1, count)})"
    sheet.line("step_size", "corrected rate", "α", formula, float(step_size))
    sheet.line("rate", "effective rate", "r", "α / d", n.wide(step_size / denominator), "per unit of m")
    change = sheet.line("change", "change", "Δ", "−r · m", n.mul(n.div(m, denominator), -step_size))
    return sheet.finish(n.add(sheet.p, change), change)
