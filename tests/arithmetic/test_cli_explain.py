"""`optrace explain`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import torch

from optrace.cli.explain import Explain
from optrace.errors import LookupFailed, OptraceError

from .recorded import record


@pytest.fixture
def path(tmp_path: Path) -> Path:
    where = tmp_path / "t.optrace"
    record(where, lambda net: torch.optim.Adam(net.parameters())).close()
    return where


def run(*arguments: str) -> int:
    parser, command = argparse.ArgumentParser(), Explain()
    command.prepare_parser(parser)
    return command.run(parser.parse_args(arguments))


def test_prints_the_account_and_where_the_momentum_is_from(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(str(path), "4:2", "--param", "weight", "--element", "0,3") == 0
    out = capsys.readouterr().out
    assert "element [0, 3] of weight at 4:2" in out
    assert "✓ equals the recorded value" in out
    assert "exp_avg[0, 3] of weight" in out
    assert run(str(path), "4:2", "--param", "bias", "--steps", "0") == 0
    assert "exp_avg[" not in capsys.readouterr().out


def test_json_is_one_object(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(str(path), "4:2", "--param", "weight", "--element", "[0, 3]", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["position"] == "4:2"
    assert found["element"] == [0, 3]
    assert found["agrees"] is True
    assert found["predicted"] == pytest.approx(found["recorded"], rel=1e-6)
    assert [term["key"] for term in found["terms"]][:2] == ["gradient", "first_moment"]
    assert len(found["momentum"]["steps"]) == 5
    assert found["momentum"]["steps"][0]["position"] == "4:2"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("4:2",), "name a parameter with --param; the step has weight, bias"),
        (("4:2", "--param", "nothing"), "no parameter 'nothing'"),
        (("4:0", "--param", "weight"), "only a step has an update; the nearest step is 4:2"),
        (("99:0", "--param", "weight"), "99"),
        (("4:2", "--param", "weight", "--element", "0,x"), "'0,x' is not an element"),
        (("4:2", "--param", "weight", "--element", "9,9"), r"no element \[9, 9\]"),
        (("4:2", "--param", "weight", "--steps", "-1"), "--steps -1"),
    ],
)
def test_wrong_arguments(path: Path, arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises((LookupFailed, OptraceError), match=message):
        run(str(path), *arguments)
