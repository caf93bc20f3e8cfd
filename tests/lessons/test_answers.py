"""What counts as the right answer, and what expressions say of a run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optrace.errors import LookupFailed
from optrace.lessons.answer import judge
from optrace.lessons.expressions import Evaluator, ExpressionError
from optrace.lessons.filling import fill
from optrace.lessons.model import Run
from optrace.trace.reader import Trace


@pytest.mark.parametrize(
    ("typed", "recorded", "right"),
    [
        ("300", 300.0, True),
        (" 300.0 ", 300.0, True),
        ("3e2", 300.0, True),
        ("−0.25", -0.25, True),
        ("1/3", 0.3333333, True),
        ("0.33", 0.3333333, True),
        ("0.3", 0.3333333, False),
        ("0.34", 0.3333333, False),
        ("0.3334", 0.3333333, False),
        ("200", 300.0, False),
        ("None", None, True),
        ("none", 0.0, False),
        ("0", None, False),
        ("nan", float("nan"), True),
        ("inf", float("inf"), True),
        ("1", float("nan"), False),
        ("120", 123.0, False),
    ],
)
def test_right_is_right_in_every_digit_typed(typed: str, recorded: float | None, right: bool) -> None:
    verdict = judge(typed, recorded, None)
    assert verdict.understood
    assert verdict.right is right


def test_a_tolerance_is_a_share_of_the_answer() -> None:
    assert judge("95", 100.0, 0.05).right
    assert not judge("94", 100.0, 0.05).right


@pytest.mark.parametrize("typed", ["", "three", "1/0", "1,5", "__import__('os')", "1e", "0x10"])
def test_what_is_no_number_is_not_judged(typed: str) -> None:
    verdict = judge(typed, 3.0, None)
    assert (verdict.understood, verdict.right, verdict.recorded) == (False, False, "3")


@given(st.floats(allow_nan=False, allow_infinity=False, width=32), st.integers(2, 6))
def test_a_number_rounded_to_its_digits_is_right(recorded: float, digits: int) -> None:
    assert judge(f"{recorded:.{digits - 1}e}", recorded, None).right


def test_expressions(traces: dict[Run, Trace]) -> None:
    evaluator = Evaluator(traces)

    def of(text: str, position: str = "1:0") -> Any:
        return evaluator.value(text, "script", evaluator.seq("script", position))

    assert np.array_equal(of("grad('x')"), [12, 12, 12])
    assert of("grad('scale')") is None
    assert of("grad('scale') == None") is True
    assert of("grad('x') != None") is True
    assert of("state('x', 'momentum_buffer')[0]", "1:1") == 14
    assert of("at('0:1', value('x')[0]) - 2") == -2
    assert of("before(kind)") == "step"
    assert of("kind == 'backward' and not isnan(loss)") is True
    assert of("max(grad('x')) + min(3, 4) * 2 ** 3") == 36
    assert of("norm(grad('x')) == sqrt(sum(grad('x') ** 2))") is True
    assert of("close(1.0, 1.0000001) and not close(1.0, 1.1) and close(1.0, 1.1, 0.2)") is True
    assert of("repaired(grad('x')[0])", "1:1") == of("repaired(at('1:1', grad('x')[0]))") == 8
    assert of("repaired(grad('x'))") is None  # 1:0 is the zero_grad there
    assert of("1 < 2 < 3") is True
    assert of("lr", "1:1") == 0.5
    assert of("lr") is None
    assert of("numel(value('x'))") == 3
    assert evaluator.holds("grad('x') == 12", "script", evaluator.seq("script", "1:0"))
    assert not evaluator.holds("value('x') == value('x')[0]", "script", 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("grad('x", "is not an expression"),
        ("lambda: 1", "cannot be used"),
        ("grad('x').shape", "is unknown"),
        ("__import__('os')", "there is no function"),
        ("[1 for x in y]", "cannot be used"),
        ("grad('scale') + 1", "grad('scale') is None here"),
        ("abs(grad('scale'))", "is None here"),
        ("grad('scale')[0]", "is None here"),
        ("grad()", 'write grad("x")'),
        ("at('1:0')", "at is written"),
        ("at(1, loss)", "at is written"),
        ("loss > 'a'", "cannot be worked out"),
        ("sqrt(1, 2)", "cannot be worked out"),
        ("state('x', 'exp_avg')", "x has no 'exp_avg'"),
        ("at('7:0', loss)", "there is no iteration 7"),
        ("grad('x')['a']", "an element is written [0, 2]"),
        ("grad_norm < None", "one side is None"),
        ("2 ** 'a'", "cannot be worked out"),
    ],
)
def test_what_cannot_be_said(traces: dict[Run, Trace], text: str, message: str) -> None:
    evaluator = Evaluator(traces)
    with pytest.raises((ExpressionError, LookupFailed)) as told:
        evaluator.value(text, "script", evaluator.seq("script", "1:0"))
    assert message in str(told.value)


def test_code_is_left_alone() -> None:
    text = "a {1}\n```python\nd = {1: 2}\n```\n~~~\n{2}\n```\n{3}\n~~~\n{4}"
    assert fill(text, lambda expression, line: int(expression)) == (
        "a 1\n```python\nd = {1: 2}\n```\n~~~\n{2}\n```\n{3}\n~~~\n4"
    )
