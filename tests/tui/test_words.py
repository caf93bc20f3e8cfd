"""What happened, in words: every kind of event, in every way it can go, reads as a person would write it."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest
import torch

import optrace
from optrace.trace.format import KINDS
from optrace.tui.core.machine import Machine
from optrace.tui.core.spans import plain
from optrace.tui.core.tabs import gradient, state, update

ODD = re.compile(r"  |\s[.,;:](?!\w)|\(\s|\bNone of\b(?! its)|\b1 \w+s\b|unknown|[{}]|\bnan %|\? %|\bto set\b")
"""Two spaces, a space before a comma, a plural of one, a number that is none."""


def everything(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Each call in each of its ways; for what a correct loop does, and for what a wrong one does."""
    inputs = torch.ones(4, 2)

    def backward(scale: float = 1.0) -> None:
        (model(inputs).square().sum() * scale).backward()

    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    optimizer.step()  # with nothing to apply
    optimizer.zero_grad()  # with nothing to clear
    backward()
    backward()  # accumulated
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1e9)  # which changes nothing
    torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    optimizer.step()
    optimizer.step()  # the same again
    for _ in range(4):
        backward()  # on top of what was applied
        optimizer.step()
        scheduler.step()
    optimizer.zero_grad(set_to_none=False)
    optimizer.zero_grad()
    backward()
    optimizer.zero_grad()  # what no step has used
    backward()
    with torch.no_grad():
        for parameter in model.parameters():
            assert parameter.grad is not None
            parameter.grad.mul_(0.5)
    optrace.mark("here")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    optrace.log(accuracy=0.5, other=NAN)
    for parameter in model.parameters():
        parameter.grad = None
    optrace.mark("epoch", 3)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optrace.mark("set")
    optimizer.zero_grad()
    model.load_state_dict(model.state_dict())
    optimizer.load_state_dict(optimizer.state_dict())
    for size in (1.0, float("inf")):
        scaler.scale(model(inputs).sum() * size).backward()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    torch.zeros(1, requires_grad=True).sum().backward()  # which reaches no parameter
    rates = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    backward()
    optimizer.step()
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    with contextlib.suppress(RuntimeError):
        model(inputs).backward()  # not of one number
    backward(NAN)
    optimizer.step()


NAN = float("nan")
MODELS = {"one": lambda: torch.nn.Linear(2, 1, bias=False), "some": lambda: torch.nn.Linear(2, 2)}
OPTIMIZERS = {"sgd": lambda p: torch.optim.SGD(p, lr=0.1), "adam": lambda p: torch.optim.Adam(p, lr=0.1)}


@pytest.mark.parametrize("capture", ["exact", "sampled", "stats"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.filterwarnings("ignore")
def test_every_event_is_told_in_good_words(tmp_path: Path, model: str, optimizer: str, capture: str) -> None:
    torch.manual_seed(0)
    path, made = tmp_path / "run.optrace", MODELS[model]()
    with optrace.record(path, capture=capture):
        everything(made, OPTIMIZERS[optimizer](made.parameters()))
    with optrace.load(path) as trace:
        machine = Machine(trace)
        machine.prepare()
        kinds = set()
        for event in trace.events:
            kinds.add(event.kind)
            for parameter in trace.parameters.values():
                place = (0,) * len(parameter.shape)
                sentences = [plain(line) for line in machine.story.of(event.seq, parameter)]
                assert sentences
                for sentence in sentences:
                    assert sentence[0].isupper() or not sentence[0].isalpha() or sentence.split()[0].strip(":.,") in (
                        *KINDS, "unscale_", "logged", parameter.name, *trace.parameters
                    ), sentence  # fmt: skip
                    assert sentence[-1] in ".:)" or sentence[-1].isalnum(), sentence
                    assert not ODD.search(sentence), sentence
                for tab in (gradient, update, state):
                    for line in tab.lines(machine, parameter, event.seq, place, 100):
                        assert not re.search(r"\bnan %|\? %|unknown line|[{}]", plain(line)), plain(line)
        assert kinds == set(KINDS) - {"gap"}
        machine.readings.close()
