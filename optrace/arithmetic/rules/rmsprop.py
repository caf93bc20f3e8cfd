"""RMSprop, plain, centered and with momentum."""

from __future__ import annotations

import numpy as np

from optrace.arithmetic.buffers import SCALED
from optrace.arithmetic.floating import Real
from optrace.arithmetic.rules.adam import second_moment
from optrace.arithmetic.rules.registry import elementwise
from optrace.arithmetic.sheet import Sheet, share
from optrace.arithmetic.text import scalar


@elementwise(
    "RMSprop",
    paper="Hinton 2012, lecture 6e; centered: Graves 2013, https://arxiv.org/abs/1308.0850",
    buffer=SCALED,
)
def rmsprop(sheet: Sheet) -> Real:
    """v ← α·v + (1−α)·g²; θ ← θ − lr·g/(√v + ε), centered √(v − ḡ²), with momentum b ← μ·b + g/(…)."""
    n = sheet.n
    lr, alpha, eps = (sheet.hyper.scalar(name) for name in ("lr", "alpha", "eps"))
    momentum = sheet.hyper.scalar("momentum", 0.0)
    sheet.direction()
    v = second_moment(sheet, alpha, "square_avg")
    symbol = "√v"
    if sheet.hyper.flag("centered"):
        old = sheet.state("grad_avg")
        average = sheet.line(
            "mean_gradient",
            "mean gradient",
            "a",
            f"{scalar(alpha)} · {sheet.say(old)} + {scalar(1 - alpha)} · g",
            n.lerp(old, sheet.g, 1 - alpha),
            share((1 - alpha) * sheet.g, alpha * old),
            state="grad_avg",
        )
        v = sheet.line("variance", "variance", "w", "v − a²", n.addcmul(v, average, average, -1), "centered")
        symbol = "√w"
        relative = n.spacing(average * average) / v if v > 0 else 0.0  # lost where a² nearly equals v
        sheet.slack = abs(float(lr * sheet.g / np.sqrt(v))) * relative
    d = sheet.line("denominator", "divisor", "d", f"{symbol} + {scalar(eps)}", n.add(n.sqrt(v), eps))
    sheet.line("rate", "effective rate", "r", f"{scalar(lr)} / d", n.wide(lr / d), "per unit of g")
    folded = sheet.mode == "foreach" and sheet.capturable and not isinstance(lr, float)
    if momentum > 0:
        old = sheet.state("momentum_buffer")
        kept = n.scale(old, momentum)
        buffer = sheet.line(
            "momentum",
            "momentum",
            "b",
            f"{scalar(momentum)} · {sheet.say(old)} + g / d",
            n.addcdiv(kept, sheet.g, d),
            share(sheet.g / d, kept),
            state="momentum_buffer",
        )
        sheet.slack += abs(lr) * 2 * n.spacing(max(abs(kept), abs(sheet.g / d)))
        change = sheet.line("change", "change", "Δ", f"−{scalar(lr)} · b", n.wide(n.wide(-lr) * buffer))
        if folded:
            return sheet.finish(n.add(sheet.p, n.mul(buffer, -lr)), change)
        return sheet.finish(n.add(sheet.p, buffer, -lr), change)
    change = sheet.line("change", "change", "Δ", f"−{scalar(lr)} · g / d", n.wide(-lr * sheet.g / d))
    if folded:
        return sheet.finish(n.addcdiv(sheet.p, sheet.g, n.div(d, -lr)), change)
    return sheet.finish(n.addcdiv(sheet.p, sheet.g, d, -lr), change)
