"""Expressions over two recorded runs: a small safe part of Python's grammar, never evaluated as Python."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from optrace.errors import LookupFailed, OptraceError, nearest
from optrace.lessons.model import Run
from optrace.tui.core.conditions.columns import Columns
from optrace.tui.core.conditions.grammar import is_parameter, parameter_name
from optrace.tui.core.conditions.names import EVENT_NAMES, PARAMETER_NAMES
from optrace.tui.core.machine import Machine
from optrace.tui.core.readings import norm

if TYPE_CHECKING:
    from optrace.trace.reader import Trace

CLOSE = 1e-6
"""`close(a, b)`: one part in a million."""


class ExpressionError(OptraceError):
    """An expression that cannot be read, or speaks of what the run does not have."""


def parse(text: str) -> ast.expr:
    """An expression's tree. Raises `ExpressionError`."""
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ExpressionError(f"{text.strip()!r} is not an expression") from None


class Evaluator:
    """What expressions say of the recorded runs."""

    def __init__(self, traces: Mapping[Run, Trace]) -> None:
        self._machines: dict[Run, Machine] = {run: Machine(trace) for run, trace in traces.items()}

    def seq(self, run: Run, position: str) -> int:
        """A position of a run as the number of its event. Raises `LookupFailed`."""
        return self._machine(run).trace.seq(None if position == "end" else position)

    def value(self, text: str, run: Run, seq: int) -> Any:
        """An expression's value just after event `seq` of a run: a number, an array, a text, a truth or None.

        Raises `ExpressionError` and `LookupFailed`.
        """
        with np.errstate(all="ignore"):
            try:
                return _plain(_Reading(self, run, seq).of(parse(text)))
            except (TypeError, ValueError, ZeroDivisionError, OverflowError) as error:
                raise ExpressionError(f"{text!r} cannot be worked out: {error}") from None

    def holds(self, text: str, run: Run, seq: int) -> bool:
        """Whether an expression is true there; one about an array, whether it is of every element."""
        found = self.value(text, run, seq)
        if found is None or isinstance(found, str):
            raise ExpressionError(f"{text!r} is {found!r}; it must be true or false")
        return bool(np.all(found))

    def _machine(self, run: Run) -> Machine:
        if run not in self._machines:
            raise ExpressionError(f"there is no {run} run")
        return self._machines[run]


class _Reading:
    """Expressions at one event of one run."""

    def __init__(self, evaluator: Evaluator, run: Run, seq: int) -> None:
        self._evaluator = evaluator
        self._run = run
        self._seq = seq
        self._machine = evaluator._machine(run)

    def of(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float, str, bool, type(None))):
            return node.value
        if isinstance(node, ast.Name):
            return self._event(node.id)
        if isinstance(node, ast.Attribute):
            return self._of_parameter(node)
        if isinstance(node, ast.Subscript):
            return _element(self.of(node.value), node)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return self._call(node, node.func.id)
        if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
            return _ARITHMETIC[type(node.op)](*(self._number(side) for side in (node.left, node.right)))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            return -self._number(node.operand) if isinstance(node.op, ast.USub) else self._number(node.operand)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return np.logical_not(self.of(node.operand))
        if isinstance(node, ast.BoolOp):
            both = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
            found = self.of(node.values[0])
            for value in node.values[1:]:
                found = both(found, self.of(value))
            return found
        if isinstance(node, ast.Compare):
            return self._compare(node)
        raise ExpressionError(f"{ast.unparse(node)[:40]!r} cannot be used in an expression")

    def _number(self, node: ast.expr) -> Any:
        value = self.of(node)
        if value is None:
            raise ExpressionError(f"{ast.unparse(node)} is None here; nothing can be calculated from it")
        return value

    def _event(self, name: str) -> Any:
        if name not in EVENT_NAMES:
            words = [*EVENT_NAMES, *_FUNCTIONS, *_PLACES, "value", "grad", "state"]
            raise ExpressionError(f"there is no {name!r}{nearest(name, words)}")
        columns = Columns(self._machine, self._seq, self._seq + 1)
        return None if columns.absent(name)[0] else columns.event(name)[0]

    def _of_parameter(self, node: ast.Attribute) -> Any:
        if not is_parameter(node.value) or node.attr not in PARAMETER_NAMES:
            raise ExpressionError(f"{ast.unparse(node)!r} is unknown{nearest(node.attr, PARAMETER_NAMES)}")
        assert isinstance(node.value, ast.Call)
        parameter = self._machine.trace.parameter(parameter_name(node.value))
        columns = Columns(self._machine, self._seq, self._seq + 1)
        return None if columns.absent_of(parameter, node.attr)[0] else columns.parameter(parameter, node.attr)[0]

    def _call(self, node: ast.Call, name: str) -> Any:
        if node.keywords:
            raise ExpressionError(f"{name} takes nothing by name")
        if name in _PLACES:
            return self._elsewhere(node, name)
        values = [self.of(argument) for argument in node.args]
        if name in _TENSORS:
            if len(values) != _TENSORS[name] or not all(isinstance(value, str) for value in values):
                example = 'state("x", "exp_avg")' if name == "state" else f'{name}("x")'
                raise ExpressionError(f"write {example}, not {ast.unparse(node)}")
            return self._tensor(name, *values)
        if name not in _FUNCTIONS:
            raise ExpressionError(f"there is no function {name!r}{nearest(name, [*_FUNCTIONS, *_TENSORS, *_PLACES])}")
        if any(value is None for value in values):
            raise ExpressionError(f"{ast.unparse(node)}: what is in the brackets is None here")
        return _FUNCTIONS[name](*values)

    def _elsewhere(self, node: ast.Call, name: str) -> Any:
        if len(node.args) != (2 if name == "at" else 1):
            raise ExpressionError(f"{name} is written {_PLACES[name]}")
        run, seq = self._run, self._seq
        if name == "at":
            place = self.of(node.args[0])
            if not isinstance(place, str):
                raise ExpressionError(f"{name} is written {_PLACES[name]}")
            seq = self._evaluator.seq(run, place)
        elif name == "before":
            if seq == 0:
                raise ExpressionError("there is no event before the first")
            seq -= 1
        elif name != run:
            run = "repaired" if name == "repaired" else "script"
            position = str(self._machine.trace.events[seq].position)
            if seq == len(self._machine.trace.events) - 1:
                position = "end"
            argument = node.args[0]
            if isinstance(argument, ast.Call) and isinstance(argument.func, ast.Name) and argument.func.id == "at":
                position = "end"  # another position follows, this one need not exist there
            seq = self._evaluator.seq(run, position)
        return _Reading(self._evaluator, run, seq).of(node.args[-1])

    def _tensor(self, name: str, parameter: str, kind: str = "") -> Any:
        trace = self._machine.trace
        entry = trace.parameter(parameter)
        if name == "contributions":
            return int(self._machine.parts.counts(entry, np.array([self._seq]))[0][0])
        kind = {"value": "param", "grad": "grad"}.get(name, kind)
        known = trace.kinds(entry)
        if kind not in known and kind != "grad":
            raise LookupFailed(f"{entry.name} has no {kind!r}{nearest(kind, known)}")
        found = trace.value(entry, kind, self._seq) if kind in known else None
        return None if found is None else _wide(found)

    def _compare(self, node: ast.Compare) -> Any:
        values = [self.of(side) for side in (node.left, *node.comparators)]
        result: Any = True
        for sign, left, right in zip(node.ops, values, values[1:], strict=False):
            if type(sign) not in _COMPARE:
                raise ExpressionError("compare with <, <=, >, >=, == or !=")
            if left is None or right is None:
                same = left is None and right is None
                if not isinstance(sign, (ast.Eq, ast.NotEq)):
                    raise ExpressionError(f"{ast.unparse(node)}: one side is None here")
                held: Any = same if isinstance(sign, ast.Eq) else not same
            else:
                held = _COMPARE[type(sign)](left, right)
            result = np.logical_and(result, held)
        return result


