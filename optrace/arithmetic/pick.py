"""What of a step belongs to one element, and which implementation ran."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from optrace.arithmetic.account import SparseValue, StepInput, Tensor

_FOREACH_DEVICES = ("cuda", "xpu", "mtia")


def gradient_at(grad: Tensor | None, element: tuple[int, ...]) -> Any:
    """The gradient's number at the element; None where a sparse one has no entry there."""
    if not isinstance(grad, SparseValue):
        return None if grad is None else grad[element]
    dims = grad.indices.shape[0]
    hits = np.flatnonzero((grad.indices == np.asarray(element[:dims]).reshape(-1, 1)).all(axis=0))
    total: Any = None
    for hit in hits:  # an uncoalesced gradient names an element more than once; torch adds the entries up
        value = grad.values[(hit, *element[dims:])]
        total = value if total is None else total + value
    return total


def state_at(state: Mapping[str, Any], shape: tuple[int, ...], element: tuple[int, ...]) -> dict[str, Any]:
    """The state's numbers that belong to the element: its own, and those of the whole parameter."""
    numbers: dict[str, Any] = {}
    for name, value in state.items():
        if isinstance(value, SparseValue):
            found = gradient_at(value, element)
            numbers[name] = value.values.dtype.type(0) if found is None else found
        elif isinstance(value, np.ndarray):
            if value.shape == shape:
                numbers[name] = value[element]
            elif value.size == 1:
                numbers[name] = value.reshape(-1)[0]
        elif isinstance(value, (bool, int, float, complex, np.generic)):
            numbers[name] = value
    return numbers


def implementation(step: StepInput) -> str:
    """Which of torch's implementations ran: `single`, `foreach` or `fused`."""
    if step.hyper.get("fused"):
        return "fused"
    foreach = step.hyper.get("foreach")
    if foreach is not None:
        return "foreach" if foreach else "single"
    by_default = step.device.split(":")[0] in _FOREACH_DEVICES and not step.hyper.get("differentiable")
    return "foreach" if by_default and step.hyper.get("fused") is None else "single"
