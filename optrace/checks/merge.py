"""The findings of several processes as one list: a bug that all ranks have is one bug."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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


def processes(names: Sequence[str]) -> str:
    """`rank 0`, `rank 0 and rank 3`, `rank 0 to rank 3`."""
    shown = [name.replace("-", " ") for name in names]
    numbers = [int(name.removeprefix("rank-")) for name in names if name.removeprefix("rank-").isdecimal()]
    if len(names) > 2 and len(numbers) == len(names) and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{shown[0]} to {shown[-1]}"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
