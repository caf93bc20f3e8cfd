"""Looking for the next event where a condition holds: in stretches, with progress, and stoppable."""

from __future__ import annotations

import ast
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from optrace.tui.core.conditions.columns import Columns
from optrace.tui.core.conditions.grammar import Condition, ConditionError, is_parameter, parameter_name
from optrace.tui.core.conditions.names import FUNCTIONS, TESTS
from optrace.tui.core.machine import Machine

Array = np.ndarray[Any, Any]
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.Mod: np.mod,
}
SMALLEST, LARGEST = 128, 16_384


@dataclass(frozen=True)
class Progress:
    """How far a search has come."""

    looked: int
    total: int


def holds(condition: Condition, columns: Columns) -> Array:
    """For each event of the stretch, whether the condition holds. Comparisons with what is absent do not."""
    with np.errstate(all="ignore"):
        try:
            found = np.asarray(_value(condition.tree, columns))
        except (TypeError, ValueError, np.exceptions.DTypePromotionError) as error:
            raise ConditionError("numbers and words cannot be compared with each other") from error
    if found.dtype.kind not in "biuf":
        raise ConditionError("this is a word, not a condition; compare it with something")
    if found.dtype.kind == "f":
        found = np.nan_to_num(found) != 0
    return np.broadcast_to(found.astype(bool), (len(columns),))


def _value(node: ast.expr, columns: Columns) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return columns.event(node.id)
    if isinstance(node, ast.Attribute) and is_parameter(node.value):
        assert isinstance(node.value, ast.Call)
        parameter = columns.trace.parameter(parameter_name(node.value))
        return columns.parameter(parameter, node.attr)
    if isinstance(node, ast.BoolOp):
        parts = [_truth(_value(value, columns)) for value in node.values]
        both = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
        result = parts[0]
        for part in parts[1:]:
            result = both(result, part)
        return result
    if isinstance(node, ast.UnaryOp):
        value = _value(node.operand, columns)
        if isinstance(node.op, ast.Not):
            return np.logical_not(_truth(value))
        return np.negative(value) if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp):
        return _ARITHMETIC[type(node.op)](_value(node.left, columns), _value(node.right, columns))
    if isinstance(node, ast.Compare):
        return _compare(node, columns)
    assert isinstance(node, ast.Call)
    assert isinstance(node.func, ast.Name)
    result = FUNCTIONS[node.func.id].compute(*(_value(argument, columns) for argument in node.args))
    return result & ~absent(node, columns) if node.func.id in TESTS else result


def _compare(node: ast.Compare, columns: Columns) -> Any:
    values = [_value(operand, columns) for operand in (node.left, *node.comparators)]
    result: Any = True
    for operator, before, after in zip(node.ops, values, values[1:], strict=False):
        held = _COMPARE[type(operator)](before, after)
        result = np.logical_and(result, held)
    return np.logical_and(result, ~absent(node, columns))


def absent(node: ast.expr, columns: Columns) -> Array:
    """Where something that an expression speaks of does not exist, such as the loss of a step: nothing holds."""
    missing = np.zeros(len(columns), bool)
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            missing = missing | columns.absent(part.id)
        elif isinstance(part, ast.Attribute) and isinstance(part.value, ast.Call):
            missing = missing | columns.absent_of(columns.trace.parameter(parameter_name(part.value)), part.attr)
    return missing


def _truth(value: Any) -> Any:
    array = np.asarray(value)
    return np.nan_to_num(array) != 0 if array.dtype.kind == "f" else array.astype(bool)


def search(
    machine: Machine,
    condition: Condition,
    start: int,
    forward: bool,
    stop: threading.Event | None = None,
    progress: Callable[[Progress], None] | None = None,
    findings: frozenset[int] = frozenset(),
) -> int | None:
    """The nearest event after (before) `start` where the condition holds; None where there is none, or it was stopped.

    The stretches grow as the search goes on, so that a near hit comes at once.
    """
    count = len(machine.trace.events)
    total = count - 1 - start if forward else start
    at, size = (start + 1, SMALLEST) if forward else (start, SMALLEST)
    while (at < count) if forward else (at > 0):
        if stop is not None and stop.is_set():
            return None
        first, last = (at, min(count, at + size)) if forward else (max(0, at - size), at)
        found = np.flatnonzero(holds(condition, Columns(machine, first, last, findings)))
        if len(found):
            return first + int(found[0] if forward else found[-1])
        at = last if forward else first
        size = min(LARGEST, size * 2)
        if progress is not None:
            progress(Progress(at - start if forward else start - at, total))
    return None
