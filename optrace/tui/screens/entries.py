"""What stands in the windows: findings, conditions, the comparison of a mark with here."""

from __future__ import annotations

from collections.abc import Callable

from optrace.checks.merge import processes as listed_processes
from optrace.errors import LookupFailed
from optrace.trace.model import Parameter
from optrace.tui.core.numerals import count, short
from optrace.tui.core.readings import Stats, norm, wide
from optrace.tui.core.session import Session
from optrace.tui.core.spans import Line, Span, cut_middle, left, right
from optrace.tui.screens.listing import Entries, paragraph


def finding_entries(session: Session) -> Entries:
    """All findings with their evidence."""

    def entries(width: int) -> list[list[Line]]:
        if session.findings.failure:
            return [paragraph([Span(f"The checks failed: {session.findings.failure}", "bad")], width)]
        if not session.findings.ready:
            return [[[Span("Still checking …", "dim")]]]
        if not len(session.findings):
            return [[[Span("Nothing was found: every contribution was applied once, then cleared.", "good")]]]
        found = []
        for finding in session.findings.all:
            head: Line = [
                Span(
                    f"{finding.glyph} {finding.severity} {finding.code} {finding.name.replace('-', ' ')}", finding.role
                )
            ]
            where = f"{finding.file.rsplit('/', 1)[-1]}:{finding.line}  " if finding.file else ""
            times = f", {count(finding.count, 'event')}" if finding.count > 1 else ""
            if len(finding.processes) > 1:
                times += f", in {listed_processes(finding.processes)}"
            entry = [head, [Span(f"  {where}first at {finding.where or 'no event'}{times}", "dim")]]
            entry += paragraph([Span(finding.message)], width, 2)
            entry += paragraph([Span(finding.fix, "bold")], width, 2)
            if finding.parameters:
                entry += paragraph(
                    [Span(", ".join(finding.parameters[:6]) + (" …" if len(finding.parameters) > 6 else ""), "dim")],
                    width,
                    2,
                )
            if finding.caused_by:
                entry.append([Span(f"  follows from {finding.caused_by}", "dim")])
            found.append([*entry, []])
        return found

    return entries


def condition_entries(session: Session) -> Entries:
    """The conditions; the one that c runs to is marked."""

    def entries(width: int) -> list[list[Line]]:
        found: list[list[Line]] = []
        for number, condition in enumerate(session.view.conditions):
            on = number == session.view.current
            found.append([[Span("● " if on else "  ", "cursor-line"), Span(condition.text, "bold" if on else "")]])
        return found or [[[Span("No condition yet. a adds one, such as: grad_norm > 10", "dim")]]]

    return entries


Compared = list[tuple[str, str, str, str]]
"""Of each parameter: its name, its norms, the norm of the difference, its gradients' norms."""
COMPARED = 500
"""Parameters compared at most; a filter chooses others."""


def compared(
    session: Session, rows: list[Parameter], mark: int, here: int, progress: Callable[[int, int], bool]
) -> Compared | None:
    """Read what the comparison shows; None where `progress` (False) stops it. Not for the screen's thread."""
    found: Compared = []
    for number, parameter in enumerate(rows):
        if number % 16 == 0 and not progress(number, len(rows)):
            return None
        sizes = [_pair(session, parameter, kind, mark, here) for kind in ("param", "grad")]
        found.append((parameter.name, sizes[0], _apart(session, parameter, mark, here), sizes[1]))
    return found


def compare_entries(session: Session, rows: Compared, more: int, mark: int, here: int) -> Entries:
    """The mark against here, a line for each parameter."""

    def entries(width: int) -> list[list[Line]]:
        pair, apart_ = (22, 14) if width >= 76 else (20, 13)
        name = max(10, min(30, width - 2 * pair - apart_))
        timeline = session.machine.timeline
        losses = [timeline.loss_at(seq) for seq in (mark, here)]
        found: list[list[Line]] = [
            [
                [
                    Span("mark ", "mark"),
                    Span(session.position(mark), "bold", f"below('go({mark})')"),
                    Span("   here "),
                    Span(session.position(here), "bold", f"below('go({here})')"),
                    Span(f"   {count(abs(here - mark), 'event')} apart", "dim"),
                    Span(f"   loss {short(losses[0], 4)} → {short(losses[1], 4)}"),
                ]
            ],
            [[]],
            [
                [
                    Span(
                        left("parameter", name)
                        + right("‖param‖ mark → here", pair)
                        + right("‖difference‖", apart_)
                        + right("‖grad‖ mark → here", pair),
                        "heading",
                    )
                ]
            ],
        ]
        for title, sizes, apart, gradients in rows:
            changed = apart not in ("0", "–")
            found.append(
                [
                    [
                        Span(left(cut_middle(title, name - 1), name), "", f"below({f'select({title!r})'!r})"),
                        Span(right(sizes, pair)),
                        Span(right(apart, apart_), "changed" if changed else "dim"),
                        Span(right(gradients, pair)),
                    ]
                ]
            )
        if more:
            found.append([[Span(f"… and {more} more; a filter (/) narrows this", "dim")]])
        return found

    return entries


def _pair(session: Session, parameter: Parameter, kind: str, mark: int, here: int) -> str:
    pair = [session.machine.readings.stats(parameter, kind, seq) for seq in (mark, here)]
    about = ["≈" if session.machine.readings.sampled(parameter, kind, seq) else "" for seq in (mark, here)]
    return " → ".join(
        sign + short(stats.norm) if isinstance(stats, Stats) else "none"
        for sign, stats in zip(about, pair, strict=True)
    )


def _apart(session: Session, parameter: Parameter, mark: int, here: int) -> str:
    try:
        first, second = (session.machine.readings.array(parameter, "param", seq) for seq in (mark, here))
    except LookupFailed:
        return "–"
    if first is None or second is None or first.shape != second.shape:
        return "–"
    return short(norm(wide(second) - wide(first)))
