"""Terminals that show little more than ASCII: nothing that optrace itself writes becomes a question mark."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import optrace
from optrace.tui.core.blocks import ascii_only
from optrace.tui.core.spans import cells
from tests.tui.conftest import Opened
from tests.tui.drawing import press, screen_text

PARTS = ("tui/core", "tui/screens", "tui/widgets", "arithmetic", "checks", "ledger")


def written() -> set[str]:
    """Every text in the code that may come to the screen; not what stands in docstrings."""
    found: set[str] = set()
    folder = Path(optrace.__file__).parent
    for path in [path for part in PARTS for path in sorted((folder / part).rglob("*.py"))]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        texts = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in told)
        found |= {node.value for node in texts if isinstance(node.value, str) and not node.value.isascii()}
    return {text for text in found if cells(text[0]) and max(map(cells, text)) == 1}  # no Chinese, no hat on its own


def test_every_sign_has_a_stand_in() -> None:
    texts = written()
    assert len(texts) > 50
    for text in sorted(texts):
        plain = ascii_only(text + " ")
        assert plain.isascii()
        assert plain.count("?") == text.count("?"), text
        assert len(plain) == cells(text + " "), text


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("(1 − 0.9²¹) = m / 0.89", "(1 - 0.9^21)= m / 0.89"),
        ("0.999 · v + 0.001 · g²  ", "0.999 * v + 0.001 * g^2 "),
        ("−r · m̂ / (√v̂ + ε)", "-r * M / (VV + e)"),
        ("iteration 3 · event 0 of 2 · STEP", "iteration 3 . event 0 of 2 . STEP"),
        ("‹grad›", "[grad]"),
    ],
)
def test_formulas_stay_formulas(text: str, plain: str) -> None:
    assert ascii_only(text) == plain


async def test_no_screen_has_a_question_mark_for_a_sign(network: Path, opened: Opened) -> None:
    async with opened(network, ascii_only=True) as (app, pilot):
        await press(app, pilot, "end")
        for key in ("1", "2", "3", "4", "x", "x", "5", "f", "escape", "question_mark", "end"):
            await press(app, pilot, key)
            text = screen_text(app)
            assert text.isascii()
            rows = [row for row in text.splitlines() if "?" in row.replace("? help", "").replace("|    ?   ", "")]
            assert not rows
