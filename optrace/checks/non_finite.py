"""What the rules about NaN and Inf share: each speaks where what it is about came first."""

from __future__ import annotations

from collections.abc import Iterator

from optrace.checks.finding import Finding
from optrace.checks.origin import Origin, search
from optrace.checks.rule import Rule
from optrace.checks.run import Piece, Run


class NonFinite(Rule):
    """A rule for one of the ways in which the first NaN or Inf comes about."""

    def start(self, run: Run) -> None:
        super().start(run)
        self._search = search(run)

    def piece(self, piece: Piece) -> None:
        self._search.feed(piece)

    def finish(self) -> Iterator[Finding]:
        origin = self._search.origin()
        if origin is not None and origin.code == self.code:
            yield self.found(origin)

    def found(self, origin: Origin) -> Finding:
        """What there is to say of it."""
        raise NotImplementedError
