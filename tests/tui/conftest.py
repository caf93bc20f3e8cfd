"""Traces to look at, and the app with its clock and cursor held still."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
import torch
from textual.pilot import Pilot

import optrace
from optrace.tui.app import ViewApp
from tests.tui.drawing import settle
from tests.tui.terminal import Start, Terminal

Opened = Callable[..., AbstractAsyncContextManager[tuple[ViewApp, Pilot[None]]]]


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [*os.environ]:
        if name.startswith("TEXTUAL") or name in ("NO_COLOR", "COLORFGBG", "OPTRACE_ASCII"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def no_zero(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """The demo that forgets zero_grad."""
    path = tmp_path_factory.mktemp("tui") / "no_zero.optrace"
    script = repository / "demos" / "gradients_add_up_no_zero.py"
    # In a process of its own: pytest's frames are no part of the story.
    code = f"import optrace, runpy\nwith optrace.record({str(path)!r}): runpy.run_path({str(script)!r})"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return path


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolution and a linear layer under Adam, ten correct iterations; the last loss is nan."""
    path = tmp_path_factory.mktemp("tui") / "network.optrace"
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Flatten(), torch.nn.Linear(8, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    with optrace.record(path, model=model):
        for number in range(10):
            optimizer.zero_grad()
            loss = model(torch.full((1, 1, 4, 4), 0.1 * number)).square().sum()
            if number == 9:
                loss = loss * float("nan")
            loss.backward()
            optimizer.step()
    return path


@pytest.fixture(scope="session")
def many_turns(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 correct iterations of Adam over 40 parameters; the script is longer than any screen."""
    return _run(tmp_path_factory.mktemp("tui"), "many_turns", zero=True)


@pytest.fixture(scope="session")
def no_zero_long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without zero_grad, from the 101st iteration on."""
    return _run(tmp_path_factory.mktemp("tui"), "no_zero_long", zero=False)


def _run(folder: Path, name: str, *, zero: bool) -> Path:
    script, path = folder / f"{name}.py", folder / f"{name}.optrace"
    lines = [
        "import torch",
        *(f"w{number} = torch.nn.Parameter(torch.ones(2, {number + 1}))" for number in range(40)),
        "parameters = [value for name, value in sorted(globals().items()) if name[0] == 'w']",
        "optimizer = torch.optim.Adam(parameters, lr=1e-3)",
        "for turn in range(300):",
        f"    if {zero} or turn < 101:",
        "        optimizer.zero_grad()",
        "    sum(p.square().sum() for p in parameters).backward()",
        "    optimizer.step()",
        *(f"# {number}" for number in range(60)),
    ]
    script.write_text("\n".join(lines), encoding="utf-8")
    code = f"import optrace, runpy\nwith optrace.record({str(path)!r}): runpy.run_path({str(script)!r})"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return path


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """5,000 parameters with long names."""
    path = tmp_path_factory.mktemp("tui") / "many.optrace"
    parameters = {
        f"encoder.layer{i:04}.attention.output.dense.weight": torch.nn.Parameter(torch.ones(2)) for i in range(5000)
    }
    module = torch.nn.ParameterDict({name.replace(".", "_"): value for name, value in parameters.items()})
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    with optrace.record(path, model=module):
        for _ in range(3):
            optimizer.zero_grad()
            torch.stack([p.sum() for p in module.values()]).sum().backward()
            optimizer.step()
    return path


@pytest.fixture
def opened() -> Opened:
    """`async with opened(path, size=(120, 36)) as (app, pilot)`: the app, drawn and with its checks done."""

    @asynccontextmanager
    async def opening(
        path: Path, size: tuple[int, int] = (120, 36), **settings: bool
    ) -> AsyncIterator[tuple[ViewApp, Pilot[None]]]:
        app = ViewApp(optrace.load(path), ascii_only=settings.pop("ascii_only", False), **settings)
        try:
            async with app.run_test(size=size) as pilot:
                await settle(app, pilot)
                yield app, pilot
        finally:
            app.session.close()

    return opening


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Shells in real terminals, each with a line typed into it."""
    terminals: list[Terminal] = []

    def starting(command: str) -> Terminal:
        terminals.append(Terminal(command, tmp_path))
        return terminals[-1]

    yield starting
    for terminal in terminals:
        terminal.close()
