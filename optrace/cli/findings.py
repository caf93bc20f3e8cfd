"""Findings for people: worst first, each with its line of source and what to do."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from optrace.cli.text import count, printable, short_path, source_line

if TYPE_CHECKING:
    from optrace.checks.finding import Finding

_INDENT = "  "


def finding_lines(findings: Iterable[Finding], sources: Mapping[str, str], folder: str | None, width: int) -> list[str]:
    """All of them, with an empty line between two. `sources` are texts of files, `folder` where paths start."""
    lines: list[str] = []
    for finding in findings:
        lines += ["", *_finding(finding, sources, folder, width)]
    return lines[1:]


def tally(findings: Iterable[Finding]) -> str:
    """`2 errors, 1 hint`."""
    from optrace.checks.finding import SEVERITIES

    severities = [finding.severity for finding in findings]
    parts = [count(severities.count(severity), severity) for severity in SEVERITIES if severity in severities]
    return ", ".join(parts) or "no findings"


def _finding(finding: Finding, sources: Mapping[str, str], folder: str | None, width: int) -> list[str]:
    place = ""
    if finding.file is not None:
        place = f"{short_path(finding.file, folder)}:{finding.line}"
        if finding.function is not None:
            place += f" in {printable(finding.function)}"
    lines = [f"{finding.severity} {finding.code} {finding.name}"]
    when = [] if finding.position is None else [f"at {finding.position}"]
    if finding.count > 1:
        when.append(f"{finding.count:,} times")
    facts = ", ".join([*([place] if place else []), " and so ".join(when)] if when else [place])
    if facts:
        lines += textwrap.wrap(facts, width, initial_indent=_INDENT, subsequent_indent=_INDENT)
    text = _source(finding, sources)
    if text:
        lines.append(f"{_INDENT}    {text}")
    lines += _wrapped(finding.message, width)
    if finding.fix:
        lines += _wrapped(f"Fix: {finding.fix}", width)
    if finding.caused_by is not None:
        lines += _wrapped(f"Follows from {finding.caused_by}.", width)
    return lines


def _source(finding: Finding, sources: Mapping[str, str]) -> str:
    lines = sources.get(finding.file or "", "").splitlines()
    number = finding.line or 0
    return source_line(lines[number - 1]) if 0 < number <= len(lines) else ""


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(
        printable(text),
        width,
        initial_indent=_INDENT,
        subsequent_indent=_INDENT,
        break_on_hyphens=False,
        break_long_words=False,
    )