def _element(value: Any, node: ast.Subscript) -> Any:
    if value is None:
        raise ExpressionError(f"{ast.unparse(node.value)} is None here; it has no elements")
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    place = []
    for part in parts:
        try:
            place.append(operator.index(ast.literal_eval(part)))
        except (ValueError, TypeError):
            raise ExpressionError(f"an element is written [0, 2], not [{ast.unparse(node.slice)}]") from None
    array = np.asarray(value)
    try:
        return array[tuple(place)]
    except IndexError:
        lengths = "×".join(map(str, array.shape)) or "a single number"
        raise LookupFailed(f"there is no element {place} in {ast.unparse(node.value)}, which is {lengths}") from None


def _wide(value: Any) -> Any:
    """The same numbers in float64 (complex128, int64), where no small dtype rounds what is calculated."""
    if value.dtype.kind in "biu":
        return value.astype(np.int64)
    return value.astype(np.complex128 if value.dtype.kind == "c" else np.float64)


def _plain(value: Any) -> Any:
    """One element as a number of Python's."""
    array = np.asarray(value)
    return value if isinstance(value, (str, type(None))) or array.size != 1 else array.reshape(()).item()


def _close(left: Any, right: Any, share: float = CLOSE) -> Any:
    return np.isclose(left, right, rtol=share, atol=0.0)


def _extreme(whole: Callable[[Any], Any], pairwise: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def compute(first: Any, *others: Any) -> Any:
        if not others:
            return whole(first)
        for other in others:
            first = pairwise(first, other)
        return first

    return compute


_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: np.true_divide,
    ast.Mod: operator.mod,
    ast.Pow: lambda left, right: np.power(np.asarray(left, np.float64), right),
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}
_TENSORS = {"value": 1, "grad": 1, "state": 2, "contributions": 1}
_PLACES = {
    "at": 'at("1:0", …)',
    "before": "before(…)",
    "repaired": "repaired(…)",
    "script": "script(…)",
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": np.abs,
    "sqrt": np.sqrt,
    "min": _extreme(np.min, np.minimum),
    "max": _extreme(np.max, np.maximum),
    "sum": np.sum,
    "mean": np.mean,
    "norm": lambda value: norm(np.asarray(value)),
    "all": np.all,
    "any": np.any,
    "isnan": np.isnan,
    "isfinite": np.isfinite,
    "numel": lambda value: int(np.asarray(value).size),
    "close": _close,
    "floor": lambda value: math.floor(value),
    "round": lambda value, digits=0: round(float(value), int(digits)),
}
