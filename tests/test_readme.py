"""The README in both languages: the same sections, commands, code and links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

README = "README.md"
CHINESE = "README.zh-CN.md"


@pytest.fixture(scope="module")
def both(repository: Path) -> list[list[Token]]:
    """Both texts, parsed."""
    parser = MarkdownIt("commonmark").enable("table")
    return [parser.parse((repository / name).read_text(encoding="utf-8")) for name in (README, CHINESE)]


def spans(tokens: list[Token]) -> list[Token]:
    """Everything that stands inside a line."""
    return [child for token in tokens for child in token.children or ()]


def code(block: str) -> list[str]:
    """A block's lines without their comments, which are translated."""
    return [re.sub(r"(^|\s+)#( .*)?$", "", line) for line in block.splitlines() if "optrace: ignore" not in line]


def test_the_same_structure(both: list[list[Token]]) -> None:
    english, chinese = ([token.type + token.tag for token in tokens if token.type != "inline"] for tokens in both)
    assert chinese == english


def test_the_same_code(both: list[list[Token]]) -> None:
    english, chinese = ([code(token.content) for token in tokens if token.type == "fence"] for tokens in both)
    assert chinese == english
    assert len(english) > 5


def test_the_same_words_of_code(both: list[list[Token]]) -> None:
    english, chinese = ({span.content for span in spans(tokens) if span.type == "code_inline"} for tokens in both)
    assert chinese ^ english <= {"iteration:event", "迭代:事件"}


def test_the_same_links(both: list[list[Token]], repository: Path) -> None:
    english, chinese = (
        [str(span.attrs.get("href") or span.attrs.get("src")) for span in spans(tokens) if span.tag in ("a", "img")]
        for tokens in both
    )
    links, translated = ([link for link in found if link != "None"] for found in (english, chinese))
    assert (links[0], translated[0]) == (CHINESE, README)
    assert links[1:] == translated[1:]
    for link in links:
        if "://" not in link and not link.startswith("#"):
            assert (repository / link).exists(), link
