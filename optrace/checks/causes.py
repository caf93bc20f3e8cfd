"""One bug, one finding: which findings follow from which.

The one table that says so. Rules report what they see; here what follows from another finding is
left out, or kept with `caused_by` where it says something the cause does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from optrace.checks.finding import Finding

Relation = Literal["drop", "mark"]

_NON_FINITE: tuple[str, ...] = ("OT401", "OT402", "OT403")
_TOO_LARGE: dict[str, Relation] = {"OT101": "mark", "OT305": "mark", "OT110": "mark"}
"""What makes training diverge, and so end in NaN."""

CAUSES: dict[str, Mapping[str, Relation]] = {
    # consequence: {cause: what becomes of the consequence}
    "OT102": {"OT103": "drop"},
    "OT104": {"OT108": "drop", "OT103": "drop", "OT502": "drop"},
    "OT105": {"OT108": "drop"},
    "OT106": {"OT103": "drop"},
    "OT107": {"OT108": "drop", "OT502": "drop"},
    "OT108": {"OT502": "drop"},
    "OT109": {"OT108": "drop", "OT104": "drop", "OT502": "drop"},
    "OT110": {"OT101": "drop"},
    "OT203": {"OT202": "mark"},
    "OT204": {"OT103": "drop", "OT104": "drop", "OT108": "drop", "OT502": "drop"},
    "OT207": {"OT205": "drop", "OT206": "drop"},
    "OT302": {"OT305": "drop"},
    "OT304": {"OT101": "drop", "OT108": "drop", "OT110": "mark"},
    "OT306": dict.fromkeys(_NON_FINITE, "mark"),
    **dict.fromkeys(_NON_FINITE, _TOO_LARGE),
    "OT405": {**dict.fromkeys(_NON_FINITE, "drop"), "OT101": "drop", "OT110": "drop", "OT305": "drop"},
    "OT406": dict.fromkeys(_NON_FINITE, "drop"),
    "OT407": {**dict.fromkeys(_NON_FINITE, "drop"), "OT101": "drop", "OT305": "drop", "OT405": "drop", "OT408": "drop"},
}


def resolve(findings: Iterable[Finding]) -> list[Finding]:
    """Leave out or mark what follows from another finding about the same parameters or optimizers."""
    every = list(findings)
    kept = []
    for finding in every:
        cause, relation = _cause(finding, every)
        if cause is None:
            kept.append(finding)
        elif relation == "mark":
            kept.append(finding.because_of(cause.code))
    return kept


def _cause(finding: Finding, every: list[Finding]) -> tuple[Finding | None, Relation]:
    marked: Finding | None = None
    for code, relation in CAUSES.get(finding.code, {}).items():
        for other in every:
            if other.code == code and other is not finding and related(other, finding):
                if relation == "drop":
                    return other, "drop"
                marked = marked or other
    return marked, "mark"


def related(cause: Finding, consequence: Finding) -> bool:
    """The cause does not begin after the consequence is over, and both are about something they share.

    A finding that names neither parameters nor optimizers (a loss) is about everything.
    """
    if cause.span[0] > consequence.span[1]:
        return False
    if not (cause.parameters or cause.optimizers) or not (consequence.parameters or consequence.optimizers):
        return True
    return bool({*cause.parameters} & {*consequence.parameters} or {*cause.optimizers} & {*consequence.optimizers})
