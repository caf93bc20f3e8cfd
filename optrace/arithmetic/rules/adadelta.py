"""Adadelta: steps in the units of past steps."""

from __future__ import annotations

from optrace.arithmetic.floating import Real
from optrace.arithmetic.rules.adam import second_moment
from optrace.arithmetic.rules.registry import elementwise
from optrace.arithmetic.sheet import Sheet, share
from optrace.arithmetic.text import scalar


@elementwise("Adadelta", paper="Zeiler 2012, https://arxiv.org/abs/1212.5701")
def adadelta(sheet: Sheet) -> Real:
    """v ← ρ·v + (1−ρ)·g²; δ = √(u + ε)/√(v + ε)·g; u ← ρ·u + (1−ρ)·δ²; θ ← θ − lr·δ."""
    n = sheet.n
    lr, rho, eps = (sheet.hyper.scalar(name) for name in ("lr", "rho", "eps"))
    sheet.direction()
    v = second_moment(sheet, rho, "square_avg")
    old = sheet.state("acc_delta")
    size = n.sqrt(n.add(v, eps))
    sheet.line("denominator", "gradient size", "d", f"√(v + {scalar(eps)})", size)
    past = n.sqrt(n.add(old, eps))
    sheet.line("past_size", "past step size", "n", f"√({sheet.say(old)} + {scalar(eps)})", past)
    sheet.line("rate", "effective rate", "r", f"{scalar(lr)} · n / d", n.wide(lr * past / size), "per unit of g")
    delta = sheet.line("delta", "rescaled", "δ", "n / d · g", n.mul(n.div(past, size), sheet.g))
    kept = n.scale(old, rho)
    sheet.line(
        "squared_steps",
        "squared steps",
        "u",
        f"{scalar(rho)} · {sheet.say(old)} + {scalar(1 - rho)} · δ²",
        n.addcmul(kept, delta, delta, 1 - rho),
        share((1 - rho) * delta * delta, kept),
        state="acc_delta",
    )
    change = sheet.line("change", "change", "Δ", f"−{scalar(lr)} · δ", n.wide(n.wide(-lr) * delta))
    if sheet.mode == "foreach" and sheet.capturable and not isinstance(lr, float):
        return sheet.finish(n.add(sheet.p, n.mul(delta, -lr)), change)
    add = n.add if sheet.mode == "foreach" else sheet.whole.add
    return sheet.finish(add(sheet.p, delta, -lr), change)
