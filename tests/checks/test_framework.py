"""Findings, the registry, what is selected and silenced, and what follows from what."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

import optrace
from checks.conftest import Recorded, source_line
from optrace.checks import check as check_module
from optrace.checks.causes import CAUSES, resolve
from optrace.checks.finding import SEVERITIES, Finding
from optrace.checks.registry import codes, rule, rules
from optrace.checks.rule import Rule
from optrace.checks.run import Run
from optrace.errors import LookupFailed, OptraceError
from optrace.trace.model import Site


def stale(path: Path) -> Path:
    """A loop without zero_grad, recorded."""
    x = torch.tensor([1.0, 1.0], requires_grad=True)
    optimizer = torch.optim.Adam([x], lr=0.001)
    with optrace.record(path):
        for slope in (200.0, 100.0):
            (slope * x).sum().backward()
            optimizer.step()  # the line
    return path


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Iterable[Any]:
    with optrace.load(stale(tmp_path_factory.mktemp("stale") / "run.optrace")) as opened:
        yield opened


def finding(code: str, severity: Any = "error", first: int = 0, **others: Any) -> Finding:
    return Finding(code, "name", severity, "message", "fix", "x.py", 1, "f", "0:0", span=(first, first), **others)


# What a finding says


def test_300_is_explained(trace: Any) -> None:
    (found,) = trace.findings
    assert found.code == "OT101"
    assert "gradient of x is 300 = 200 (already applied at 0:1) + 100 (new), and should be 100" in found.message
    assert found.evidence["gradient"] == 300
    assert found.evidence["should_be"] == 100
    assert found.evidence["stale_share"] == pytest.approx(2 / 3)
    assert (found.position, found.count, found.parameters, found.function) == ("1:1", 1, ("x",), "stale")
    assert "# the line" in source_line(found)


def test_as_json(trace: Any) -> None:
    (found,) = trace.findings
    told = json.loads(json.dumps(found.to_dict()))
    assert " ".join(told) == (
        "code name severity message fix file line function position count parameters evidence caused_by processes"
    )
    assert told["severity"] == "error"
    assert told["caused_by"] is None
    assert str(found).startswith(f"{found.file}:{found.line}: error OT101 missing-zero-grad: ")


def test_check_takes_a_trace_or_a_path(trace: Any) -> None:
    assert optrace.check(trace) == optrace.check(trace.path) == optrace.check(str(trace.path)) == list(trace.findings)


def test_findings_of_a_trace_that_grows(tmp_path: Path) -> None:
    x = torch.tensor([1.0], requires_grad=True)
    optimizer = torch.optim.SGD([x], lr=0.1)
    recording = optrace.record(tmp_path / "run.optrace").start()
    try:
        x.sum().backward()
        optimizer.step()
        recording_trace = wait_for(tmp_path / "run.optrace", 2)
        assert recording_trace.findings == ()
        x.sum().backward()
        optimizer.step()
    finally:
        recording.stop()
    recording_trace.refresh()
    assert [f.code for f in recording_trace.findings] == ["OT101"]
    assert len(recording_trace.ledger("x").inside) == 2


def wait_for(path: Path, count: int) -> Any:
    import time

    for _ in range(200):
        if path.exists():
            opened = optrace.load(path)
            if len(opened.events) >= count:
                return opened
            opened.close()
        time.sleep(0.02)
    raise AssertionError("nothing was written")


def test_a_trace_without_events(tmp_path: Path) -> None:
    with optrace.record(tmp_path / "run.optrace"):
        pass
    assert optrace.check(tmp_path / "run.optrace") == []


# The registry


def test_every_rule_is_documented() -> None:
    known = rules()
    assert len({r.code for r in known}) == len(known) == len({r.name for r in known})
    for each in known:
        assert each.code.startswith("OT")
        assert each.severity in SEVERITIES
        assert each.bug.endswith((".", ".)")), each.code
        assert each.why.endswith((".", ".)")), each.code
        assert each.broken.strip() != each.fixed.strip(), each.code
        compile(each.broken, each.code, "exec")
        compile(each.fixed, each.code, "exec")


def test_every_ledger_rule_of_the_catalogue_is_there() -> None:
    assert [r.code for r in rules() if r.code.startswith("OT1")] == [f"OT{n}" for n in range(101, 112)]


def test_causes_name_rules_that_exist() -> None:
    for consequence, causes in CAUSES.items():
        assert rule(consequence)
        for cause in causes:
            assert rule(cause).code != consequence


def test_a_rule_by_code_and_by_name() -> None:
    assert rule("ot101") is rule("missing-zero-grad") is rule(" OT101 ")
    assert codes(["OT1", "non-finite-loss"]) >= {"OT101", "OT111", "OT401"}
    with pytest.raises(LookupFailed, match="did you mean 'missing-zero-grad'"):
        rule("missing-zero-gard")
    with pytest.raises(LookupFailed, match="no rule 'OT999'"):
        codes(["OT999"])


# Select, ignore, silence


def test_select_and_ignore(trace: Any) -> None:
    assert [f.code for f in optrace.check(trace, select=["OT1"])] == ["OT101"]
    assert optrace.check(trace, select=["OT102"]) == []
    assert optrace.check(trace, ignore=["missing-zero-grad"]) == []
    with pytest.raises(LookupFailed):
        optrace.check(trace, ignore=["OT9"])


def test_what_a_silenced_cause_explains_stays_silent(monkeypatch: pytest.MonkeyPatch, trace: Any) -> None:
    both = [finding("OT103", parameters=("w",)), finding("OT104", parameters=("w",))]
    monkeypatch.setattr(check_module, "_run", lambda trace: both)
    assert [f.code for f in optrace.check(trace)] == ["OT103"]
    assert optrace.check(trace, ignore=["OT103"]) == []


@pytest.mark.parametrize(
    ("comment", "silent"),
    [
        ("# optrace: ignore", True),
        ("# optrace: ignore[OT101]", True),
        ("#optrace:ignore [ot102, missing-zero-grad]", True),
        ("# optrace: ignore[OT102]", False),
        ("# ignore", False),
    ],
)
def test_a_comment_on_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, comment: str, silent: bool) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        f"""\
import torch, optrace
x = torch.ones(2, requires_grad=True)
optimizer = torch.optim.SGD([x], lr=0.1)
with optrace.record("run.optrace"):
    for _ in range(3):
        x.sum().backward()
        optimizer.step()  {comment}
