"""Adamax: Adam by the infinity norm."""

from __future__ import annotations

import numpy as np

from optrace.arithmetic.buffers import MOMENT
from optrace.arithmetic.floating import Real
from optrace.arithmetic.rules.adam import first_moment, pow_slack
from optrace.arithmetic.rules.registry import elementwise
from optrace.arithmetic.sheet import Sheet
from optrace.arithmetic.text import power, scalar


@elementwise("Adamax", paper="Kingma & Ba 2015, Adam, section 7, https://arxiv.org/abs/1412.6980", buffer=MOMENT)
def adamax(sheet: Sheet) -> Real:
    """m ← β₁·m + (1−β₁)·g; u ← max(β₂·u, |g| + ε); θ ← θ − lr/(1−β₁ᵗ) · m/u."""
    n = sheet.n
    lr, eps = sheet.hyper.scalar("lr"), sheet.hyper.scalar("eps")
    beta1, beta2 = sheet.hyper.pair("betas")
    count = sheet.count()
    sheet.direction()
    m = first_moment(sheet, beta1)
    old = sheet.state("exp_inf")
    kept, fresh = n.scale(old, beta2), n.add(abs(sheet.g), eps)
    u = sheet.line(
        "infinity_norm",
        "infinity norm",
        "u",
        f"max({scalar(beta2)} · {sheet.say(old)}, |g| + {scalar(eps)})",
        np.maximum(kept, fresh),
        "the gradient's own size" if fresh >= kept else "an earlier gradient's, decayed",
        state="exp_inf",
    )
    correction = 1 - beta1**count
    formula = f"{scalar(lr)} / (1 − {power(beta1, count)}) = {scalar(lr)} / {scalar(correction)}"
    step_size = sheet.line("step_size", "corrected rate", "α", formula, float(lr / correction))
    sheet.line("rate", "effective rate", "r", "α / u", n.wide(np.divide(step_size, u)), "per unit of m")
    change = sheet.line("change", "change", "Δ", "−r · m", n.wide(np.divide(-step_size * m, u)))
    if sheet.capturable:
        sheet.slack = abs(change) * pow_slack(correction)
        return sheet.finish(n.addcdiv(sheet.p, m, n.mul(u, -correction / lr)), change)
    return sheet.finish(n.addcdiv(sheet.p, m, u, -(lr / correction)), change)
