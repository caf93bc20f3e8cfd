"""Code that is no plain script: the cells of a notebook under a real shell, and modules that are run."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import preloaded
import pytest
import torch

import optrace
from conformance.matrix import Rows, fates, turns

rows = Rows("Notebooks and modules")
TURN = "zero_grad backward step"

SETUP = """\
import torch
torch.manual_seed(0)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
batches = [(torch.randn(8, 4), torch.randn(8, 1)) for _ in range(5)]
"""
LOOP = """\
for inputs, targets in batches:
    optimizer.zero_grad()
    loss = torch.nn.functional.mse_loss(model(inputs), targets)
    loss.backward()
    optimizer.step()
"""
BROKEN = LOOP.replace("    optimizer.zero_grad()\n", "")


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A real InteractiveShell, with `%load_ext optrace` done, in a folder of its own."""
    interactive = pytest.importorskip("IPython.core.interactiveshell", reason="IPython is not installed")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.chdir(tmp_path)
    main = sys.modules["__main__"]
    made = interactive.InteractiveShell.instance()
    made.history_manager.enabled = False
    run(made, "%load_ext optrace")
    yield made
    interactive.InteractiveShell.clear_instance()
    made.history_manager.end_session()
    sys.modules["__main__"] = main


def run(shell: Any, cell: str) -> None:
    result = shell.run_cell(cell, store_history=True)
    assert result.success, result


def weights(shell: Any) -> tuple[bytes, torch.Tensor]:
    model = shell.user_ns["model"]
    return b"".join(p.detach().numpy().tobytes() for p in model.parameters()), torch.random.get_rng_state()


def held(path: Path, cell: int, first: int) -> None:
    """A correct loop of five turns in a cell, whose third line is `zero_grad` on the cell's line `first`."""
    with optrace.load(path) as trace:
        assert turns(trace) == (TURN,) * 5
        assert fates(trace) == {"applied 1×": 5 * 2}
        lines = {"zero_grad": first, "backward": first + 2, "step": first + 3}
        for event in trace.events:
            assert event.site is not None
            assert str(event.site) == f"<In[{cell}]>:{lines[event.kind]}"
            assert [site.file for site in event.stack] == [f"<In[{cell}]>"]
        assert "optimizer.zero_grad()" in trace.sources[f"<In[{cell}]>"].splitlines()[first - 1]
        assert list(trace.parameters) == ["weight", "bias"]
        assert not [f for f in optrace.check(trace) if f.severity != "hint"]


@rows.held_by("the cell magic `%%optrace`", "no `zero_grad`", "OT101")
def test_the_cell_magic(shell: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(shell, SETUP)
    run(shell, LOOP)
    bare, random = weights(shell)
    run(shell, SETUP)
    cell = shell.execution_count
    run(shell, "%%optrace run.optrace\n" + LOOP)
    recorded, state = weights(shell)
    assert recorded == bare
    assert torch.equal(random, state)
    assert "optrace: 15 events, 5 iterations, 2 parameters in run.optrace" in capsys.readouterr().out
    held(tmp_path / "run.optrace", cell, 3)

    cell = shell.execution_count
    run(shell, "%%optrace run.optrace --budget 10MB\n" + BROKEN)
    said = capsys.readouterr().out
    assert "OT101" in said
    assert f"<In[{cell}]>:5" in said
    (found,) = [f for f in optrace.check(tmp_path / "run.optrace") if f.severity != "hint"]
    assert (found.code, found.file, found.line) == ("OT101", f"<In[{cell}]>", 5)


def test_a_cell_that_fails(shell: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(shell, SETUP)
    result = shell.run_cell("%%optrace\n" + LOOP + "    raise ValueError('in the first turn')\n")
    assert not result.success
    out, err = capsys.readouterr()
    assert (out + err).count("in the first turn") == 2  # its line and its message, once
    assert "optrace: 3 events" in out
    assert [event.kind for event in optrace.load(tmp_path / "notebook.optrace").events] == TURN.split()
    result = shell.run_cell("%%optrace run.optrace --colour red\nx = 1\n")
    assert "'--colour' is not understood" in str(result.error_in_exec)


@rows.held_by("`optrace.record` in cells", "no `zero_grad`", "OT101")
def test_record_in_a_cell(shell: Any, tmp_path: Path) -> None:
    run(shell, SETUP)
    run(shell, LOOP)
    bare, _ = weights(shell)
    run(shell, SETUP)
    cell = shell.execution_count
    indented = "".join(f"    {line}\n" for line in LOOP.splitlines())
    run(shell, "import optrace\nwith optrace.record('run.optrace'):\n" + indented)
    assert weights(shell)[0] == bare
    held(tmp_path / "run.optrace", cell, 4)

    run(shell, SETUP + "recording = optrace.record('two.optrace').start()")
    cell = shell.execution_count
    run(shell, LOOP)
    run(shell, "recording.stop()")
    assert weights(shell)[0] == bare
    held(tmp_path / "two.optrace", cell, 2)

    cell = shell.execution_count
    run(shell, "with optrace.record('three.optrace'):\n" + indented.replace("        optimizer.zero_grad()\n", ""))
    (found,) = [f for f in optrace.check(tmp_path / "three.optrace") if f.severity != "hint"]
    assert (found.code, found.file) == ("OT101", f"<In[{cell}]>")


MODULE = f"""\
{SETUP}
def train() -> None:
    for inputs, targets in batches:
        CLEAR
        torch.nn.functional.mse_loss(model(inputs), targets).backward()
        optimizer.step()


if __name__ == "__main__":
    train()
    print(sum(p.double().sum().item() for p in model.parameters()).hex())
"""


@rows.held_by("scripts run as modules", "no `zero_grad`", "OT101")
def test_a_module(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "train.py").write_text(MODULE.replace("CLEAR", "optimizer.zero_grad()"))
    (package / "broken.py").write_text(MODULE.replace("CLEAR", "pass"))

    def python(*arguments: str) -> str:
        done = preloaded.python(*arguments, cwd=tmp_path, environment=os.environ)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert python("optrace", "run", "-m", "package.train") == python("package.train")
    with optrace.load(tmp_path / "train.optrace") as trace:
        assert turns(trace) == (TURN,) * 5
        assert fates(trace) == {"applied 1×": 5 * 2}
        sites = {(event.site.file, event.site.function) for event in trace.events if event.site}
        assert sites == {(str(package / "train.py"), "train")}
        assert not [f for f in optrace.check(trace) if f.severity != "hint"]
    python("optrace", "run", "-q", "-m", "package.broken")
    (found,) = [f for f in optrace.check(tmp_path / "broken.optrace") if f.severity != "hint"]
    assert (found.code, found.file) == ("OT101", str(package / "broken.py"))
