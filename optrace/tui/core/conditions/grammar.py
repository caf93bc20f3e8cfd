"""Parsing a condition: Python's own grammar, of which only a small safe part is let through."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optrace.errors import LookupFailed, OptraceError, nearest
from optrace.trace.format import KINDS
from optrace.tui.core.conditions.names import EVENT_NAMES, FUNCTIONS, PARAMETER_NAMES

if TYPE_CHECKING:
    from optrace.trace.reader import Trace

LONGEST = 500


class ConditionError(OptraceError):
    """A condition that cannot be understood; `column` is where, counted from 0."""

    def __init__(self, message: str, column: int = 0) -> None:
        super().__init__(message)
        self.column = column


@dataclass(frozen=True)
class Condition:
    """An understood condition."""

    text: str
    tree: ast.expr

    def __str__(self) -> str:
        return self.text


def parse(text: str, trace: Trace | None = None) -> Condition:
    """Understand a condition. Raises `ConditionError`. With a trace, parameter names are checked as well."""
    text = text.strip()
    if not text:
        raise ConditionError("write a condition, such as: grad_norm > 10")
    if len(text) > LONGEST:
        raise ConditionError(f"a condition has at most {LONGEST} characters, this one {len(text)}")
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        column = max(0, (getattr(error, "offset", None) or 1) - 1)
        hint = "; compare with ==" if "=" in text and "==" not in text and "<=" not in text and ">=" not in text else ""
        raise ConditionError(
            f"cannot be read from column {column + 1}: {text[column : column + 20]!r}{hint}", column
        ) from None
    _Check(trace).expression(tree)
    return Condition(text, tree)


class _Check:
    def __init__(self, trace: Trace | None) -> None:
        self._trace = trace

    def expression(self, node: ast.expr) -> None:
        if isinstance(node, ast.BoolOp):
            for value in node.values:
                self.expression(value)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub, ast.UAdd)):
            self.expression(node.operand)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Mod)):
            self.expression(node.left)
            self.expression(node.right)
        elif isinstance(node, ast.Compare):
            self._compare(node)
        elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float, str, bool)):
            pass
        elif isinstance(node, ast.Name):
            self._name(node)
        elif isinstance(node, ast.Attribute):
            self._attribute(node)
        elif isinstance(node, ast.Call):
            self._call(node)
        else:
            raise ConditionError(f"{ast.unparse(node)[:40]!r} cannot be used in a condition", node.col_offset)

    def _compare(self, node: ast.Compare) -> None:
        operands = [node.left, *node.comparators]
        for operator in node.ops:
            if not isinstance(operator, (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)):
                raise ConditionError("compare with <, <=, >, >=, == or !=", node.col_offset)
        for operand in operands:
            self.expression(operand)
        if any(isinstance(operand, ast.Name) and operand.id == "kind" for operand in operands):
            for operand in operands:
                if isinstance(operand, ast.Constant) and operand.value not in KINDS:
                    raise ConditionError(
                        f"there is no kind {operand.value!r}{nearest(str(operand.value), KINDS)}", operand.col_offset
                    )

    def _name(self, node: ast.Name) -> None:
        if node.id in FUNCTIONS or node.id == "param":
            example = 'param("fc1.weight").stale' if node.id == "param" else f"{node.id}(loss)"
            raise ConditionError(f"{node.id} needs something in brackets: {example}", node.col_offset)
        if node.id not in EVENT_NAMES:
            raise ConditionError(
                f"there is no {node.id!r}{nearest(node.id, [*EVENT_NAMES, *FUNCTIONS])}", node.col_offset
            )

    def _attribute(self, node: ast.Attribute) -> None:
        if not is_parameter(node.value):
            raise ConditionError(f"only param(…) has a .{node.attr}", node.col_offset)
        if node.attr not in PARAMETER_NAMES:
            raise ConditionError(
                f"a parameter has no .{node.attr}{nearest(node.attr, PARAMETER_NAMES)}", node.col_offset
            )
        assert isinstance(node.value, ast.Call)
        if self._trace is not None:
            try:
                self._trace.parameter(parameter_name(node.value))
            except LookupFailed as error:
                raise ConditionError(str(error), node.value.col_offset) from None

    def _call(self, node: ast.Call) -> None:
        if is_parameter(node):
            raise ConditionError("say what of the parameter: .grad_norm, .norm, .stale, …", node.end_col_offset or 0)
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in FUNCTIONS:
            raise ConditionError(
                f"there is no function {ast.unparse(node.func)[:30]!r}{nearest(name, FUNCTIONS)}", node.col_offset
            )
        if len(node.args) != FUNCTIONS[name].arguments or node.keywords:
            raise ConditionError(
                f"{name} takes {FUNCTIONS[name].arguments} in brackets, {len(node.args)} given", node.col_offset
            )
        for argument in node.args:
            self.expression(argument)


def is_parameter(node: ast.expr) -> bool:
    """Whether it is `param("name")`."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "param"


def parameter_name(node: ast.Call) -> str:
    """The name in `param("name")`. Raises `ConditionError` where there is none."""
    if (
        len(node.args) != 1
        or node.keywords
        or not isinstance(node.args[0], ast.Constant)
        or not isinstance(node.args[0].value, str)
    ):
        raise ConditionError('a parameter is written param("fc1.weight")', node.col_offset)
    return node.args[0].value