"""
    )
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(script), run_name="__main__")
    assert (optrace.check(tmp_path / "run.optrace") == []) is silent


def test_pyproject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trace: Any) -> None:
    below = tmp_path / "project" / "src"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    settings = tmp_path / "project" / "pyproject.toml"
    settings.write_text('[tool.optrace]\nignore = ["OT101"]\n')
    (tmp_path / "pyproject.toml").write_text("[tool.optrace]\nignore = []\n")
    assert optrace.check(trace) == []
    settings.write_text('[tool.other]\nignore = ["OT101"]\n')
    assert len(optrace.check(trace)) == 1
    settings.write_text('[tool.optrace]\nignore = "OT101"\n')
    with pytest.raises(OptraceError, match="should be a list of codes"):
        optrace.check(trace)
    settings.write_text("[tool.optrace\n")
    with pytest.raises(OptraceError, match=r"cannot read .*pyproject.toml") as raised:
        optrace.check(trace)
    assert isinstance(raised.value.__cause__, ValueError)
    settings.write_text('[tool.optrace]\nignore = ["OT999"]\n')
    with pytest.raises(LookupFailed, match="no rule 'OT999'"):
        optrace.check(trace)


# Order and causes


def test_worst_first_and_consequences_last(monkeypatch: pytest.MonkeyPatch, trace: Any) -> None:
    given = [
        finding("OT107", "hint"),
        finding("OT101", first=9),
        finding("OT109", "warning"),
        finding("OT103", first=3),
    ]
    followed = [*given, finding("OT105").because_of("OT103")]
    monkeypatch.setattr(check_module, "_run", lambda trace: followed)
    assert [f.code for f in optrace.check(trace)] == ["OT103", "OT101", "OT109", "OT107", "OT105"]


def test_causes_need_something_in_common() -> None:
    cause = finding("OT103", first=5, parameters=("w",), optimizers=(0,))
    assert resolve([cause, finding("OT104", first=6, parameters=("w",))]) == [cause]
    assert resolve([cause, finding("OT104", first=6, optimizers=(0,))]) == [cause]
    assert resolve([cause, finding("OT104", first=6)]) == [cause]
    assert len(resolve([cause, finding("OT104", first=6, parameters=("v",), optimizers=(1,))])) == 2
    assert len(resolve([cause, finding("OT104", first=4, parameters=("w",))])) == 2


def test_what_follows_can_be_kept_and_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CAUSES, "OT104", {"OT103": "mark"})
    marked = resolve([finding("OT104", first=6), finding("OT103", first=5)])
    assert [(f.code, f.caused_by) for f in marked] == [("OT104", "OT103"), ("OT103", None)]


# One pass


def test_every_rule_sees_every_event_once(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    import optrace.ledger.view as view_module

    monkeypatch.setattr(view_module.views, "__defaults__", (4, None))
    counts: list[int] = []

    class Counting(Rule):
        code, name, severity = "OT000", "counting", "hint"
        bug = why = broken = fixed = ""

        def piece(self, piece: Any) -> None:
            counts.append(len(piece.view))
            assert list(piece.steps.seq) == [
                e.seq for e in piece.view.trace.events[piece.view.first : piece.view.stop] if e.kind == "step"
            ]

        def finish(self) -> list[Finding]:
            return [self.run.finding(self, message="m", fix="f", seq=0)]

    monkeypatch.setattr(check_module, "rules", lambda: (Counting,))
    with recorded() as run:
        x = torch.ones(2, requires_grad=True)
        optimizer = torch.optim.SGD([x], lr=0.1)
        for _ in range(7):
            optimizer.zero_grad()
            x.sum().backward()
            optimizer.step()
    assert [f.code for f in run.findings] == ["OT000"]
    assert sum(counts) == 21
    assert len(counts) == 6


def test_findings_do_not_depend_on_where_the_trace_is_cut(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    import optrace.ledger.view as view_module

    with recorded() as run:
        x = torch.ones(2, requires_grad=True)
        first, second = torch.optim.SGD([x], lr=0.1), torch.optim.Adam([x], lr=0.1)
        for turn in range(30):
            if turn % 5 == 0:
                first.zero_grad()
            (x * (turn + 1)).sum().backward()
            if turn % 3:
                first.step()
                second.step(lambda: None)
            if turn == 20:
                x.grad = None
    found = []
    for size in (1, 2, 7, 65_536):
        monkeypatch.setattr(view_module.views, "__defaults__", (size, None))
        found.append(optrace.check(run.path))
    assert found[0]
    assert all(each == found[-1] for each in found)


def test_lines_are_named_beside_one_another() -> None:
    here, there = Site("/a/train.py", 3, "f"), Site("/a/loop.py", 9, "g")
    assert Run.line(here, here) == "line 3"
    assert Run.line(there, here) == "loop.py:9"
    assert Run.line(None) == "an unknown line"


def test_checks_import_neither_torch_nor_textual(trace: Any) -> None:
    program = (
        "import sys, optrace; t = optrace.load(sys.argv[1]); assert len(t.findings) == 1; str(t.ledger('x'));"
        "assert not {'torch', 'textual'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, trace.path], check=True)
