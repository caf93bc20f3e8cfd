"""What stands in the windows: findings, conditions, the comparison of a mark with here, the keys."""

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

HELP: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    (
        "Through the run",
        (
            ("← →  h l", "one event back, on"),
            ("[ ]", "one iteration back, on"),
            ("Home End", "first, last event; End follows a trace that is still recorded"),
            ("n N", "next, previous finding"),
            ("w W", "next, previous event that wrote the value in the inspector"),
            ("c C", "run on, back to where a condition holds; Esc stops"),
            ("b", "list of conditions"),
            ("g", "go to 12:2, iteration 12, 50%, #300, end, or element [3,7]"),
            ("'", "back to where you were"),
            ("Space", "play; + and − change the speed"),
            ("m d", "set a mark; compare the mark with here"),
            ("r R", "the same place on the next, previous process (rank) of the run"),
            ("a", "this event on all processes, side by side"),
        ),
    ),
    (
        "Parameters",
        (
            ("↑ ↓  k j", "select a parameter; PgUp PgDn a page"),
            ("/", "filter by name; Esc clears the filter"),
            ("o", "sort: as in the model, name, size, norms, stale share, Δ/param"),
        ),
    ),
    (
        "Inspector",
        (
            ("1 … 5", "Gradient, Update, State, Values, History"),
            ("Tab", "next tab (on narrow screens: next pane)"),
            ("v V", "which value: parameter, gradient, state, last update"),
            ("x", "heat map, numbers, histogram; in History: which statistic"),
            ("y", "linear or log axis"),
            ("Shift+arrows  H J K L", "move the element; , and . change the slice"),
            ("Ctrl+↑ Ctrl+↓", "scroll the inspector"),
            ("< >", "look left, right along long source lines"),
        ),
    ),
    (
        "Everything else",
        (
            ("f", "findings, with their evidence and fix"),
            ("s", "save a picture (SVG)"),
            ("t", "dark or light"),
            ("Ctrl+P", "all commands by name"),
            ("?", "this help"),
            ("q", "quit"),
        ),
    ),
)
LEGEND: tuple[tuple[str, str, str], ...] = (
    ("▆▆▆▆▆", "fresh", "fresh: a backward put it there, no step has used it"),
    ("░░░░░", "used", "used: one step has applied it; waiting to be cleared"),
    ("▓▒▓▒▓", "stale", "stale: applied before and still there. The next step applies it again"),
    ("·····", "cleared", "cleared by this event"),
    ("◆ 1.83", "changed", "changed by this event"),
    ("≈ 1.83", "", "sampled: statistics and at most some elements were kept"),
    ("● ▲ ○", "finding-error", "a finding: error, warning, hint"),
)


def help_entries(width: int) -> list[list[Line]]:
    """The keys, and what the bars mean."""
    found: list[list[Line]] = []
    for title, keys in HELP:
        found.append([[Span(title, "heading")]])
        for key, words in keys:
            pieces = paragraph([Span(words)], width, 25)
            pieces[0] = [Span(left("  " + key, 25), "key"), *pieces[0][1:]]
            found.append(pieces)
        found.append([[]])
    found.append([[Span("What the bars say", "heading")]])
    for glyphs, role, words in LEGEND:
        found.append([[Span("  "), Span(left(glyphs, 23), role), Span(words)]])
    found += [
        [[]],
        [
            [
                Span("Letters in the lanes: ", "heading"),
                Span("Z zero_grad  B backward  S step  C clip  L learning rate  U unscale"),
            ]
        ],
    ]
    found.append([[Span("  A scaler update  R load state  M changed by hand  • mark")]])
    return found


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
        name = max(10, min(30, width - 62))
        timeline = session.machine.timeline
        losses = [timeline.loss_at(seq) for seq in (mark, here)]
        found: list[list[Line]] = [
            [
                [
                    Span("mark ", "mark"),
                    Span(session.position(mark), "bold"),
                    Span("   here "),
                    Span(session.position(here), "bold"),
                    Span(f"   {count(abs(here - mark), 'event')} apart", "dim"),
                    Span(f"   loss {short(losses[0], 4)} → {short(losses[1], 4)}"),
                ]
            ],
            [[]],
            [
                [
                    Span(
                        left("parameter", name)
                        + right("‖param‖ mark → here", 22)
                        + right("‖difference‖", 14)
                        + right("‖grad‖ mark → here", 22),
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
                        Span(left(cut_middle(title, name - 1), name)),
                        Span(right(sizes, 22)),
                        Span(right(apart, 14), "changed" if changed else "dim"),
                        Span(right(gradients, 22)),
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
