"""The hyperparameters that head an account."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from optrace.arithmetic.text import scalar

_SYMBOLS = {"betas": "β", "eps": "ε", "weight_decay": "λ", "momentum": "μ", "dampening": "τ", "alpha": "α", "rho": "ρ"}
_ALWAYS = ("lr", "betas", "momentum", "eps", "alpha", "rho")
_HIDDEN = ("params", "initial_lr", "max_lr", "min_lr", "base_lr", "ns_coefficients", "ns_steps")


def shown_hyper(hyper: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Names and values as they are shown: what shapes the update always, everything else where it is on."""
    rows = []
    ordered = [name for name in _ALWAYS if name in hyper] + [name for name in hyper if name not in _ALWAYS]
    for name in ordered:
        text = _text(hyper[name])
        if name in _HIDDEN or not text or (name not in ("lr", "betas", "eps") and text == "0"):
            continue
        rows.append((_SYMBOLS.get(name, name.replace("_", " ")), "" if text == "yes" else text))
    return tuple(rows)


def _text(value: Any) -> str:
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, (int, float, np.number)):
        return scalar(value)
    if isinstance(value, (tuple, list)):
        return " ".join(_text(item) or "auto" for item in value)
    return "" if value is None else str(value)
