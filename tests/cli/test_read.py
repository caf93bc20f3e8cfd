"""`show`, `info`, `ledger` and `explain`: what they print about a trace, for people and for programs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optrace import load

from .programs import Ended, optrace


def told(trace: Path, command: str, *arguments: str, **more: str) -> Ended:
    """The command on a trace, seen from the folder the trace is in."""
    ended = optrace(command, trace.name, *arguments, cwd=trace.parent, **more)  # type: ignore[arg-type]
    assert (ended.code, ended.err) == (0, "")
    return ended


def parsed(text: str) -> Any:
    """JSON as strict parsers read it."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_the_timeline_of_a_long_run_shows_its_ends(trained: Path) -> None:
    lines = told(trained, "show").out.splitlines()
    assert lines[0] == "train.optrace: 181 events in 30 iterations, 4 parameters"
    assert len(lines) == 2 + 40 + 1
    assert lines[2].split() == ["0:0", "mark", "epoch", "0", "train.py:13"]
    assert "… 141 events left out, 3:2 to 26:4; --limit 0 shows all …" in lines
    assert "loss = " in lines[-1]
    assert "bad = nan" in lines[-1]


def test_what_events_did_is_in_the_timeline(trained: Path) -> None:
    lines = told(trained, "show", "4").out.splitlines()
    kinds = ["mark", "zero_grad", "backward", "clip", "step", "scheduler_step"]
    assert [line.split()[1] for line in lines[1:]] == kinds
    assert "4 gradients cleared" in lines[2]
    assert "loss " in lines[3]
    assert "grad norm " in lines[3]
    assert "max norm 0.5" in lines[4]
    assert "Adam, lr 0.01 " in lines[5]
    assert "lr 0.01 → 0.001, StepLR" in lines[6]


def test_a_part_of_the_timeline(trained: Path) -> None:
    lines = told(trained, "show", "--from", "2", "--to", "3").out.splitlines()[2:]
    assert [line.split()[0] for line in lines] == [f"{i}:{j}" for i in (2, 3) for j in range(6)]
    lines = told(trained, "show", "--from", "2:1", "--to", "2:3").out.splitlines()[2:]
    assert [line.split()[0] for line in lines] == ["2:1", "2:2", "2:3"]
    assert len(told(trained, "show", "--limit", "0").out.splitlines()) == 2 + 181
    assert len(told(trained, "show", "--limit", "1").out.splitlines()) == 2 + 1 + 1


def test_the_timeline_as_json_lines(trained: Path) -> None:
    objects = [parsed(line) for line in told(trained, "show", "--json").out.splitlines()]
    assert len(objects) == 181
    assert objects[2] | {"time": 0, "duration": 0, "file": "", "loss": 0} == {
        "position": "0:2", "iteration": 0, "index": 2, "kind": "backward", "depth": 0, "time": 0, "duration": 0,
        "thread": "MainThread", "file": "", "line": 16, "function": "<module>", "optimizer": None, "loss": 0,
        "live_graphs": 1, "failed": False, "skipped": False, "by_hand": False, "detail": {},
    }  # fmt: skip
    assert objects[-1]["detail"]["values"]["bad"] == "NaN"
    assert len(told(trained, "show", "--json", "--limit", "3").out.splitlines()) == 3


def test_one_event_and_everything_it_touched(trained: Path) -> None:
    text = told(trained, "show", "1:4").out
    lines = text.splitlines()
    assert lines[0] == "1:4  step  Adam, lr 0.01"
    assert lines[1] == "at train.py:18 in <module>"
    assert lines[2] == "    optimizer.step()"
    for name in ("0.weight", "0.bias", "2.weight", "2.bias"):
        rows = [line.split() for line in lines if line.startswith(name)]
        assert {row[-5] for row in rows} == {"param", "step", "exp_avg", "exp_avg_sq"} or len(rows) == 4
    with load(trained) as trace:
        before, after = (trace.value("0.bias", "exp_avg", at) for at in ("0:4", "1:4"))
        assert before is not None
        assert after is not None
        row = next(line.split() for line in lines if line.startswith("0.bias") and "exp_avg " in line)
        assert row[-1] == f"{np.linalg.norm(after.astype(float)):.6g}"
        assert row[-3] == f"{np.linalg.norm(before.astype(float)):.6g}"


