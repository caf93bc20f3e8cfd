"""The findings of several processes as one list: a bug that all ranks have is one bug."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from optrace.checks.finding import Finding


def merged(found: Mapping[str, list[Finding]]) -> list[Finding]:
    """Findings by process; each that several have in common once, with the names of those processes."""
    if len(found) == 1:
        return next(iter(found.values()))
    first: dict[tuple[Any, ...], Finding] = {}
    processes: dict[tuple[Any, ...], list[str]] = {}
    for name, findings in found.items():
        for finding in findings:
            key = (finding.code, finding.file, finding.line, finding.parameters, finding.optimizers, finding.caused_by)
            first.setdefault(key, finding)
            processes.setdefault(key, []).extend(finding.processes or [name])
    return [replace(finding, processes=tuple(dict.fromkeys(processes[key]))) for key, finding in first.items()]
