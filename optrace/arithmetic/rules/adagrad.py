"""Adagrad: a rate that falls with all squared gradients so far."""

from __future__ import annotations

from optrace.arithmetic.floating import Real
from optrace.arithmetic.rules.registry import elementwise
from optrace.arithmetic.sheet import Sheet, share
from optrace.arithmetic.text import scalar


@elementwise("Adagrad", paper="Duchi et al. 2011, https://jmlr.org/papers/v12/duchi11a.html", sparse=True)
def adagrad(sheet: Sheet) -> Real:
    """s ← s + g²; θ ← θ − lr/(1 + (t−1)·η) · g/(√s + ε)."""
    n = sheet.n
    lr, eps = sheet.hyper.scalar("lr"), sheet.hyper.scalar("eps")
    decay = sheet.hyper.scalar("lr_decay", 0.0)
    count = float(sheet.tensor("step", 0.0)) + 1
    sheet.direction()
    rate = lr / (1 + (count - 1) * decay)
    if decay:
        formula = f"{scalar(lr)} / (1 + {scalar(count - 1)} · {scalar(decay)})"
        sheet.line("decayed_rate", "decayed rate", "γ", formula, float(rate))
    gamma = "γ" if decay else scalar(rate)
    old = sheet.state("sum", float(sheet.hyper.get("initial_accumulator_value") or 0.0))
    total = sheet.line(
        "sum",
        "sum of squares",
        "s",
        f"{sheet.say(old)} + g²",
        n.addcmul(old, sheet.g, sheet.g, 1),
        share(sheet.g * sheet.g, old),
        state="sum",
    )
    d = sheet.line("denominator", "divisor", "d", f"√s + {scalar(eps)}", n.add(n.sqrt(total), eps))
    sheet.line("rate", "effective rate", "r", f"{gamma} / d", n.wide(rate / d), "per unit of g")
    change = sheet.line("change", "change", "Δ", f"−{gamma} · g / d", n.wide(-rate * sheet.g / d))
    if sheet.sparse:
        return sheet.finish(n.add(sheet.p, n.mul(n.div(sheet.g, d), -rate)), change)
    if sheet.mode == "foreach":
        in_place = sheet.hyper.flag("maximize") or sheet.hyper.scalar("weight_decay", 0.0) != 0
        numerator = n.scale(sheet.g, -rate) if in_place else n.mul(sheet.g, -rate)
        return sheet.finish(n.addcdiv(sheet.p, numerator, d), change)
    return sheet.finish(n.addcdiv(sheet.p, sheet.g, d, -rate), change)
