"""What a rule is: a class with its documentation, fed with a trace in one pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from optrace.checks.finding import Finding, Severity

if TYPE_CHECKING:
    from optrace.checks.run import Piece, Run


class Rule(ABC):
    """One rule. A subclass in a module of `optrace.checks.rules` is found by itself.

    For every check an instance is made; `start` sees the trace's description, `piece` its events in
    order (as columns; keep the work vectorised and what is remembered small), `finish` gives the
    findings, made with `run.finding(self, …)`.
    """

    code: ClassVar[str]
    name: ClassVar[str]
    severity: ClassVar[Severity]
    """The worst it can report."""
    bug: ClassVar[str]
    """One sentence: what is wrong in the loop."""
    why: ClassVar[str]
    """Why it hurts."""
    broken: ClassVar[str]
    """The loop with the bug, a few lines of code."""
    fixed: ClassVar[str]
    """The same loop, repaired."""

    run: Run

    def start(self, run: Run) -> None:
        """Before the first event."""
        self.run = run

    def piece(self, piece: Piece) -> None:  # noqa: B027 – a rule may need no events
        """The next events."""

    @abstractmethod
    def finish(self) -> Iterable[Finding]:
        """After the last event: what was found."""
