"""Whatever a command is given: one clear line, exit code 2, no traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from .programs import Ended, optrace

NOTHING = ["file", "empty", "zero", "random", "truncated", "other", "newer", "events", "gone", "missing", "\x1b[31mred"]
READERS: dict[str, list[str]] = {
    "show": [],
    "info": [],
    "check": [],
    "ledger": ["0:1"],
    "explain": ["0:4", "--param", "0.weight"],
    "view": [],
}


def one_line(ended: Ended) -> str:
    """The one line that says what is wrong."""
    assert ended.code == 2
    assert ended.err.startswith("optrace: ")
    assert ended.err.count("\n") == 1
    assert "\x1b" not in ended.err
    return ended.err


@pytest.mark.parametrize("name", NOTHING)
def test_what_is_no_trace(name: str, no_traces: Path) -> None:
    # `show 0` reads everything the other commands read; that they all share the way in is tested below.
    ended = optrace("show", name, "0:3", cwd=no_traces)
    line = one_line(ended)
    assert ended.out == ""
    assert name in line or "\\x1b" in line


@pytest.mark.parametrize("command", READERS)
@pytest.mark.parametrize("name", ["missing", "random", "newer"])
def test_every_command_says_so(command: str, name: str, no_traces: Path) -> None:
    ended = optrace(command, name, *READERS[command], cwd=no_traces)
    one_line(ended)
    assert ended.out == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "T", "99"], "there are 30"),
        (["show", "T", "99:1"], "there are 30"),
        (["show", "T", "3:77"], "3:5"),
        (["show", "T", "x"], "'x' is not a position"),
        (["show", "T", "-1"], "iteration"),
        (["show", "T", "1:2", "--param", "0.wieght"], "'0.weight'"),
        (["show", "T", "1:2", "--param", "0.weight", "--value", "exp_agv"], "'exp_avg'"),
        (["show", "T", "--value", "grad"], "--param"),
        (["show", "T", "--limit", "-3"], "--limit -3"),
        (["show", "T", "--from", "9", "--to", "3"], "--from 9"),
        (["show", "T", "3", "--from", "9"], "leave out"),
        (["show", "T", "--no-such"], "--no-such"),
        (["ledger", "T", "1:99"], "1:5"),
        (["ledger", "T", "1:1", "--param", "nothing"], "0.weight"),
        (["ledger", "T", "1:1", "--param", "0.weight", "--element", "a"], "'a'"),
        (["ledger", "T", "1:1", "--param", "0.weight", "--element", "9,9"], "no element"),
        (["ledger", "T", "1:1", "--param", "0.weight", "--element", "1"], "no element"),
        (["ledger", "T", "1:1", "--element", "1"], "--param"),
        (["explain", "T", "0:1", "--param", "0.weight"], "step"),
        (["explain", "T", "0:4", "--param", "0.weight", "--element", "9,9"], "[9, 9]"),
        (["explain", "T", "0:4"], "--param"),
        (["check", "T", "--select", "OT999"], "'OT999'"),
        (["check", "T", "--ignore", "nonsense"], "'nonsense'"),
        (["check", "T", "--fail-on", "often"], "often"),
        (["rules", "OT999"], "'OT999'"),
        (["view", "T"], "terminal"),
        (["nothing"], "nothing"),
        ([], "required"),
        (["show"], "required"),
        (["run"], "nothing to run"),
        (["run", "missing.py"], "missing.py"),
        (["run", "--budget", "lots", "script.py"], "'lots'"),
        (["run", "--budget", "10kB", "script.py"], "10.0 kB"),
        (["run", "--capture", "all", "script.py"], "'all'"),
        (["run", "--every", "x", "script.py"], "--every x"),
        (["run", "--every", "0", "script.py"], "every 0"),
        (["run", "--from", "-1", "script.py"], "from -1"),
        (["run", "--from", "9", "--until", "3", "script.py"], "until 3"),
        (["run", "--params", "", "script.py"], "empty pattern"),
        (["run", "--no-such", "script.py"], "--no-such"),
        (["run", "-o"], "-o"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_does_not_exist(arguments: list[str], said: str, trained: Path, tmp_path: Path) -> None:
    ended = optrace(*(str(trained) if argument == "T" else argument for argument in arguments), cwd=tmp_path)
    assert said in one_line(ended)
    assert not list(tmp_path.iterdir())
