"""What findings say reads as a person would write it, whatever kind of event is behind them."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch

from optrace.checks.run import UNKNOWN, _tidy
from tests.checks.conftest import Recorded

NAN = float("nan")
ODD = re.compile(
    r"  |\s[.,;:)](?!\w)|\(\s|\bNone\b|\b1 \w+s\b(?! \()|unknown line|[{}]|\bThe (zero grad|mutation|load state)\b"
)
"""Two spaces, a space before a comma, a plural of one, what a program says rather than a person."""


def _loop(turn: Callable[[int, torch.nn.Linear, torch.optim.SGD], None], value: float = 1.0) -> None:
    model = torch.nn.Linear(2, 1)
    with torch.no_grad():
        model.weight.fill_(value)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for number in range(3):
        optimizer.zero_grad()
        model(torch.ones(2)).sum().backward()
        optimizer.step()
        turn(number, model, optimizer)


def _by_hand(number: int, model: torch.nn.Linear, optimizer: torch.optim.SGD) -> None:
    if number == 1:
        with torch.no_grad():
            model.weight.mul_(NAN)


def _loaded(number: int, model: torch.nn.Linear, optimizer: torch.optim.SGD) -> None:
    if number == 1:
        model.load_state_dict({name: value * NAN for name, value in model.state_dict().items()})


def _rate(number: int, model: torch.nn.Linear, optimizer: torch.optim.SGD) -> None:
    optimizer.param_groups[0]["lr"] = float("inf")


BAD: dict[str, tuple[Callable[[], None], str, str]] = {
    "from the start": (lambda: _loop(lambda *_: None, NAN), "already when first seen, at 0:0", "made or loaded from"),
    "by hand": (lambda: _loop(_by_hand), "A change by hand made weight NaN or Inf at 1:3.", "written to it on line"),
    "loaded": (lambda: _loop(_loaded), "`load_state_dict` made weight and 1 more NaN", "written to it on line"),
    "by a step": (lambda: _loop(_rate), "`optimizer.step()` made weight and 1 more NaN", "(lr inf)"),
}


@pytest.mark.parametrize("what", BAD)
def test_who_made_a_parameter_nan(recorded: Recorded, what: str) -> None:
    loop, says, mend = BAD[what]
    with recorded() as run:
        loop()
    found = next(finding for finding in run.findings if finding.code == "OT403")
    assert says in found.message
    assert mend in found.fix
    for finding in run.findings:
        assert not ODD.search(finding.message), finding.message
        assert not ODD.search(finding.fix), finding.fix


def test_a_loss_that_is_nan_at_once_had_none_before(recorded: Recorded) -> None:
    with recorded() as run:
        weight = torch.nn.Parameter(torch.ones(1))
        optimizer = torch.optim.SGD([weight], lr=0.1)
        for _ in range(3):
            (weight * NAN).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
    found = run.one("OT401")
    assert "reached 1 parameter. No loss came before it, and the parameters were finite." in found.message


@pytest.mark.parametrize(
    ("sentence", "said"),
    [
        (f"the step on {UNKNOWN} (lr 1).", "the step (lr 1)."),
        (f"`opt` (made on {UNKNOWN}) never steps.", "`opt` never steps."),
        (f"Look before {UNKNOWN} for a log.", "Look before it for a log."),
        (f"a new model, made on {UNKNOWN}.", "a new model."),
        ("It happens at 1 steps; 21 backwards, 0.1 steps.", "It happens at 1 step; 21 backwards, 0.1 steps."),
    ],
)
def test_what_nobody_knows_is_left_out(sentence: str, said: str) -> None:
    assert _tidy(sentence) == said
