"""Real torch steps as the arithmetic wants to see them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import torch

from optrace.arithmetic.account import SparseValue, StepInput


def array(tensor: torch.Tensor) -> Any:
    """A copy of a tensor as the trace's reader gives it."""
    tensor = tensor.detach()
    if tensor.is_sparse:
        indices, values = tensor._indices(), tensor._values()
        return SparseValue(indices.numpy().copy(), array(values), tuple(tensor.shape))
    if tensor.dtype == torch.bfloat16:
        return tensor.contiguous().view(torch.int16).numpy().copy().view(ml_dtypes.bfloat16)
    return tensor.numpy().copy()


def plain(value: Any) -> Any:
    """A hyperparameter: a tensor becomes a NumPy scalar of its dtype."""
    if isinstance(value, torch.Tensor):
        return array(value).reshape(-1)[0]
    if isinstance(value, (tuple, list)):
        return tuple(map(plain, value))
    return value


def state_of(optimizer: torch.optim.Optimizer, parameter: torch.Tensor) -> dict[str, Any]:
    state = optimizer.state.get(parameter, {})
    return {
        name: array(value) if isinstance(value, torch.Tensor) else copy.copy(value)
        for name, value in state.items()
        if value is not None
    }


def steps(
    optimizer: torch.optim.Optimizer,
    parameter: torch.Tensor,
    gradients: list[torch.Tensor | None],
    grad_scale: float | None = None,
) -> Iterator[StepInput]:
    """Let `optimizer` take one step with each gradient and give what went in and what came out."""
    for gradient in gradients:
        parameter.grad = None if gradient is None else gradient.clone()
        before, state = array(parameter), state_of(optimizer, parameter)
        optimizer.step()
        group = {name: plain(value) for name, value in optimizer.param_groups[0].items() if name != "params"}
        yield StepInput(
            class_name=type(optimizer).__name__,
            hyper=group,
            before=before,
            after=array(parameter),
            grad=None if gradient is None else array(gradient),
            state_before=state,
            state_after=state_of(optimizer, parameter),
            dtype=str(parameter.dtype),
            parameter="w",
            grad_scale=grad_scale,
        )