def test_one_event_as_json(trained: Path) -> None:
    found = parsed(told(trained, "show", "0:2", "--json").out)
    assert found["kind"] == "backward"
    assert {change["parameter"] for change in found["changes"]} == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert {change["what"] for change in found["changes"]} == {"deposit"}
    assert all(change["norm_before"] is None and change["norm_after"] > 0 for change in found["changes"])
    assert found["stack"][0]["line"] == 16
    step = parsed(told(trained, "show", "0:4", "--json").out)
    assert step["groups"][0]["lr"] == 0.01
    assert step["groups"][0]["parameters"] == ["0.weight", "0.bias", "2.weight", "2.bias"]


@pytest.mark.parametrize("kind", ["param", "grad", "exp_avg", "step"])
def test_numbers_read_back_bit_for_bit(kind: str, trained: Path) -> None:
    with load(trained) as trace:
        expected = trace.value("0.weight", kind, "7:4")
    assert expected is not None
    text = told(trained, "show", "7:4", "--param", "0.weight", "--value", kind).out
    rows = [line for line in text.splitlines()[1:] if not line.startswith("[")]
    numbers = np.array([float(word) for row in rows for word in row.split()], expected.dtype)
    assert np.array_equal(numbers.reshape(expected.shape), expected)
    found = parsed(told(trained, "show", "7:4", "--param", "0.weight", "--value", kind, "--json").out)
    assert np.array_equal(np.array(found["data"], found["dtype"]), expected)
    assert found["shape"] == list(expected.shape)


def test_a_value_that_is_not_there(trained: Path) -> None:
    assert told(trained, "show", "2:1", "--param", "0.bias", "--value", "grad").out.splitlines()[1] == "None"
    found = parsed(told(trained, "show", "2:1", "--param", "0.bias", "--value", "grad", "--json").out)
    assert found["data"] is None
    lines = told(trained, "show", "2:1", "--param", "0.bias").out.splitlines()
    assert next(line for line in lines if line.startswith("grad")).split() == ["grad", *["-"] * 6, "none"]


def test_a_value_past_the_size_budget_says_what_was_kept(squeezed: Path) -> None:
    lines = told(squeezed, "show", "20", "--param", "weight", "--value", "grad").out.splitlines()
    assert lines[1].startswith("not kept whole: ")
    assert " sampled elements; norm " in lines[1]
    found = parsed(told(squeezed, "show", "20", "--param", "weight", "--value", "grad", "--json").out)
    assert found["data"] is None
    assert len(found["sample"]) == len(lines) - 2
    assert math.isclose(found["statistics"]["norm"], np.linalg.norm(np.full(40_000, 20.0)), rel_tol=1e-5)
    event = parsed(told(squeezed, "show", "20:1", "--json").out)
    assert event["changes"][0]["kept"] == "sampled"
    assert "sampled" in told(squeezed, "show", "20", "--param", "weight").out


def test_a_large_value_is_cut_aloud(squeezed: Path) -> None:
    lines = told(squeezed, "show", "0", "--param", "weight", "--value", "param").out.splitlines()
    assert sum(len(line.split()) for line in lines[1:] if not line.startswith("…")) == 1000
    assert "… 39,000 of 40,000 numbers left out; --all prints them, --json has them too …" in lines
    whole = told(squeezed, "show", "0", "--param", "weight", "--value", "param", "--all").out.splitlines()
    assert sum(len(line.split()) for line in whole[1:] if not line.startswith("[")) == 40_000


