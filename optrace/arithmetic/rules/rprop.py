"""Rprop: the sign of the gradient, and a step size of its own for every element."""

from __future__ import annotations

import numpy as np

from optrace.arithmetic.floating import Real
from optrace.arithmetic.rules.registry import elementwise
from optrace.arithmetic.sheet import Sheet
from optrace.arithmetic.text import scalar


@elementwise("Rprop", paper="Riedmiller & Braun 1993, A direct adaptive method for faster backpropagation learning")
def rprop(sheet: Sheet) -> Real:
    """s ← clamp(s·η): η₊ while the sign of g holds, η₋ (and no move) where it turned, else 1; θ ← θ − sign(g)·s."""
    n = sheet.n
    eta_minus, eta_plus = sheet.hyper.pair("etas")
    smallest, largest = sheet.hyper.pair("step_sizes")
    sheet.direction(decay=False)
    previous, old = sheet.state("prev"), sheet.state("step_size", float(sheet.hyper.scalar("lr")))
    agreement = n.mul(sheet.g, previous)
    if agreement > 0:
        factor, note = eta_plus, "the gradient's sign held: a longer step"
    elif agreement < 0:
        factor, note = eta_minus, "the gradient's sign turned: a shorter step"
    else:
        factor, note = 1.0, "no sign to compare: the same step"
    sheet.line("agreement", "with the last one", "", f"g · {sheet.say(previous)}", agreement)
    # torch keeps the factor in a tensor of the parameter's dtype.
    size = np.clip(n.mul(old, n.stored(factor)), n.stored(smallest), n.stored(largest))
    formula = f"clamp({sheet.say(old)} · {scalar(factor)}, {scalar(smallest)}, {scalar(largest)})"
    sheet.line("step_size", "step size", "s", formula, size, note, state="step_size")
    if n.stored(factor) == n.stored(eta_minus):
        sheet.g = np.float64(0.0)
        sheet.line("held_back", "held back", "g", "0", sheet.g, "no move after a turn", state="prev")
    sign = np.float64(int(sheet.g > 0) - int(sheet.g < 0))  # torch's sign of nan is 0
    change = sheet.line("change", "change", "Δ", "−sign(g) · s", -sign * size)
    return sheet.finish(n.addcmul(sheet.p, sign, size, -1), change)
