"""L-BFGS: what a step did, from the state it left. Its inner iterations are its own business."""

from __future__ import annotations

from typing import Any

import numpy as np

from optrace.arithmetic.account import Account, StepInput, Term
from optrace.arithmetic.conclude import conclude
from optrace.arithmetic.floating import Floating
from optrace.arithmetic.general import angle, dense, wide
from optrace.arithmetic.rules.registry import whole
from optrace.arithmetic.text import number, scalar


@whole("LBFGS", paper="Liu & Nocedal 1989; Nocedal & Wright, Numerical Optimization, algorithms 7.4 and 7.5")
def lbfgs(step: StepInput, element: tuple[int, ...]) -> Account:
    """θ ← θ + t·d at each inner iteration, d = −H·g from the last differences. The state keeps the last d and t.

    `state_after["d"]` is this parameter's stretch of the flat direction, in its shape.
    """
    n = Floating(step.dtype)
    before, after = wide(step.before), wide(step.after)
    change = after - before
    terms = []
    evaluations, iterations = _grown(step, "func_evals"), _grown(step, "n_iter")
    if evaluations is not None:
        terms.append(Term("evaluations", "evaluations", "", "of the closure, in this step", evaluations))
    if iterations is not None:
        terms.append(Term("iterations", "inner iterations", "", "", iterations))
    history = sum(name.startswith("old_dirs.") for name in step.state_after)
    terms.append(Term("history", "history", "", "pairs of differences kept", float(history)))
    if step.grad is not None:
        gradient = dense(step.grad)
        terms.append(_line("gradient", "gradient", "g", "as the last evaluation left it", gradient[element], n))
    direction, t = step.state_after.get("d"), step.state_after.get("t")
    move: Any = None
    if direction is not None and np.shape(direction) == step.shape and t is not None:
        length = np.asarray(t).reshape(-1)[0]
        d = wide(np.asarray(direction))
        slope = scalar(np.float64(_number(step, "H_diag")))
        note = f"H starts from {slope}" if "H_diag" in step.state_after else ""
        terms.append(_line("direction", "last direction", "d", "−H · g", d[element], n, note))
        terms.append(Term("step_length", "step length", "t", _length(step), float(length)))
        move = n.add(before[element].real, d[element].real, float(length))
        if not np.isrealobj(before):
            move = complex(move, n.add(before[element].imag, d[element].imag, float(length)))
        terms.append(_line("last_move", "last move", "", "t · d", float(length) * d[element], n))
        turned = angle(d, change)
        if not np.isnan(turned):
            terms.append(
                Term("angle", "angle of d", "∠", "in degrees", float(f"{turned:.4g}"), "to all that this step moved")
            )
    terms.append(_line("change", "change", "Δ", "new − old", change[element], n))
    moved = float(np.linalg.norm(change.ravel()))
    terms.append(Term("change_norm", "‖change‖", "‖Δ‖", "of the whole parameter", moved))
    if iterations == 1 and move is not None:
        start = before[element]
        text = number(start.real, n.name) if np.isrealobj(start) else f"({start:.6g})"
        terms.append(_line("parameter", "parameter", "θ", f"{text} + t · d", move, n))
        return conclude(step, element, terms, move)
    reason = "only the last inner iteration's direction is kept, so the sum of them cannot be computed again"
    if iterations == 0:
        reason = "no inner iteration ran: the gradient was already within tolerance_grad"
    return conclude(step, element, terms, None, reason=reason)


def _number(step: StepInput, name: str) -> float:
    return float(np.asarray(step.state_after.get(name, np.nan)).reshape(-1)[0].real)


def _grown(step: StepInput, name: str) -> float | None:
    """By how much a counter in the state went up."""
    if name not in step.state_after:
        return None
    return _number(step, name) - float(np.asarray(step.state_before.get(name, 0)).reshape(-1)[0])


def _length(step: StepInput) -> str:
    if step.hyper.get("line_search_fn"):
        return f"by {step.hyper['line_search_fn']} line search"
    return "min(1, 1/Σ|g|) · lr" if _number(step, "n_iter") == 1 else "lr"


def _line(key: str, label: str, symbol: str, formula: str, value: Any, n: Floating, note: str = "") -> Term:
    if np.iscomplexobj(value):
        return Term(key, label, symbol, formula, f"{complex(value):.6g}", note)
    return Term(key, label, symbol, formula, float(n.wide(value)), note)
