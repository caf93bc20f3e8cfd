"""The matrix as the README and docs/conformance.md show it is the matrix that is under test."""

from __future__ import annotations

import re
from pathlib import Path

from conformance import (
    test_changes_under_way,
    test_frameworks,
    test_notebooks_and_modules,
    test_optimizers,
    test_parts_of_torch,
    test_precision_and_compilation,
    test_ways_of_writing,
)

GROUPS = [
    module.rows
    for module in (
        test_frameworks,
        test_optimizers,
        test_parts_of_torch,
        test_ways_of_writing,
        test_changes_under_way,
        test_notebooks_and_modules,
        test_precision_and_compilation,
    )
]
ELSEWHERE = {"Several processes": "tests/processes"}
"""Rows of the README that have a folder of tests of their own."""


def test_the_whole_matrix(repository: Path) -> None:
    lines = ["| loop | the bug put into it | found |", "| --- | --- | --- |"]
    for group in GROUPS:
        lines.append(f"| **{group.group}** | | |")
        lines += [f"| {name} | {bug or '—'} | {code or '—'} |" for name, (bug, code) in group.table.items()]
    text = (repository / "docs/conformance.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\|.*\|$", text, re.MULTILINE)
    assert shown == lines, "\n".join(lines)


def test_the_matrix_in_the_readme(repository: Path) -> None:
    text = (repository / "README.md").read_text(encoding="utf-8")
    section = text.split("## Every kind of loop\n")[1].split("\n## ")[0]
    shown = dict(re.findall(r"^\| \*\*(.+?)\*\* \| (.+) \|$", section, re.MULTILINE))
    for name, folder in ELSEWHERE.items():
        assert shown.pop(name)
        assert list((repository / folder).glob("test_*.py"))
    assert shown == {group.group: "; ".join(group.table) for group in GROUPS}


def test_every_code_is_a_rule() -> None:
    from optrace.checks.registry import rule

    for group in GROUPS:
        assert len(group.table) == len(group.rows) + len(group.others)
        for _, code in group.table.values():
            assert not code or rule(code)
