"""What the lessons' screens are made of: laid out text, words in both languages, dashed curves."""

from __future__ import annotations

import string

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optrace.tui.core.canvas import Chart, Series, draw
from optrace.tui.core.spans import Span, plain, width, wrap
from optrace.tui.learn.prose import prose
from optrace.tui.learn.words import _TABLE, Words

CHINESE = "把梯度清零，再做反向传播。（第一步）"


@given(st.text("ab 梯度零，。（）.,`", max_size=60), st.integers(2, 30))
def test_wrapping_loses_nothing_but_spaces_and_fits(text: str, room: int) -> None:
    half = len(text) // 2
    lines = wrap([Span(text[:half], "one"), Span(text[half:], "two")], room)
    assert "".join(map(plain, lines)).replace(" ", "") == text.replace(" ", "")
    assert all(width(line) <= room for line in lines)


@pytest.mark.parametrize("room", range(8, 24))
def test_chinese_punctuation_starts_no_line_and_opening_brackets_end_none(room: int) -> None:
    lines = [plain(line) for line in wrap([Span(CHINESE * 4)], room)]
    assert not [line for line in lines if line[0] in "，。）"]
    assert not [line for line in lines if line[-1] == "（"]
    assert all(len(line) * 2 > room - 6 for line in lines[:-1])


def test_what_stands_together_is_not_parted_by_its_roles() -> None:
    assert [plain(line) for line in wrap([Span("one "), Span("two", "bold"), Span(".")], 7)] == ["one", "two."]


def test_markdown() -> None:
    text = "A `x.grad` **and**\nmore.\n\n- one two three\n- two\n\n1. first\n\n```python\nx = 1\n```\n\n"
    text += "清零，\n**再**\n加。"
    assert [plain(line) for line in prose(text, 12)] == [
        "A x.grad and", "more.", "", "• one two", "  three", "• two", "", "1. first", "", "│ x = 1", "", "清零，再加。"
    ]  # fmt: skip
    roles = {span.text: span.role for line in prose("`code` **bold**", 40) for span in line}
    assert roles["code"] == "inline-code"
    assert roles["bold"] == "bold"
    assert prose("", 10) == ()


def test_a_table() -> None:
    lines = [plain(line).rstrip() for line in prose("| a | b |\n| --- | --- |\n| 1 | `22` |", 20)]
    assert lines == ["a  b", "─────", "1  22"]


def test_every_word_is_there_in_both_languages_with_the_same_places() -> None:
    for key, (english, chinese) in _TABLE.items():
        assert english, key
        assert chinese, key
        places = [{name for _, name, _, _ in string.Formatter().parse(text) if name} for text in (english, chinese)]
        assert places[0] == places[1], key
    assert Words("zh-CN")("right answers", right=1, asked=2) == "答对 1/2"
    assert Words("fr")("right answers", right=1, asked=2) == "1 of 2 right"


@pytest.mark.parametrize("count", [2, 5, 400])
def test_a_dashed_curve_is_told_from_a_solid_one_without_colour(count: int) -> None:
    numbers, values = np.arange(count), np.linspace(1.0, 2.0, count)
    drawn = []
    for dashed in (False, True):
        lines = draw(Chart((Series("x", numbers, values, "", dashed),), 0, count - 1), 60, 10, str)
        drawn.append(sum("⠀" < letter <= "⣿" for line in lines for letter in plain(line)))
    assert 0.3 * drawn[0] < drawn[1] < 0.8 * drawn[0]
