"""Every value as torch has it, to be compared with what a ring holds."""

from __future__ import annotations

from typing import Any

import torch


def now(named: dict[str, torch.Tensor], optimizer: torch.optim.Optimizer) -> dict[tuple[str, str], Any]:
    """Every value as torch has it: parameters, gradients, states."""
    found: dict[tuple[str, str], Any] = {}
    for name, parameter in named.items():
        found[name, "param"] = parameter.detach().numpy().copy()
        found[name, "grad"] = None if parameter.grad is None else parameter.grad.numpy().copy()
        for key, value in optimizer.state.get(parameter, {}).items():
            found[name, key] = None if value is None else torch.as_tensor(value).numpy().copy()
    return found


def same(trace: Any, seq: int, expected: dict[tuple[str, str], Any]) -> None:
    for (name, kind), value in expected.items():
        if kind not in ("param", "grad") and kind not in trace.kinds(name):
            assert value is None
            continue
        found = trace.value(name, kind, at=seq)
        assert (found is None) == (value is None), (name, kind, seq)
        if value is not None:
            assert found.dtype == value.dtype
            assert found.tobytes() == value.tobytes(), (name, kind, seq)
