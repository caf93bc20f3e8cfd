"""An account in words: `grad 300 = 200 (iteration 0, x.py:9, already applied) + 100 (this backward)`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from optrace.ledger.account import Account, Adjustment, Contribution, norm, short

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]


def sentence(account: Account, limit: int) -> str:
    """What the gradient is made of, in one line."""
    if account.unrecorded:
        return f"{account.parameter.name}: not recorded here (a gap)"
    if not account.present:
        return f"{account.parameter.name}: no gradient"
    if not account.inside:
        return f"{account.parameter.name}: grad of zeros, no contributions"
    shown = account.inside[max(0, len(account.inside) - limit) :]
    left_out = len(account.inside) - len(shown)
    uniform = _all_single(account, shown)
    parts = [_term(account, contribution, uniform) for contribution in shown]
    if left_out:
        parts.insert(0, f"{left_out:,} older contributions ({min(account.stale, left_out):,} already applied)")
    text = f"grad {_number(account, account.gradient, uniform)} = " + " + ".join(parts)
    changes = [_change(change) for change in account.adjustments[-limit:]]
    return text + ("; then " + ", ".join(changes) if changes else "")


_HERE = {"backward": "this backward", "by hand": "put there by hand here", "found": "found there"}


def _term(account: Account, contribution: Contribution, uniform: bool) -> str:
    number = _number(account, contribution.value, uniform)
    if contribution.here:
        words = [_HERE[contribution.origin]]
    else:
        words = [f"iteration {contribution.iteration}"]
        if contribution.origin != "backward":
            words.insert(0, "put there by hand" if contribution.origin == "by hand" else "found there")
        if contribution.site is not None:
            words.append(f"{short(contribution.site.file)}:{contribution.site.line}")
    now = contribution.last_use == account.seq
    before = contribution.applied - now
    if before:
        words.append("already applied" + (f" {before:,} times" if before > 1 else ""))
    if now:
        what = "change by hand" if contribution.uses[-1].optimizer is None else "step"
        words.append(f"applied again by this {what}" if before else f"applied by this {what}")
    return f"{number} ({', '.join(words)})"


def _change(change: Adjustment) -> str:
    text = f"{change.word} at {change.position}"
    return f"{text} (× {change.factor:.6g})" if change.factor is not None else text


def _number(account: Account, value: Array | None, uniform: bool) -> str:
    if value is None:
        return "?"
    if account.element is not None:
        return "?" if value.shape != account.parameter.shape else _plain(value[account.element])
    return _plain(value.flat[0]) if uniform else f"‖{norm(value):.6g}‖"


def _plain(number: Any) -> str:
    return f"{number:.6g}" if not np.iscomplexobj(number) else f"{number:.4g}"


def _all_single(account: Account, shown: Any) -> bool:
    """Every element of the gradient and of every contribution shown is one and the same number."""
    if account.element is not None:
        return False
    for value in (account.gradient, *(contribution.value for contribution in shown)):
        if value is None or not value.size:
            return False
        if not np.allclose(value, value.flat[0], rtol=1e-6, atol=0, equal_nan=True):
            return False
    return True
