"""A finding: a defect of the loop, with its evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Severity = Literal["error", "warning", "hint"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "hint")
"""Worst first: the loop is wrong, very likely wrong, worth knowing."""


@dataclass(frozen=True)
class Finding:
    """What is wrong, where, how often, in which parameters, by which numbers, and what to do.

    `message` is one or two plain sentences, `fix` one sentence that names the line to change.
    `position` is where it first happened, `count` how many events show it. `evidence` holds plain
    numbers and strings only. `caused_by` is the code of the finding that this one follows from.
    """

    code: str
    name: str
    severity: Severity
    message: str
    fix: str
    file: str | None
    line: int | None
    function: str | None
    position: str | None
    count: int = 1
    parameters: tuple[str, ...] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)
    caused_by: str | None = None
    optimizers: tuple[int, ...] = ()
    """Ids of the optimizers it is about. With `parameters` and `span`, how causes find consequences."""
    span: tuple[int, int] = (0, 0)
    """Numbers of the first and the last event that show it."""
    processes: tuple[str, ...] = ()
    """Which processes it was found in, or is about, where several were recorded together; position, span and
    evidence are then the first one's."""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: " if self.file else ""
        return f"{where}{self.severity} {self.code} {self.name}: {self.message}"

    def because_of(self, code: str) -> Finding:
        """The same, following from another."""
        return replace(self, caused_by=code)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "code": self.code,
            "name": self.name,
            "severity": self.severity,
            "message": self.message,
            "fix": self.fix,
            "file": self.file,
            "line": self.line,
            "function": self.function,
            "position": self.position,
            "count": self.count,
            "parameters": list(self.parameters),
            "evidence": dict(self.evidence),
            "caused_by": self.caused_by,
            "processes": list(self.processes),
        }
