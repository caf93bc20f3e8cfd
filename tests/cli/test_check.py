"""`check` and `rules`, and the findings at the end of `run`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from textwrap import dedent

import pytest

from .conftest import recorded
from .programs import optrace, run

FORGOTTEN = """
    import torch
    weight = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1)
    for turn in range(5):
        (weight * 3).sum().backward()
        optimizer.step()
"""


@pytest.fixture(scope="module")
def forgotten(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A loop without zero_grad; beside it `said`, what `run` printed."""
    folder = tmp_path_factory.mktemp("forgotten")
    path = recorded(folder, "forgotten", FORGOTTEN)
    return path


def test_findings_people_read(forgotten: Path) -> None:
    ended = optrace("check", forgotten.name, cwd=forgotten.parent)
    assert (ended.code, ended.err) == (1, "")
    lines = ended.out.splitlines()
    assert lines[0] == "error OT101 missing-zero-grad"
    assert lines[1].startswith("  forgotten.py:7 in <module>, first at 1:1, 4 times")
    assert lines[2] == "      optimizer.step()"
    assert any(line.startswith("  Fix: ") for line in lines)
    assert lines[-1] == "forgotten.optrace: 1 error"
    assert max(map(len, lines)) <= 80


def test_the_verdict_says_what_it_is_about(tmp_path: Path) -> None:
    (tmp_path / "forgotten.py").write_text(dedent(FORGOTTEN))
    ended = run("--every", "2", "forgotten.py", cwd=tmp_path)
    verdict = "no findings in the 3 of 5 iterations recorded, no two of them in a row"
    assert "events, 3 of 5 iterations, 1 parameter," in ended.err
    assert ended.err.splitlines()[-1] == f"optrace: {verdict}"
    ended = optrace("check", "forgotten.optrace", cwd=tmp_path)
    assert ended.out == f"forgotten.optrace: {verdict}\n"


def test_findings_programs_read(forgotten: Path) -> None:
    ended = optrace("check", forgotten.name, "--json", cwd=forgotten.parent)
    assert ended.code == 1
    found = json.loads(ended.out)
    assert set(found) == {"trace", "findings"}
    (finding,) = found["findings"]
    assert set(finding) == {
        "code", "name", "severity", "message", "fix", "file", "line", "function", "position", "count",
        "parameters", "evidence", "caused_by", "processes",
    }  # fmt: skip
    assert finding["code"] == "OT101"
    assert finding["position"] == "1:1"
    assert finding["line"] == 7
    assert finding["parameters"] == ["weight"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--ignore", "OT101"], 0, "no findings"),
        (["--ignore", "missing-zero-grad,OT4"], 0, "no findings"),
        (["--select", "OT1"], 1, "1 error"),
        (["--select", "OT4"], 0, "no findings"),
        (["--fail-on", "hint"], 1, "1 error"),
        (["--fail-on", "never"], 0, "1 error"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_counts(arguments: list[str], code: int, said: str, forgotten: Path) -> None:
    ended = optrace("check", forgotten.name, *arguments, cwd=forgotten.parent)
    assert ended.code == code
    assert ended.out.endswith(f"forgotten.optrace: {said}\n")


def test_a_project_may_ignore_a_rule(forgotten: Path, tmp_path: Path) -> None:
    shutil.copytree(forgotten, tmp_path / "t")
    (tmp_path / "pyproject.toml").write_text('[tool.optrace]\nignore = ["OT101"]\n')
    assert optrace("check", "t", cwd=tmp_path).code == 0


def test_a_correct_loop_has_no_findings(trained: Path) -> None:
    ended = optrace("check", trained.name, "--fail-on", "warning", cwd=trained.parent)
    assert ended.code == 0, ended.out


def test_run_ends_with_the_findings(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text(FORGOTTEN.replace("\n    ", "\n"))
    ended = run("x.py", cwd=tmp_path)
    assert ended.code == 0
    lines = ended.err.splitlines()
    assert lines[2] == "optrace: 1 error:"
    assert lines[3] == "error OT101 missing-zero-grad"
    assert lines[5] == "      optimizer.step()"
    ended = run("-f", "--ignore", "OT101", "x.py", cwd=tmp_path)
    assert ended.err.splitlines()[2:] == ["optrace: no findings"]


def test_rules() -> None:
    ended = optrace("rules", cwd=Path.cwd())
    assert (ended.code, ended.err) == (0, "")
    assert "OT101 missing-zero-grad (error)\n    " in ended.out
    assert max(map(len, ended.out.splitlines())) <= 80
    for name in ("OT101", "ot101", "missing-zero-grad"):
        ended = optrace("rules", name, cwd=Path.cwd())
        assert ended.out.startswith("OT101 missing-zero-grad (error)\n")
        assert "The bug:\n" in ended.out
        assert "The repair:\n" in ended.out
        assert "zero_grad()" in ended.out.split("The repair:")[1]
