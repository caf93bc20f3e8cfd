"""NAdam: Adam with Nesterov momentum."""

from __future__ import annotations

from typing import Any

from optrace.arithmetic.buffers import MOMENT
from optrace.arithmetic.floating import Real
from optrace.arithmetic.rules.adam import first_moment, pow_slack, root, second_moment
from optrace.arithmetic.rules.registry import elementwise
from optrace.arithmetic.sheet import Sheet
from optrace.arithmetic.text import power, scalar


@elementwise(
    "NAdam",
    paper="Dozat 2016, Incorporating Nesterov Momentum into Adam, https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ",
    buffer=MOMENT,
)
def nadam(sheet: Sheet) -> Real:
    """μ = β₁·(1 − ½·0.96^(t·ψ)); θ ← θ − lr·[(1−μ)·g/(1−Πμ) + μ'·m/(1−Πμ·μ')] / (√v̂ + ε)."""
    n = sheet.n
    lr, eps, psi = sheet.hyper.scalar("lr"), sheet.hyper.scalar("eps"), sheet.hyper.scalar("momentum_decay")
    beta1, beta2 = sheet.hyper.pair("betas")
    count = sheet.count()
    decoupled = sheet.hyper.flag("decoupled_weight_decay")
    sheet.direction(decay=not decoupled, viewed=True)
    if decoupled:
        sheet.decouple(lr)

    mu = beta1 * (1.0 - 0.5 * (0.96 ** (count * psi)))
    mu_next = beta1 * (1.0 - 0.5 * (0.96 ** ((count + 1) * psi)))
    old_product = sheet.tensor("mu_product", 1.0)
    product = type(old_product)(old_product * mu)
    _line(sheet, "mu", "momentum now", "μ", beta1, f"{scalar(count)} · {scalar(psi)}", mu)
    _line(sheet, "mu_next", "momentum next", "μ′", beta1, f"{scalar(count + 1)} · {scalar(psi)}", mu_next)
    sheet.scalar_line("mu_product", "their product", "Π", f"{scalar(old_product)} · μ", product, "mu_product")

    m = first_moment(sheet, beta1)
    v = second_moment(sheet, beta2)
    correction2 = 1 - beta2**count
    formula = f"v / (1 − {power(beta2, count)}) = v / {scalar(correction2)}"
    sheet.line("corrected_second", "corrected", "v̂", formula, n.wide(v / correction2))
    if sheet.mode == "foreach":
        denominator = n.add(n.div(n.sqrt(v), root(correction2)), eps)
    else:
        denominator = n.add(n.sqrt(n.div(v, correction2)), eps)
    sheet.line("denominator", "divisor", "d", f"√v̂ + {scalar(eps)}", denominator)

    held: Any = product if sheet.capturable or sheet.hyper.flag("differentiable") else float(product)
    for_g = lr * (1.0 - mu) / (1.0 - held)
    for_m = lr * mu_next / (1.0 - held * mu_next)
    sheet.line("rate_g", "rate of g", "α", f"{scalar(lr)} · (1 − μ) / (1 − Π)", float(for_g))
    sheet.line("rate_m", "rate of m", "β", f"{scalar(lr)} · μ′ / (1 − Π · μ′)", float(for_m))
    moved = n.wide((-for_g * sheet.g - for_m * m) / denominator)
    change = sheet.line("change", "change", "Δ", "−(α · g + β · m) / d", moved)
    if sheet.capturable:
        sheet.slack = abs(change) * pow_slack(correction2, 1.0 - held, 1.0 - held * mu_next)
    return sheet.finish(_moved(sheet, m, denominator, -for_g, -for_m), change)


def _moved(sheet: Sheet, m: Real, denominator: Real, for_g: Any, for_m: Any) -> Real:
    n = sheet.n
    if sheet.capturable and sheet.mode == "foreach":
        return n.addcdiv(sheet.p, n.addcmul(n.mul(sheet.g, for_g), n.stored(for_m), m), denominator)
    if sheet.capturable or sheet.hyper.flag("differentiable"):
        halfway = n.addcdiv(sheet.p, n.mul(sheet.g, for_g), denominator)
        return n.addcdiv(halfway, n.mul(m, for_m), denominator)
    return n.addcdiv(n.addcdiv(sheet.p, sheet.g, denominator, for_g), m, denominator, for_m)


def _line(sheet: Sheet, key: str, label: str, symbol: str, beta1: Any, exponent: str, value: Any) -> None:
    sheet.line(key, label, symbol, f"{scalar(beta1)} · (1 − ½ · 0.96^({exponent}))", float(value))
