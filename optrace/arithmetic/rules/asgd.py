"""ASGD: stochastic gradient descent with an average of the iterates beside it."""

from __future__ import annotations

from typing import Any

from optrace.arithmetic.floating import Real
from optrace.arithmetic.rules.adam import over
from optrace.arithmetic.rules.registry import elementwise
from optrace.arithmetic.sheet import Sheet
from optrace.arithmetic.text import scalar


@elementwise(
    "ASGD", paper="Polyak & Juditsky 1992, https://doi.org/10.1137/0330046; Bottou 2012, Stochastic gradient tricks"
)
def asgd(sheet: Sheet) -> Real:
    """θ ← θ·(1 − λ·η) − η·g; ā ← ā + μ·(θ − ā); η ← lr/(1 + λ·lr·t)^α; μ ← 1/max(1, t − t₀)."""
    n = sheet.n
    lr, lambd, alpha, t0 = (sheet.hyper.scalar(name) for name in ("lr", "lambd", "alpha", "t0"))
    held_eta, held_mu = sheet.tensor("eta", float(lr)), sheet.tensor("mu", 1.0)
    eta: Any = held_eta if sheet.capturable else float(held_eta)
    sheet.direction(viewed=True)
    sheet.line("rate", "effective rate", "η", "", float(eta), "left by the step before")
    if sheet.mode == "foreach":
        pull = n.add(sheet.g, sheet.p, lambd)
        formula = f"g + {scalar(lambd)} · {sheet.say(sheet.p)}"
        sheet.g = sheet.line("decay", "with decay", "g", formula, pull)
        new = n.addcmul(sheet.p, pull, n.stored(eta), -1)
    else:
        formula = f"{sheet.say(sheet.p)} · (1 − {scalar(lambd)} · η)"
        sheet.p = sheet.line("decay", "decay", "θ", formula, n.mul(sheet.p, 1 - lambd * eta))
        new = n.addcmul(sheet.p, sheet.g, n.stored(eta), -1) if sheet.capturable else n.add(sheet.p, sheet.g, -eta)
    change = sheet.line("change", "change", "Δ", "−η · g", n.wide(n.wide(-eta) * sheet.g))
    result = sheet.finish(new, change)
    _averages(sheet, new, held_mu)

    count = sheet.count() if sheet.capturable else float(sheet.tensor("step", 0.0)) + 1
    next_eta = over(lr, (1 + lambd * lr * count) ** alpha)
    next_mu = over(1.0, max(count - t0, type(count)(1)))
    formula = f"{scalar(lr)} / (1 + {scalar(lambd)} · {scalar(lr)} · {scalar(count)})^{scalar(alpha)}"
    sheet.scalar_line("next_rate", "next rate", "η", formula, type(held_eta)(next_eta), "eta")
    formula = f"1 / max(1, {scalar(count)} − {scalar(t0)})"
    sheet.scalar_line("next_share", "next share", "μ", formula, type(held_mu)(next_mu), "mu")
    return result


def _averages(sheet: Sheet, new: Real, mu: Any) -> None:
    n, old = sheet.n, sheet.state("ax")
    if sheet.mode == "foreach":
        average, formula = n.addcmul(old, n.sub(new, old), n.stored(mu)), f"{sheet.say(old)} + {scalar(mu)} · (θ − a)"
    elif sheet.capturable or mu != 1:
        average, formula = n.add(old, n.mul(n.sub(new, old), mu)), f"{sheet.say(old)} + {scalar(mu)} · (θ − a)"
    else:
        average, formula = new, "θ"
    sheet.line("average", "average", "a", formula, average, state="ax")
