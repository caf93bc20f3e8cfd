"""`check`: all rules over a trace, in one pass."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from optrace.checks.causes import resolve
from optrace.checks.finding import SEVERITIES, Finding
from optrace.checks.merge import merged
from optrace.checks.registry import codes, rules
from optrace.checks.run import Run
from optrace.checks.silence import from_pyproject, silenced_on_line

if TYPE_CHECKING:
    from optrace.trace.reader import Trace


def check(
    trace: Trace | str | os.PathLike[str],
    select: Iterable[str] | None = None,
    ignore: Iterable[str] | None = None,
) -> list[Finding]:
    """What is wrong with the recorded loop: findings, worst first, a cause before what follows from it.

    `select` keeps only these rules, `ignore` leaves rules out; both take codes (`OT101`), the
    beginnings of codes (`OT1`) or names, and raise `LookupFailed` for unknown ones. Left out are
    also rules that the nearest pyproject.toml ignores and lines with an `# optrace: ignore` comment.

    Of several processes that ran together all are checked, each by itself and against the others; what
    is found in more than one is one finding.
    """
    wanted = None if select is None else codes(select)
    unwanted = codes(from_pyproject()) | codes(ignore or ())
    if isinstance(trace, (str, os.PathLike)):
        from optrace.trace.reader import load

        with load(trace) as opened:
            return check(opened, select, ignore)
    found = {
        name: [
            finding
            for finding in resolve(_run(member))
            if (wanted is None or finding.code in wanted)
            and finding.code not in unwanted
            and not silenced_on_line(finding, member.sources)
        ]
        for name, member in trace.processes.items()
    }
    return sorted(merged(found), key=_rank)


def _run(trace: Trace) -> list[Finding]:
    """What every rule finds. All of them run, whatever is selected: a cause explains what follows from it."""
    run = Run(trace)
    at_work = [rule() for rule in rules()]
    for rule in at_work:
        rule.start(run)
    for piece in run.pieces():
        for rule in at_work:
            rule.piece(piece)
    found: list[Finding] = []
    for rule in at_work:
        run.from_sample = False
        found += rule.finish()
    return found


def _rank(finding: Finding) -> tuple[bool, int, int, str]:
    return (finding.caused_by is not None, SEVERITIES.index(finding.severity), finding.span[0], finding.code)
