"""Conditions over events: what they find, what is refused, what completes them."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

import optrace
from optrace.tui.core.conditions import Condition, ConditionError, Progress, complete, parse, search
from optrace.tui.core.session import Session


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('kind == "step"', 2),
        ("loss > 0 and iteration >= 2", 7),
        ("isnan(loss)", 28),
        ("not isnan(loss) and loss > 0", 1),
        ('param("2.weight").grad_norm > 0', 1),
        ('param("2.weight").changed', 2),
        ("1 < iteration <= 2", 6),
        ("lr == 0.01", 2),
        ("nonfinite > 0", 28),
        ("abs(-iteration) == 4", 12),
        ("iteration % 7 == 3 or False", 9),
        ("loss != 0", 1),
        ("finding", None),
        ('param("2.weight").stale > 0', None),
        ('param("2.weight").contributions == 1', 1),
        ("loss != loss", 28),
        ("grad_norm == 0", 3),
        ('param("2.weight").grad_norm < 0', None),
        ("line > 0 and seq == 5", 5),
        ("max(iteration, index) == 2", 2),
    ],
)
def test_conditions_find_the_first_event(network: Path, text: str, expected: int | None) -> None:
    with optrace.load(network) as trace:
        session = Session(trace)
        condition = parse(text, trace)
        assert search(session.machine, condition, 0, True) == expected
        if expected is not None and expected < 29:
            assert search(session.machine, condition, expected + 1, False) == expected
        session.close()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "loss >",
        "__import__('os').system('true')",
        "loss.__class__",
        "(lambda: 1)()",
        "[x for x in loss]",
        "loss = 3",
        "grad_nrm > 1",
        'kind == "bakward"',
        'param("nope").stale',
        'param("2.weight").nope',
        "isnan()",
        "param",
        "loss > 1 if True else 0",
        "a" * 600,
        "loss ** 99999",
        "f'{loss}'",
        "9 << 99999",
        "param(loss).stale",
        "loss[0]",
        "(" * 300,
    ],
)
def test_what_is_no_condition_is_refused_in_one_line(network: Path, text: str) -> None:
    with optrace.load(network) as trace, pytest.raises(ConditionError) as raised:
        parse(text, trace)
    assert "\n" not in str(raised.value)


def test_words_and_numbers_do_not_compare(network: Path) -> None:
    with optrace.load(network) as trace:
        session = Session(trace)
        for text in ("kind", "loss > kind"):
            with pytest.raises(ConditionError):
                search(session.machine, parse(text, trace), 0, True)
        session.close()


def test_a_search_reports_and_stops(network: Path) -> None:
    with optrace.load(network) as trace:
        session = Session(trace)
        seen: list[Progress] = []
        assert search(session.machine, parse("loss < -1"), 0, True, None, seen.append) is None
        assert seen[-1].looked >= seen[-1].total
        stop = threading.Event()
        stop.set()
        assert search(session.machine, parse("loss > -1"), 0, True, stop) is None
        session.close()


def test_completion() -> None:
    assert [whole for whole, _ in complete("gr")] == ["grad_norm"]
    assert [whole for whole, _ in complete('kind == "sc')] == ['kind == "scheduler_step"', 'kind == "scaler_update"']
    assert ('param("a").stale', "how many contributions in its gradient were applied before") in complete(
        'param("a").st'
    )
    assert complete("loss > 3 and") == []


def test_conditions_are_their_text() -> None:
    assert str(parse("loss > 3")) == "loss > 3"
    assert isinstance(parse("1"), Condition)
