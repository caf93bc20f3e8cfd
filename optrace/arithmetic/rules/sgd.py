"""SGD: momentum, dampening, Nesterov."""

from __future__ import annotations

from optrace.arithmetic.buffers import MOMENTUM
from optrace.arithmetic.floating import Real
from optrace.arithmetic.rules.registry import elementwise
from optrace.arithmetic.sheet import Sheet, share
from optrace.arithmetic.text import scalar


@elementwise(
    "SGD",
    paper="Sutskever et al. 2013, On the importance of initialization and momentum in deep learning",
    sparse=True,
    buffer=MOMENTUM,
)
def sgd(sheet: Sheet) -> Real:
    """b ← μ·b + (1−τ)·g, but b ← g at the first step; with Nesterov g + μ·b; θ ← θ − lr·b."""
    n = sheet.whole
    lr, momentum, dampening = (sheet.hyper.scalar(name, 0.0) for name in ("lr", "momentum", "dampening"))
    sheet.direction(viewed=False)
    sheet.slack = abs(lr) * sheet.blur
    symbol = "g"
    if momentum != 0:
        if not sheet.has("momentum_buffer"):
            note = "the first step takes the gradient whole" if dampening else "starts as the gradient"
            buffer = sheet.line("momentum", "momentum", "b", "g", sheet.g, note, state="momentum_buffer")
        else:
            old = sheet.state("momentum_buffer")
            kept = n.scale(old, momentum)
            gain = 1 - dampening
            sheet.slack += abs(lr) * n.spacing(max(abs(kept), abs(gain * sheet.g)))
            added = "g" if gain == 1 else f"{scalar(gain)} · g"
            buffer = sheet.line(
                "momentum",
                "momentum",
                "b",
                f"{scalar(momentum)} · {sheet.say(old)} + {added}",
                n.add(kept, sheet.g, gain),
                share(gain * sheet.g, kept),
                state="momentum_buffer",
            )
        if sheet.hyper.flag("nesterov"):
            ahead = n.add(sheet.g, buffer, momentum)
            sheet.g = sheet.line("nesterov", "nesterov", "g", f"g + {scalar(momentum)} · b", ahead, "a look ahead")
        else:
            sheet.g, symbol = buffer, "b"
    change = sheet.line("change", "change", "Δ", f"−{scalar(lr)} · {symbol}", n.wide(n.wide(-lr) * sheet.g))
    return sheet.finish(n.add(sheet.p, sheet.g, -lr), change)
