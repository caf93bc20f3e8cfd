"""Findings for people: worst first, each with its line of source and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from optrace.checks.merge import processes
from optrace.cli.text import count, printable, short_path, source_line, wrapped

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
    if finding.processes:
        lines[0] += f" in {processes(finding.processes)}"
    facts = [place] if place else []
    if finding.position is not None:
        often = f", {finding.count:,} times"
        facts.append(f"first at {finding.position}{often}" if finding.count > 1 else f"at {finding.position}")
    if facts:
        lines += wrapped(_INDENT + ", ".join(facts), width, _INDENT)
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
    return wrapped(_INDENT + printable(text), width, _INDENT)
