"""`explain` and `momentum_origins` on recorded runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from optrace.arithmetic import explain, momentum_origins
from optrace.arithmetic.render import render, render_origins, verdict
from optrace.errors import LookupFailed
from optrace.recording.session import record as recording
from optrace.trace.reader import Trace, load

from .recorded import Make, record, steps_of

O = torch.optim  # noqa: E741

EVERY: dict[str, Make] = {
    "SGD": lambda net: O.SGD(net.parameters(), lr=0.01, momentum=0.9, dampening=0.1, weight_decay=0.01),
    "SGD nesterov": lambda net: O.SGD(net.parameters(), lr=0.01, momentum=0.9, nesterov=True),
    "SGD foreach nesterov": lambda net: O.SGD(net.parameters(), lr=0.01, momentum=0.9, nesterov=True, foreach=True),
    "SGD fused": lambda net: O.SGD(net.parameters(), lr=0.01, momentum=0.9, fused=True),
    "SGD tensor lr": lambda net: O.SGD(net.parameters(), lr=torch.tensor(0.013)),
    "Adam": lambda net: O.Adam(net.parameters(), amsgrad=True, weight_decay=0.1),
    "Adam tensor lr": lambda net: O.Adam(net.parameters(), lr=torch.tensor(0.013)),
    "AdamW": lambda net: O.AdamW(net.parameters(), fused=True),
    "Adamax": lambda net: O.Adamax(net.parameters()),
    "NAdam": lambda net: O.NAdam(net.parameters()),
    "RAdam": lambda net: O.RAdam(net.parameters(), betas=(0.9, 0.6)),
    "RMSprop": lambda net: O.RMSprop(net.parameters(), centered=True, momentum=0.9),
    "Rprop": lambda net: O.Rprop(net.parameters()),
    "Adagrad": lambda net: O.Adagrad(net.parameters(), lr_decay=0.1),
    "Adadelta": lambda net: O.Adadelta(net.parameters()),
    "ASGD": lambda net: O.ASGD(net.parameters(), t0=1),
    "Adafactor": lambda net: O.Adafactor(net.parameters(), weight_decay=0.1),
    "Muon": lambda net: O.Muon([net.weight]),
}


@pytest.mark.parametrize("closure", [False, True])
@pytest.mark.parametrize("name", list(EVERY))
def test_every_step_of_every_optimizer_is_explained(tmp_path: Path, name: str, closure: bool) -> None:
    with record(tmp_path / "t.optrace", EVERY[name], closure=closure) as trace:
        for step in steps_of(trace):
            for parameter in ("weight",) if name == "Muon" else ("weight", "bias"):
                found = explain(trace, step, parameter)
                assert found.agrees, render(found)
                assert found.rule == name.split()[0]
                assert found.recorded == float(trace.value(parameter, "param", step)[found.element])
                text = render(found, str(step.position))
                assert all(len(line) <= 84 for line in text.splitlines()), text
                assert verdict(found).startswith("✓ equals the recorded value")


WITH_MOMENTUM = ("SGD", "SGD nesterov", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Muon")


@pytest.mark.parametrize("name", WITH_MOMENTUM)
def test_momentum_is_the_sum_of_its_origins(tmp_path: Path, name: str) -> None:
    with record(tmp_path / "t.optrace", EVERY[name], steps=6) as trace:
        last = steps_of(trace)[-1]
        for element in ((1, 2), None):
            found = momentum_origins(trace, last, "weight", element)
            buffer = trace.value("weight", found.state, last).astype(np.float64)
            whole = buffer[element] if element else np.linalg.norm(buffer)
            assert found.total == pytest.approx(whole)
            assert len(found.steps) == 6
            assert found.reason == ""
            assert sum(step.amount for step in found.steps) == pytest.approx(whole, rel=1e-5, abs=1e-6)
            assert found.older == pytest.approx(0, abs=1e-5 * max(1, abs(whole)))
            assert sum(step.share for step in found.steps) + found.older_share == pytest.approx(1)

            short = momentum_origins(trace, last, "weight", element, limit=2)
            assert [(s.position, s.weight, s.amount) for s in short.steps] == [
                (s.position, s.weight, s.amount) for s in found.steps[:2]
            ]
            assert short.older == pytest.approx(whole - sum(step.amount for step in short.steps), abs=1e-6)
            assert "older" in render_origins(short)


def test_the_first_gradient_of_sgd_comes_in_whole(tmp_path: Path) -> None:
    def make(net: nn.Module) -> torch.optim.Optimizer:
        return O.SGD(net.parameters(), lr=0.01, momentum=0.5, dampening=0.5)

    with record(tmp_path / "t.optrace", make, steps=3) as trace:
        found = momentum_origins(trace, steps_of(trace)[-1], "weight", (0, 0))
    assert [step.weight for step in found.steps] == [0.5, 0.25, 0.25]


def test_origins_end_where_the_buffer_was_written_by_hand(tmp_path: Path) -> None:
    p = nn.Parameter(torch.ones(2))
    optimizer = O.SGD([p], lr=0.1, momentum=0.9)
    with recording(tmp_path / "t.optrace"):
        for number in range(4):
            p.grad = torch.ones(2)
            if number == 2:
                optimizer.state[p]["momentum_buffer"].zero_()
            optimizer.step()
    with load(tmp_path / "t.optrace") as trace:
        found = momentum_origins(trace, steps_of(trace)[-1], "p", (0,))
        assert len(found.steps) == 2
        assert "something other than a step wrote momentum_buffer" in found.reason
        assert found.older == pytest.approx(0, abs=1e-6)


def test_a_parameter_without_gradient_is_passed_over(tmp_path: Path) -> None:
    p, q = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = O.SGD([p, q], lr=0.1)
    with recording(tmp_path / "t.optrace"):
        p.grad = torch.ones(2)
        optimizer.step()
    with load(tmp_path / "t.optrace") as trace:
        found = explain(trace, steps_of(trace)[0], "q")
        assert "no gradient" in found.reason
        assert found.agrees
        assert found.terms == ()
        assert verdict(found) == "✓ unchanged"


def test_lbfgs_says_what_its_last_iteration_did(tmp_path: Path) -> None:
    def one(net: nn.Module) -> torch.optim.Optimizer:
        return O.LBFGS(net.parameters(), lr=0.1, max_iter=1)

    with record(tmp_path / "one.optrace", one, closure=True) as trace:
        for step in steps_of(trace):
            for parameter in ("weight", "bias"):
                found = explain(trace, step, parameter)
                assert found["evaluations"].value == 1
                assert found.agrees, render(found)

    def many(net: nn.Module) -> torch.optim.Optimizer:
        return O.LBFGS(net.parameters(), line_search_fn="strong_wolfe")

    with record(tmp_path / "many.optrace", many, steps=1, closure=True) as trace:
        found = explain(trace, steps_of(trace)[0], "bias")
        assert found["iterations"].value > 1
        assert found["evaluations"].value >= found["iterations"].value
        assert found.predicted is None
        assert "only the last inner iteration" in found.reason
        assert found["change_norm"].value > 0


def test_a_gradscaler_with_a_fused_optimizer(tmp_path: Path) -> None:
    net = nn.Linear(2, 2)
    optimizer = O.Adam(net.parameters(), lr=0.1, fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with recording(tmp_path / "t.optrace"):
        for _ in range(2):
            optimizer.zero_grad()
            scaler.scale(net(torch.ones(1, 2)).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
    with load(tmp_path / "t.optrace") as trace:
        for step in steps_of(trace):
            found = explain(trace, step, "weight")
            assert found.agrees, render(found)


def test_samples_of_a_large_parameter(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Linear(200, 200)
    optimizer = O.Adam(net.parameters())
    with recording(tmp_path / "t.optrace", capture="sampled"):
        for _ in range(4):
            optimizer.zero_grad()
            net(torch.randn(4, 200)).pow(2).sum().backward()
            optimizer.step()
    with load(tmp_path / "t.optrace") as trace:
        last = steps_of(trace)[-1]
        assert trace.exactness("weight", "param", last) == "sampled"
        found = explain(trace, last, "weight")
        assert found.agrees, render(found)
        assert len(found.element) == 2
        again = explain(trace, last, "weight", found.element)
        assert again.predicted == found.predicted
        kept = set(trace.sample("weight", "param", last).indices.tolist())
        missing = next(i for i in range(40_000) if i not in kept)
        with pytest.raises(LookupFailed, match="the nearest is"):
            explain(trace, last, "weight", (missing // 200, missing % 200))


def test_complex_parameters(tmp_path: Path) -> None:
    p = nn.Parameter(torch.randn(3, dtype=torch.complex64))
    optimizer = O.Adam([p], lr=0.1)
    with recording(tmp_path / "t.optrace"):
        for _ in range(3):
            optimizer.zero_grad()
            (p - (1 + 2j)).abs().pow(2).sum().backward()
            optimizer.step()
    with load(tmp_path / "t.optrace") as trace:
        found = explain(trace, steps_of(trace)[-1], "p", (1,))
        assert found.agrees
        assert isinstance(found.predicted, complex)
        assert {term.part for term in found.terms} == {"real", "imaginary"}
        assert "imaginary part" in render(found)


class TestWrongQuestions:
    @pytest.fixture
    def trace(self, tmp_path: Path) -> Trace:
        return record(tmp_path / "t.optrace", EVERY["Adam"], steps=2)

    def test_not_a_step(self, trace: Trace) -> None:
        with pytest.raises(LookupFailed, match=r"is a zero_grad, and only a step.*nearest step is 0:2"):
            explain(trace, "0:0", "weight")

    def test_no_such_parameter(self, trace: Trace) -> None:
        with pytest.raises(LookupFailed, match="weight"):
            explain(trace, "0:2", "wieght")

    def test_no_such_element(self, trace: Trace) -> None:
        with pytest.raises(LookupFailed, match=r"no element \[5, 0\]"):
            explain(trace, "0:2", "weight", (5, 0))
        with pytest.raises(LookupFailed, match="written like 0,0"):
            explain(trace, "0:2", "weight", (1,))

    def test_no_momentum(self, tmp_path: Path) -> None:
        trace = record(tmp_path / "s.optrace", lambda net: O.SGD(net.parameters(), lr=0.1), steps=1)
        with pytest.raises(LookupFailed, match="keeps no momentum"):
            momentum_origins(trace, steps_of(trace)[0], "weight")

    def test_held_by_another_optimizer(self, tmp_path: Path) -> None:
        trace = record(tmp_path / "s.optrace", lambda net: O.SGD([net.weight], lr=0.1), steps=1)
        with pytest.raises(LookupFailed, match="does not hold bias"):
            explain(trace, steps_of(trace)[0], "bias")


def test_neither_torch_nor_textual_is_imported() -> None:
    code = (
        "import sys, optrace.arithmetic, optrace.arithmetic.render;"
        "optrace.arithmetic.rules.names();"
        "sys.exit(any(name in sys.modules for name in ('torch', 'textual')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
