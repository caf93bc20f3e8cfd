"""The words of conditions, what each means, and how a half-written one goes on."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from optrace.trace.format import KINDS

if TYPE_CHECKING:
    from optrace.trace.reader import Trace

EVENT_NAMES = {
    "kind": "what the event is: " + ", ".join(f'"{kind}"' for kind in KINDS[:4]) + ", …",
    "iteration": "the iteration, from 0",
    "index": "the event's place in its iteration",
    "seq": "the event's number in the trace",
    "loss": "the loss of a backward",
    "lr": "the learning rate of a step",
    "grad_norm": "norm of all gradients after the event",
    "param_norm": "norm of all parameters after the event",
    "nonfinite": "how many elements of parameters and gradients are NaN or Inf",
    "time": "seconds since the recording began",
    "duration": "seconds the call took",
    "depth": "1 inside a closure",
    "live_graphs": "loss graphs still alive",
    "line": "the source line",
    "optimizer": "the name of the optimizer that stepped",
    "failed": "the call raised",
    "skipped": "a step left out by a GradScaler",
    "by_hand": "noticed, not called",
    "finding": "the event has a finding",
}

PARAMETER_NAMES = {
    "grad_norm": "norm of its gradient",
    "norm": "norm of the parameter",
    "mean": "mean of the parameter",
    "min": "least element of the parameter",
    "max": "greatest element of the parameter",
    "grad_mean": "mean of its gradient",
    "grad_min": "least element of its gradient",
    "grad_max": "greatest element of its gradient",
    "nonfinite": "its NaN and Inf elements",
    "grad_nonfinite": "its gradient's NaN and Inf elements",
    "stale": "how many contributions in its gradient were applied before",
    "contributions": "how many contributions are in its gradient",
    "changed": "the event wrote the parameter",
    "grad_changed": "the event wrote its gradient",
}


class Function(NamedTuple):
    """A function of conditions."""

    arguments: int
    compute: Callable[..., Any]
    meaning: str


FUNCTIONS = {
    "isnan": Function(1, np.isnan, "is NaN"),
    "isinf": Function(1, np.isinf, "is infinite"),
    "isfinite": Function(1, np.isfinite, "is neither"),
    "abs": Function(1, np.abs, "size without sign"),
    "log10": Function(1, np.log10, "decimal logarithm"),
    "sqrt": Function(1, np.sqrt, "square root"),
    "min": Function(2, np.minimum, "the less of two"),
    "max": Function(2, np.maximum, "the greater of two"),
}

TESTS = ("isnan", "isinf", "isfinite")
"""Functions whose answer is yes or no; where there is nothing to ask about, it is no."""
_WORDS = ("and", "or", "not")


def complete(text: str, trace: Trace | None = None) -> list[tuple[str, str]]:
    """How a half-written condition may go on: whole texts, each with what its last word means."""
    if match := re.search(r"""param\(\s*["']([^"']*)$""", text):
        names = list(trace.parameters) if trace is not None else []
        start = text[: match.start(1)]
        return [(f'{start}{name}").', "") for name in names if match[1].lower() in name.lower()][:50]
    if match := re.search(r"""(\bkind\s*[=!]=\s*)["'](\w*)$""", text):
        return [(f'{text[: match.start(2)]}{kind}"', "a kind of event") for kind in KINDS if kind.startswith(match[2])]
    if match := re.search(r"\)\.(\w*)$", text):
        start = text[: match.start(1)]
        return [(start + name, meaning) for name, meaning in PARAMETER_NAMES.items() if name.startswith(match[1])]
    match = re.search(r"([A-Za-z_]\w*)?$", text)
    word = match[1] or "" if match else ""
    if word in _WORDS or (not word and re.search(r"[\w)\"']\s*$", text)):
        return []
    start = text[: len(text) - len(word)]
    found = [(start + name, meaning) for name, meaning in EVENT_NAMES.items() if name.startswith(word)]
    found += [(f"{start}{name}(", function.meaning) for name, function in FUNCTIONS.items() if name.startswith(word)]
    if "param".startswith(word):
        found.append((start + 'param("', "one parameter"))
    return found
