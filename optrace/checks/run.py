"""What rules are given: the run they look at, and its events piece by piece."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from optrace.checks.finding import Finding, Severity
from optrace.checks.seen import Calls
from optrace.checks.steps import StepFacts
from optrace.ledger.cohorts import Cohorts
from optrace.ledger.flow import Flow
from optrace.ledger.flows import Flows
from optrace.ledger.view import View, views
from optrace.trace.format import Op
from optrace.trace.model import Event, Optimizer, Parameter, Site

if TYPE_CHECKING:
    from optrace.checks.rule import Rule
    from optrace.trace.reader import Trace

UNKNOWN = "an unknown line"
"""In a sentence, where a call came from no line of the user's."""
_ONE = re.compile(r"(?<![\d.,])1 (parameter|step|backward|event|contribution)s\b")
_PLACE = re.compile(rf" \((made|taken) (on|after) {UNKNOWN}\)|,? (made )?on {UNKNOWN}")


@dataclass(frozen=True)
class Piece:
    """Some of the events, in order. Made once and shared by all rules."""

    view: View
    """The events as columns."""
    flows: tuple[Flow, ...]
    """The accounts of the cohorts of parameters that these events touch."""

    @cached_property
    def steps(self) -> StepFacts:
        """What each step found in its parameters' gradients."""
        return StepFacts(self.view, self.flows)


class Run:
    """What all rules share: the trace, its cohorts, and the words for things in messages."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.count = len(trace.records)
        """How many events are looked at."""
        self.cohorts = Cohorts(trace)
        self.flows = Flows(self.cohorts)
        """The accounts; after the last piece `flows.carry` says how they ended."""
        self.calls = Calls()
        """Which lines called what, up to the current piece."""
        self.from_sample = False
        """Whether numbers were read since the last finding from a sample of a value that was not kept whole."""

    def pieces(self) -> Iterator[Piece]:
        """The whole run, once."""
        for view in views(self.trace, stop=self.count):
            self.calls.add(view)
            yield Piece(view, self.flows.advance(view))

    # Gaps

    @cached_property
    def gaps(self) -> np.ndarray[Any, Any]:
        """Numbers of the events that stand for what was not recorded, ascending."""
        found = self.trace.gap_numbers
        return found[found < self.count]

    @property
    def unbroken(self) -> int:
        """How many events there are before the first gap: what never happened there can be told."""
        return int(self.gaps[0]) if len(self.gaps) else self.count

    def gap_between(self, first: int, last: int) -> bool:
        """Whether something was not recorded between two events."""
        return bool(np.searchsorted(self.gaps, first) != np.searchsorted(self.gaps, last, "right"))

    # Looking things up

    def parameter(self, number: int) -> Parameter:
        return self.trace.parameters.by_id(number)

    def optimizer(self, number: int) -> Optimizer:
        return self.trace.optimizer_by_id(number)

    @cached_property
    def ended_well(self) -> bool:
        """The recording was closed in good order, and no exception ended the program."""
        meta = self.trace.meta
        return self.trace.complete and not meta.get("raised") and not meta.get("failure") and self.count > 0

    @cached_property
    def changed_parameters(self) -> frozenset[int]:
        """Ids of the parameters whose content ever changed, by a step or otherwise."""
        found: set[int] = set()
        for effect in self.trace.effect_ids(-1):
            changes = self.trace.effect_by_id(effect).changes
            found.update(c.parameter for c in changes if c.kind == "param" and c.op is Op.CHANGE)
        return frozenset(found)

    def event(self, seq: int) -> Event:
        return self.trace.events[int(seq)]

    def site(self, seq: int) -> Site | None:
        """The user's line of an event."""
        return self.event(seq).site

    def stack_site(self, stack: int) -> Site | None:
        """The user's line of a chain of calls (the `stack` column)."""
        return self.trace.stack(int(stack))[0]

    # Words

    def called(self, optimizer: int) -> str:
        """What the user calls an optimizer: its variable, else its class."""
        known = self.optimizer(optimizer)
        return known.variable or known.name

    def names(self, parameters: Iterable[int]) -> tuple[str, ...]:
        """Unique names, in the order the parameters were first seen."""
        return tuple(self.parameter(number).name for number in sorted(parameters))

    def listed(self, parameters: Iterable[int]) -> str:
        """Names for a sentence: the first three, and how many more."""
        names = self.names(parameters)
        return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

    @staticmethod
    def line(site: Site | None, beside: Site | None = None) -> str:
        """`line 12`, or `other.py:12` where it is in another file than `beside`."""
        if site is None:
            return UNKNOWN
        if beside is None or site.file == beside.file:
            return f"line {site.line}"
        return f"{os.path.basename(site.file)}:{site.line}"

    # Findings

    def finding(
        self,
        rule: Rule,
        *,
        message: str,
        fix: str,
        seq: int | None = None,
        site: Site | None = None,
        count: int = 1,
        last: int | None = None,
        severity: Severity | None = None,
        parameters: Iterable[int] = (),
        optimizers: Iterable[int] = (),
        evidence: Mapping[str, Any] | None = None,
        processes: Iterable[str] = (),
    ) -> Finding:
        """A finding of a rule. `seq` is the first event that shows it, `last` the last; the line is that of
        `site`, or of the first event."""
        event = self.event(seq) if seq is not None and self.count else None
        if site is None and event is not None:
            site = event.site
        first = event.seq if event is not None else 0
        evidence = dict(evidence or {})
        if self.from_sample:
            self.from_sample = False
            message += " These numbers are of a sample of the elements: the values were not kept whole."
            evidence["sampled"] = True
        return Finding(
            code=rule.code,
            name=rule.name,
            severity=severity or rule.severity,
            message=_tidy(message),
            fix=_tidy(fix),
            file=site.file if site else None,
            line=site.line if site else None,
            function=site.function if site else None,
            position=str(event.position) if event is not None else None,
            count=int(count),
            parameters=self.names(parameters),
            evidence={key: _plain(value) for key, value in evidence.items()},
            optimizers=tuple(sorted({int(o) for o in optimizers})),
            span=(first, int(last) if last is not None else first),
            processes=tuple(processes),
        )


def _tidy(sentence: str) -> str:
    """A sentence without the places that nobody knows: `the step (lr 1)`, not `the step on an unknown line (lr 1)`;
    and one step rather than 1 steps."""
    sentence = _ONE.sub(r"1 \1", _PLACE.sub("", sentence))
    return sentence.replace(f"before {UNKNOWN}", "before it").replace(f"after {UNKNOWN}", "after it")


def _plain(value: Any) -> Any:
    """As JSON knows it."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
