"""Well-formed JSON that no recording writes: whichever command meets it says so in one line, or shows what it says."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import sqlite3
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import optrace
from optrace.cli.main import main
from optrace.errors import DamagedError
from optrace.trace.format import INDEX_FILE, KIND_CODES, SEAL_FILE
from optrace.tui.app import ViewApp
from optrace.tui.core.spans import Line
from optrace.tui.widgets.topbar import TopBar
from tests.tui.drawing import press, screen_text, settle

NAN, INFINITY = float("nan"), float("inf")
HUGE = 10**400  # no float holds it
NESTED = json.loads("[" * 200 + "]" * 200)
WRONG: dict[str, Any] = {
    "null": None,
    "true": True,
    "negative": -1,
    "large": 10**30,
    "huge": HUGE,
    "fraction": 0.5,
    "nan": NAN,
    "inf": INFINITY,
    "text": "x",
    "red": "\x1b[31m\n",
    "empty": [],
    "list": [999999, "x", None, HUGE],
    "lists": [[1]],
    "pairs": [["x", 1], [-1, "param"], [10**30, "grad"]],
    "object": {},
    "objects": {"0": {"x": [HUGE]}, "x": [1, None], "99": True},
    "flags": {"x": True, "99": False},
    "names": {"x": ["x"]},
    "nested": NESTED,
}
META = ["argv", "cwd", "began", "ended", "launched", "optrace", "torch", "python", "platform", "devices", "notes"]
META += ["failure", "raised", "kept", "process_group", "pid", "host", "budget", "capture", "rank", "ring"]
DETAILS = {
    "backward": ["scale", "training", "mode_sensitive", "same_graph_as"],
    "step": ["scale", "aliases_gradient"],
    "clip": ["max_norm", "clip_value", "norm_type", "parameters", "norm_before", "norm_after", "function"],
    "scheduler_step": ["scheduler", "id", "settings", "lr_before", "lr_after", "last_epoch", "T_max", "rates"],
    "unscale": ["scale", "found_inf"],
    "scaler_update": ["scale_before", "scale_after"],
    "load_state": ["of", "class", "parameters"],
    "mutation": ["after_stack"],
    "mark": ["name", "value", "values", "logged"],
    "gap": ["last", "events", "reason"],
}
HYPER = ["lr", "betas", "eps", "weight_decay", "momentum", "dampening", "maximize", "fused", "foreach", "capturable"]
HYPER += ["initial_lr", "param_names", "differentiable", "nesterov", "amsgrad", "decoupled_weight_decay"]
OTHERS = ["hyper", "groups", "members", "sites", "events", "placement", "placement ranks", "placement shape"]
CASES = [("meta", key) for key in META]
CASES += [(kind, key) for kind, keys in DETAILS.items() for key in keys]
CASES += [("hyper", key) for key in HYPER] + [("row", what) for what in OTHERS]
ALL = [(table, key, value) for table, key in CASES for value in WRONG]
QUICK = random.Random(2).sample(ALL, 20)
QUICK += [("meta", "began", "huge"), ("meta", "ended", "huge"), ("meta", "devices", "null"), ("meta", "cwd", "true")]
FREE = [("scheduler_step", "T_max"), ("scheduler_step", "rates"), ("clip", "max_norm"), ("mark", "value")]
FREE += [("mark", "logged"), *(("hyper", key) for key in HYPER)]
"""What a program can give any value to: a trace with such ones is whole."""


@pytest.fixture(scope="session")
def eventful(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every kind of event, with every kind of detail that the rules, the commands and the screen read."""
    path = tmp_path_factory.mktemp("eventful") / "run.optrace"
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.1), nn.Linear(4, 1))
    head = nn.Linear(1, 1)
    one = torch.optim.Adam(model.parameters(), lr=0.01)
    two = torch.optim.SGD(head.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.StepLR(one, 1)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    with optrace.record(path, model={"model": model, "head": head}, capture="sampled", every=2):
        for turn in range(4):
            optrace.mark("turn", turn)
            one.zero_grad()
            two.zero_grad()
            scaler.scale(head(model(torch.ones(2, 3))).square().sum()).backward()
            scaler.unscale_(one)
            nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            nn.utils.clip_grad_value_(head.parameters(), 0.1)
            scaler.step(one)
            scaler.step(two)
            scaler.update()
            schedule.step()
            model.eval()
            model.load_state_dict(model.state_dict())
            two.load_state_dict(two.state_dict())
            head.bias.data.zero_()
            optrace.log(logged=0.5)
    with optrace.load(path) as trace:
        assert {event.kind for event in trace.events} == {*DETAILS, "zero_grad"}
    return path


@pytest.fixture(scope="session")
def scheduled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A schedule that is stepped before the optimizer, and far more often than it is long."""
    path = tmp_path_factory.mktemp("scheduled") / "run.optrace"
    weight = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1)
    with optrace.record(path):
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=2)
        for _ in range(30):
            optimizer.zero_grad()
            weight.square().sum().backward()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                schedule.step()
            optimizer.step()
    with optrace.load(path) as trace:
        assert {finding.code for finding in optrace.check(trace)} >= {"OT201", "OT202"}
    return path


@pytest.fixture
def copied(eventful: Path, tmp_path: Path) -> Path:
    path = Path(shutil.copytree(eventful, tmp_path / "run.optrace"))
    (path / SEAL_FILE).unlink()
    return path


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Callable[..., list[Any]]]:
    with contextlib.closing(sqlite3.connect(path / INDEX_FILE)) as index, index:
        yield lambda *query: index.execute(*query).fetchall()


def put(path: Path, table: str, key: str, value: Any) -> None:
    """Write a value in place of one, wherever it stands."""
    text = json.dumps(value)
    with optrace.load(path) as trace:
        numbers = np.flatnonzero(trace.column("kind") == KIND_CODES.get(table, -1)).tolist()
    with opened(path) as rows:
        if table == "meta":
            text = json.dumps({"rank": value}) if key == "rank" else text
            rows("INSERT OR REPLACE INTO meta VALUES (?, ?)", ("process_group" if key == "rank" else key, text))
        elif table == "hyper":
            for number, groups in rows("SELECT id, value FROM groups"):
                found = [{**group, "hyper": {**group["hyper"], key: value}} for group in json.loads(groups)]
                rows("UPDATE groups SET value = ? WHERE id = ?", (json.dumps(found), number))
        elif table == "row":
            _put_row(rows, key, value)
        for number in numbers:
            known = rows("SELECT value FROM detail WHERE event = ?", (number,))
            detail = json.loads(known[0][0]) if known else {}
            _put_detail(detail, key, value)
            rows("INSERT OR REPLACE INTO detail VALUES (?, ?)", (number, json.dumps(detail)))


def _put_detail(detail: dict[str, Any], key: str, value: Any) -> None:
    if key == "rates":
        detail |= {"lr_before": [value, 0.1], "lr_after": [0.1, value]}
    elif key == "T_max":
        detail |= {"settings": {key: value, "step_size": value, "milestones": value}}
    elif key == "logged":
        detail |= {"values": {key: value}}
    else:
        detail[key] = value


def _put_row(rows: Callable[..., list[Any]], what: str, value: Any) -> None:
    text = json.dumps(value)
    if what == "hyper":
        rows("UPDATE groups SET value = ?", (json.dumps([{"members": 0, "hyper": value}]),))
    elif what == "groups":
        rows("UPDATE groups SET value = ?", (text,))
    elif what == "members":
        rows("UPDATE members SET parameters = ?", (text,))
    elif what == "events":  # of details: numbers that no event has
        detail = json.dumps({"aliases_gradient": [[0, "x"]], "same_graph_as": 1, "training": {"0": False}, "x": value})
        for number in (-1, 10**6, 1 << 62):
            rows("INSERT OR REPLACE INTO detail VALUES (?, ?)", (number, detail))
    elif what == "sites":
        rows("UPDATE stack SET sites = ?", (text,))
    else:
        whole: Any = {"kind": "shard", "by": "DTensor", "ranks": [0, 1], "shape": [8, 3], "placements": ["Shard(0)"]}
        whole = value if what == "placement" else {**whole, what.split()[1]: value}
        rows("INSERT OR REPLACE INTO placement VALUES (0, ?)", (json.dumps(whole),))


def take_out(path: Path, table: str, key: str) -> None:
    """As if it had never been written."""
    with opened(path) as rows:
        if table == "meta":
            rows("DELETE FROM meta WHERE key = ?", (key,))
        elif table == "hyper":
            for number, groups in rows("SELECT id, value FROM groups"):
                found = json.loads(groups)
                for group in found:
                    group["hyper"].pop(key, None)
                rows("UPDATE groups SET value = ? WHERE id = ?", (json.dumps(found), number))
        else:
            for number, text in rows("SELECT event, value FROM detail"):
                detail = json.loads(text)
                detail.pop(key, None)
                rows("UPDATE detail SET value = ? WHERE event = ?", (json.dumps(detail), number))


def commands(path: Path) -> list[list[str]]:
    """What reads a trace, all of it: every kind of event, of every optimizer."""
    found = [["info"], ["info", "--json"], ["show", "--limit", "0"], ["show", "--json"], ["check"], ["check", "--json"]]
    found += [["ledger"], ["ledger", "--param", "head.bias"], ["ledger", "--param", "model.0.weight"]]
    try:
        trace = optrace.load(path)
    except optrace.OptraceError:
        positions = ["0:1"]
    else:
        with trace:
            kinds: dict[tuple[str, str | None], str] = {}
            with contextlib.suppress(DamagedError):
                for event in trace.events:
                    kinds.setdefault((event.kind, event.optimizer and event.optimizer.name), str(event.position))
            positions = list(kinds.values())
            steps = [position for (kind, _), position in kinds.items() if kind == "step"]
            found += [["explain", at, "--param", p] for at in steps for p in ("head.weight", "model.0.bias")]
            found += [["explain", at, "--param", "head.weight", "--json", "--steps", "5"] for at in steps]
    for position in positions:
        found += [["show", position], ["show", position, "--json"]]
    return [[command, str(path), *arguments] for command, *arguments in found]


def read(path: Path, capsys: pytest.CaptureFixture[str]) -> set[int]:
    """The exit codes of all commands. Whatever is said of an error is one line."""
    codes = set()
    for arguments in commands(path):
        code = main(arguments)
        said = capsys.readouterr()
        assert "\x1b" not in said.out + said.err, arguments
        if code == 2:
            assert said.err.startswith("optrace: "), arguments
            assert said.err.count("\n") == 1, arguments
            assert "recording" not in said.err, said.err
        else:
            assert (code, said.err) in ((0, ""), (1, "")), arguments
            if "--json" in arguments:
                for text in said.out.splitlines() if arguments[:1] == ["show"] and len(arguments) == 3 else [said.out]:
                    json.loads(text)
        codes.add(code)
    return codes


def test_the_trace_itself_is_read(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert read(copied, capsys) - {2} == {0, 1}
    for arguments in commands(copied):
        code = main(arguments)
        assert code != 2 or arguments[0] == "explain", capsys.readouterr().err  # of the other's parameters


@pytest.mark.parametrize(("table", "key", "value"), QUICK)
def test_a_wrong_value(copied: Path, table: str, key: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    put(copied, table, key, WRONG[value])
    assert read(copied, capsys)


@pytest.mark.slow
@pytest.mark.parametrize(("table", "key"), CASES)
def test_every_wrong_value(copied: Path, table: str, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    kept = (copied / INDEX_FILE).read_bytes()
    for name, value in WRONG.items():
        put(copied, table, key, value)
        assert read(copied, capsys), name
        (copied / INDEX_FILE).write_bytes(kept)


@pytest.mark.parametrize(
    "value", [pytest.param(name, marks=() if name in ("huge", "lists") else pytest.mark.slow) for name in WRONG]
)
@pytest.mark.parametrize("key", ["rates", "T_max", "lr", "lr_before"])
def test_a_schedule(scheduled: Path, tmp_path: Path, key: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(shutil.copytree(scheduled, tmp_path / "run.optrace"))
    (path / SEAL_FILE).unlink()
    if key == "lr":
        put(path, "hyper", key, WRONG[value])
    put(path, "scheduler_step", "rates" if key == "lr" else key, WRONG[value])
    if value == "null" and key == "lr_before":
        take_out(path, "scheduler_step", key)
    assert main(["check", str(path)]) in (0, 2)  # warnings and hints
    assert capsys.readouterr().err.count("\n") <= 1


@pytest.mark.slow
@pytest.mark.parametrize(("table", "key"), [case for case in CASES if case[0] != "row"])
def test_what_is_not_there(copied: Path, table: str, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    take_out(copied, table, key)
    assert read(copied, capsys)


@pytest.mark.parametrize("value", [name for name in WRONG if name != "nested"])
def test_what_a_program_may_give_any_value(copied: Path, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No error: a custom optimizer's hyperparameters and the user's marks are what they are."""
    for table, key in FREE:
        put(copied, table, key, WRONG[value])
    for arguments in commands(copied):
        code = main(arguments)
        assert code != 2 or arguments[0] == "explain", capsys.readouterr().err


# On the screen


async def look_through(path: Path) -> str:
    """Open it, go through all events and through all there is to see of one; the last picture."""
    app = ViewApp(optrace.load(path))
    try:
        async with app.run_test(size=(150, 45)) as pilot:
            await settle(app, pilot)
            for _ in app.session.trace.column("kind")[1:]:
                await press(app, pilot, "right")
            for event in ("home", "end", "left", "left", "left", "left", "left"):
                await press(app, pilot, event)
                for tab in "12345":
                    assert "\x1b" not in await press(app, pilot, tab)
            await press(app, pilot, "f", "escape", "o", "enter", "g", *"lr > 0", "enter")
            return screen_text(app)
    finally:
        app.session.close()


SHOWN = [pytest.param(name, marks=() if name == "huge" else pytest.mark.slow) for name in WRONG if name != "nested"]


@pytest.mark.parametrize("value", SHOWN)
async def test_the_screen_shows_any_value(copied: Path, value: str) -> None:
    for table, key in FREE:
        put(copied, table, key, WRONG[value])
    assert "damaged" not in await look_through(copied)


@pytest.mark.parametrize(
    ("table", "key"),
    [case for case in CASES if case[0] in DETAILS or case[0] == "row"],
)
@pytest.mark.slow
async def test_the_screen_tells_of_wrong_values(copied: Path, table: str, key: str) -> None:
    put(copied, table, key, WRONG["pairs"])
    with contextlib.suppress(DamagedError):
        await look_through(copied)


async def test_what_cannot_be_read_is_told_once(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not without end, where the line that tells of it is among what cannot be drawn."""
    put(copied, "mark", "name", None)
    tried = 0
    line = TopBar.line

    def counted(bar: TopBar, y: int, width: int) -> Line:
        nonlocal tried
        tried += 1
        return line(bar, y, width)

    monkeypatch.setattr(TopBar, "line", counted)
    app = ViewApp(optrace.load(copied))
    try:
        async with app.run_test() as pilot:
            await settle(app, pilot)
            before = tried
            await pilot.pause(0.5)
            assert 0 < before == tried
            assert "details cannot be read" in screen_text(app)
            await press(app, pilot, "right")
            assert "iteration 0:1" in screen_text(app)
    finally:
        app.session.close()