def test_info(trained: Path) -> None:
    text = told(trained, "info").out
    for said in (
        "command     train.py",
        "state       complete",
        "devices     cpu",
        "iterations  30",
        "events      181: 30 zero_grad, 30 backward, 30 step, 30 clip, 30 scheduler_step,\n            31 mark",
        "Adam optimizer, made at train.py:8",
        "group 0: 4 parameters, lr 1e-07, ",
        "4 parameters, 21 elements",
        "0.weight  [4, 3]  float32  cpu",
    ):
        assert said in text
    found = parsed(told(trained, "info", "--json").out)
    assert found["events"] == 181
    assert found["kinds"]["mark"] == 31
    assert found["complete"] is True
    assert found["optimizers"][0]["groups"][0]["hyper"]["betas"] == [0.9, 0.999]
    assert [parameter["shape"] for parameter in found["parameters"]] == [[4, 3], [4], [1, 4], [1]]


def test_the_ledger(trained: Path) -> None:
    lines = told(trained, "ledger", "3:2").out.splitlines()
    assert lines[0] == "just after 3:2 backward"
    assert lines[1].startswith("0.weight: grad ")
    assert sum("this backward" in line for line in lines) == 4
    text = told(trained, "ledger", "3:2", "--param", "2.bias", "--element", "0").out
    assert "inside: 1 contribution\n" in text
    assert "past: 3 contributions\n" in text
    assert text.count("applied 1 time, cleared at ") == 3


def test_the_arithmetic(trained: Path) -> None:
    text = told(trained, "explain", "3:4", "--param", "0.weight", "--element", "0,2").out
    assert "equals the recorded value" in text
    assert "0.weight" in text


@pytest.mark.parametrize(
    "arguments",
    [
        ["show"], ["show", "3"], ["show", "3:2"], ["show", "3:4"], ["show", "3:5"],
        ["show", "3:4", "--param", "0.bias"],
        ["show", "3:4", "--param", "0.weight", "--value", "exp_avg"], ["ledger", "3:4"],
        ["ledger", "3:4", "--param", "0.bias"], ["explain", "3:4", "--param", "0.bias"], ["check"],
        ["info"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_eighty_columns(arguments: list[str], trained: Path) -> None:
    ended = optrace(arguments[0], trained.name, *arguments[1:], cwd=trained.parent)
    assert ended.out
    assert max(map(len, ended.out.splitlines())) <= 80


@pytest.mark.parametrize(
    "arguments",
    [["show"], ["show", "1:2"], ["show", "1:1"], ["show", "1:0", "--json"], ["info"], ["info", "--json"], ["ledger"],
     ["check"], ["check", "--json"], ["show", "1:2", "--param", "PARAM"], ["explain", "1:2", "--param", "PARAM"],
     ["ledger", "1:2", "--param", "PARAM"], ["show", "1:2", "--param", "\x1b[31m"]],
    ids=ascii,
)  # fmt: skip
def test_nothing_recorded_controls_the_terminal(arguments: list[str], nasty: Path) -> None:
    with load(nasty) as trace:
        (name,) = trace.parameters
    ended = optrace(arguments[0], nasty.name, *(a.replace("PARAM", name) for a in arguments[1:]), cwd=nasty.parent)
    assert ended.out or ended.err
    assert "Traceback" not in ended.err
    for text in (ended.out, ended.err):
        assert all(character.isprintable() or character == "\n" for character in text)


def test_a_reader_that_stops_is_no_error(trained: Path) -> None:
    import subprocess
    import sys

    from .programs import environment

    command = f"{sys.executable} -m optrace show train.optrace --json --limit 0 | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=trained.parent, env=environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)


def test_a_stdout_that_holds_only_ascii(trained: Path) -> None:
    text = told(trained, "show", "4:5", PYTHONIOENCODING="ascii").out
    assert "\\u2192" in text
