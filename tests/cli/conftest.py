"""Traces that the tests of the commands read, each recorded once."""

from __future__ import annotations

import shutil
import sqlite3
import textwrap
from pathlib import Path

import pytest

from .programs import run

TRAIN = """
    import torch
    from torch import nn
    import optrace

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 5, gamma=0.1)
    x, y = torch.randn(8, 3), torch.randn(8, 1)

    for epoch in range(30):
        optrace.mark("epoch", epoch)
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        scheduler.step()
    optrace.log(loss=loss.item(), bad=float("nan"))
"""

NASTY = """
    import torch
    import optrace

    red = "\\x1b[31mred\\x1b[0m\\r\\n\\x07[bold]{}"
    class Nasty(torch.optim.SGD): pass
    Nasty.__name__ = Nasty.__qualname__ = "SGD" + red
    model = torch.nn.Module()
    model.register_parameter("weight" + red.replace(".", ""), torch.nn.Parameter(torch.ones(2)))
    optimizer = Nasty(model.parameters(), lr=0.1)
    for turn in range(3):
        optrace.mark("mark" + red, "value" + red)
        loss = sum(p.sum() for p in model.parameters())  # a comment with \x1b[2J in it and a \x9b too
        loss.backward()  # \x1b]0;title\x07
        optimizer.step()
"""

SQUEEZED = """
    import torch
    weight = torch.ones(40_000, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1)
    for turn in range(30):
        optimizer.zero_grad()
        (weight * turn).sum().backward()
        optimizer.step()
"""


def recorded(folder: Path, name: str, text: str, *options: str) -> Path:
    """The trace of a script."""
    (folder / f"{name}.py").write_text(textwrap.dedent(text), encoding="utf-8")
    ended = run(*options, f"{name}.py", cwd=folder)
    assert ended.code == 0, ended.err
    return folder / f"{name}.optrace"


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small loop with a scheduler, clipping and marks: 30 iterations of 6 events, and one more."""
    return recorded(tmp_path_factory.mktemp("trained"), "train", TRAIN)


@pytest.fixture(scope="session")
def nasty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every name, mark and line of source in it tries to control the terminal."""
    return recorded(tmp_path_factory.mktemp("nasty"), "nasty", NASTY)


@pytest.fixture(scope="session")
def squeezed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 30 iterations that soon is past its size budget."""
    return recorded(tmp_path_factory.mktemp("squeezed"), "squeezed", SQUEEZED, "--budget", "1MB")


@pytest.fixture(scope="session")
def no_traces(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of things that are no readable trace."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "file").write_text("text")
    (folder / "empty").mkdir()
    for name in ("zero", "random", "truncated", "other", "newer", "events", "gone"):
        shutil.copytree(trained, folder / name, ignore=shutil.ignore_patterns("index.xxh3"))
    (folder / "zero" / "index.sqlite").write_bytes(b"")
    (folder / "random" / "index.sqlite").write_bytes(bytes(range(256)) * 40)
    whole = (trained / "index.sqlite").read_bytes()
    (folder / "truncated" / "index.sqlite").write_bytes(whole[: len(whole) // 3])
    for name, statement in {"other": "PRAGMA application_id = 7", "newer": "PRAGMA user_version = 99"}.items():
        with sqlite3.connect(folder / name / "index.sqlite") as index:
            index.execute(statement)
        index.close()
    (folder / "events" / "events.bin").write_bytes(b"\0" * (trained / "events.bin").stat().st_size)
    (folder / "gone" / "events.bin").unlink()
    return folder
