"""Which line keeps a loss alive: read from the script's text, which the trace carries."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from optrace.trace.model import Site

_LETTING_GO = frozenset({"item", "detach", "tolist", "numpy", "backward", "data"})
_NUMBERS = frozenset({"float", "int", "bool", "str", "len", "print", "repr", "format", "isinstance"})
_KEEPING = frozenset({"append", "extend", "add", "insert", "appendleft", "update"})
Body = ast.Module | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Keeper:
    """A statement that keeps a loss with its graph."""

    site: Site
    target: str
    """What keeps it: `total_loss`, `losses`."""
    kept: str
    """What is kept: `loss`."""


def keeper(stack: Sequence[Site], sources: Mapping[str, str]) -> Keeper | None:
    """The statement, looked for in the function that calls backward and in its callers; None where none is found.

    `stack` is the backward's chain of calls, innermost first.
    """
    for depth, site in enumerate(stack):
        body = _body(sources.get(site.file), site)
        if body is None:
            return None
        names = _losses(body, site.line) if depth == 0 else _results(body, site.line)
        found = _keeping(body, names, site, called=depth > 0)
        if found is not None:
            return found
        if not _returns(body, names):
            return None
    return None


def _body(text: str | None, site: Site) -> Body | None:
    """The innermost function that holds a line, or the module."""
    if text is None:
        return None
    try:
        module = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return None
    around = [
        node
        for node in ast.walk(module)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.lineno <= site.line <= (node.end_lineno or 0)
    ]
    return max(around, key=lambda node: node.lineno, default=module)


def _statements(body: Body) -> Iterator[ast.stmt]:
    """All statements, without those of inner functions."""
    todo: list[ast.stmt] = list(body.body)
    while todo:
        node = todo.pop(0)
        yield node
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        for field in ("body", "orelse", "finalbody"):
            todo += getattr(node, field, [])
        for handler in getattr(node, "handlers", []):
            todo += handler.body


def _losses(body: Body, line: int) -> set[str]:
    """What a line runs backward: `loss` in `loss.backward()` and in `scaler.scale(loss).backward()`."""
    for statement in _statements(body):
        if not statement.lineno <= line <= (statement.end_lineno or statement.lineno):
            continue
        for node in ast.walk(statement):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "backward":
                found = {ast.unparse(n) for n in ast.walk(node.func.value) if _is_value(n)}
                found |= {ast.unparse(n) for argument in node.args for n in ast.walk(argument) if _is_value(n)}
                return found - {"torch", "self", "torch.autograd"}
    return set()


def _results(body: Body, line: int) -> set[str]:
    """What a caller calls the result of the call on a line."""
    for statement in _statements(body):
        if statement.lineno <= line <= (statement.end_lineno or statement.lineno) and isinstance(statement, ast.Assign):
            return {ast.unparse(n) for target in statement.targets for n in ast.walk(target) if _is_value(n)}
    return set()


def _is_value(node: ast.AST) -> bool:
    return isinstance(node, (ast.Name, ast.Attribute)) and not isinstance(getattr(node, "ctx", None), ast.Del)


def _keeping(body: Body, names: set[str], site: Site, called: bool) -> Keeper | None:
    """A statement that puts one of the names, with its graph, into something that outlives the iteration."""
    for statement in _statements(body):
        here = called and statement.lineno <= site.line <= (statement.end_lineno or statement.lineno)
        target, value = _kept_by(statement)
        if target is None or value is None or target in names:
            continue
        kept = _raw(value, names)
        if kept is None and here and _has_call(value):
            kept = ast.unparse(value)
        if kept is not None:
            return Keeper(Site(site.file, statement.lineno, site.function), target, kept)
    return None


def _kept_by(statement: ast.stmt) -> tuple[str | None, ast.expr | None]:
    """The keeper and the kept of `t += x`, `t = t + x`, `t.append(x)`, `t[i] = x` and `self.t = self.t + x`."""
    if isinstance(statement, ast.AugAssign):
        return ast.unparse(statement.target), statement.value
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
        name = ast.unparse(target)
        if isinstance(target, ast.Subscript):
            return ast.unparse(target.value), statement.value
        if any(_is_value(node) and ast.unparse(node) == name for node in ast.walk(statement.value)):
            return name, statement.value
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        function = statement.value.func
        if isinstance(function, ast.Attribute) and function.attr in _KEEPING and statement.value.args:
            return ast.unparse(function.value), statement.value.args[-1]
    return None, None


def _raw(node: ast.AST, names: set[str]) -> str | None:
    """One of the names, where it is used with its graph: not under `.item()`, `.detach()`, `float()` …"""
    if isinstance(node, ast.Attribute) and node.attr in _LETTING_GO:
        return None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _NUMBERS:
        return None
    if isinstance(node, (ast.Name, ast.Attribute)) and ast.unparse(node) in names:
        return ast.unparse(node)
    for child in ast.iter_child_nodes(node):
        found = _raw(child, names)
        if found is not None:
            return found
    return None


def _has_call(value: ast.expr) -> bool:
    """Whether a call's result is used as it comes."""
    if isinstance(value, ast.Call):
        function = value.func
        lets_go = isinstance(function, ast.Attribute) and function.attr in _LETTING_GO
        return not lets_go and not (isinstance(function, ast.Name) and function.id in _NUMBERS)
    return isinstance(value, ast.BinOp) and (_has_call(value.left) or _has_call(value.right))


def _returns(body: Body, names: set[str]) -> bool:
    return any(
        isinstance(statement, ast.Return) and statement.value is not None and _raw(statement.value, names) is not None
        for statement in _statements(body)
    )
