"""The *Update* tab: the arithmetic of the step for one element, ending in the recorded value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from optrace.errors import OptraceError
from optrace.trace.model import Parameter
from optrace.tui.core.machine import Machine
from optrace.tui.core.numerals import exact, index
from optrace.tui.core.readings import Pending
from optrace.tui.core.spans import Line, Span, cells, going, left, right, wrap

if TYPE_CHECKING:
    from optrace.arithmetic.account import Account, Term


def lines(
    machine: Machine, parameter: Parameter, seq: int, place: tuple[int, ...], room: int, height: int = 100
) -> list[Line]:
    """The tab's lines: of the step at `seq`, or of the parameter's last step before."""
    steps = machine.owners.steps(parameter)
    found = int(np.searchsorted(steps, seq, "right")) - 1
    if found < 0:
        if not len(steps):
            return [[Span("No optimizer has stepped this parameter in the whole trace.", "finding-warning")]]
        first = machine.trace.events[int(steps[0])]
        return [
            [
                Span("No step is recorded up to here. ", "dim"),  # there may have been some, before or in a gap
                going(f"The first one is at {first.position}.", "dim", first.seq),
            ]
        ]
    step = int(steps[found])
    account = _account(machine, parameter, step, place)
    position = machine.trace.events[step].position
    earlier = going(f"the last step, at {position}", "bold", step)
    when: Line = [Span("this step", "changed bold") if step == seq else earlier]
    if isinstance(account, Pending):
        return [when, [Span("computing …", "dim")]]
    if isinstance(account, str):
        return [when, *wrap([Span(account, "finding-warning")], room)]
    head: Line = [Span(f"element {index(account.element)}", "", "tab('values')"), Span(" at "), *when, Span("   ")]
    hyper = ", ".join(f"{name} {value}".strip() for name, value in account.hyper)
    head.append(Span(f"{account.optimizer}, {hyper}", "dim"))
    body = wrap(head, room)
    verdict = _verdict(account, room)
    terms = _terms(account, room, notes=True)
    if len(body) + len(terms) + len(verdict) + 1 > height:
        terms = _terms(account, room, notes=False)
    if len(body) + len(terms) + len(verdict) > height:  # what it comes to is worth more than how
        if terms and terms[-1][0].text.strip():
            body.append(terms.pop())
        body += verdict
        verdict = []
    elif len(body) + len(terms) + len(verdict) < height:
        body.append([])
    body += terms
    if verdict and len(body) + len(verdict) < height:
        body.append([])
    body += verdict
    if account.source:
        body += [[], *wrap([Span(f"Formula: {account.source}", "dim")], room)]
    return body


def _account(machine: Machine, parameter: Parameter, step: int, place: tuple[int, ...]) -> Any:
    from optrace.arithmetic.explain import explain

    def work() -> Account | str:
        try:
            return explain(machine.trace, step, parameter, place)
        except OptraceError as error:
            return str(error)

    size = 4 * 8 * parameter.numel
    return machine.readings.compute(("account", parameter.id, step, place), size // 4, work)


def _terms(account: Account, room: int, *, notes: bool) -> list[Line]:
    terms = list(account.terms)
    if not terms:
        return []
    names = max(cells(term.label) for term in terms)
    symbols = max(cells(term.symbol) for term in terms)
    values = [_value(term, account.dtype) for term in terms]
    numbers = max(cells(text) for text in values)
    longest_note = max(cells(term.note) for term in terms)
    formulas = max(10, room - names - symbols - numbers - 8 - (longest_note + 2 if room > 95 else 0))
    longest = max(cells(term.formula) for term in terms)
    formulas = min(formulas, longest)
    found: list[Line] = []
    for term, text in zip(terms, values, strict=True):
        last = term is terms[-1]
        line: Line = [Span(left(term.label, names + 2), "dim"), Span(left(term.symbol, symbols + 1), "bold")]
        formula = f"= {term.formula}" if term.formula else ""
        long = cells(term.formula) > formulas
        if long:
            found.append([*line, Span(formula)])
            line = [Span(" " * (names + symbols + 3))]
            formula = ""
        line.append(Span(left(formula, formulas + 3)))
        line += [Span("= ", "dim"), Span(right(text, numbers), "changed bold" if last else "")]
        if term.note and room > 95:
            line.append(Span(f"  {term.note}", "dim"))
        found.append(line)
        if term.note and room <= 95 and notes:
            found.append([Span(" " * (names + symbols + 3)), Span(term.note, "dim")])
    return found


def _value(term: Term, dtype: str) -> str:
    return exact(term.value, dtype) if not isinstance(term.value, str) else term.value


def _verdict(account: Account, room: int) -> list[Line]:
    found = wrap([Span(account.reason, "finding-warning")], room) if account.reason else []
    if account.recorded is None:
        return found
    recorded = account.recorded
    text = exact(recorded, account.dtype) if not isinstance(recorded, complex) else str(recorded)
    if account.agrees is None:
        return [*found, [Span(f"recorded: {text}")]]
    if not account.agrees:
        return [*found, [Span(f"✗ the recorded value is {text}: something else changed it as well", "bad")]]
    how = (
        "equals the recorded value" if not account.ulps else f"equals the recorded value {text} but for its last digit"
    )
    return [*found, [Span(f"✓ {how}", "good")]]
