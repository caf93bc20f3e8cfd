"""Each demo runs with plain python, says what its comments promise, and leaves nothing behind."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import preloaded
import pytest

DEMOS = Path(__file__).resolve().parent.parent / "demos"
NAMES = sorted(path.stem for path in DEMOS.glob("*.py"))


def run(script: Path, cwd: Path) -> str:
    """The standard output of a script, which must succeed without a warning, where torch is loaded already."""
    return said(preloaded.python(script.stem, cwd=cwd, environment=os.environ, path=[script.parent], strict=True))


def start(script: Path | str, cwd: Path) -> str:
    """The same in a process of its own from the start."""
    command = [sys.executable, "-W", "error", str(script)]
    return said(subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120))


def said(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def numbers(pattern: str, text: str) -> list[float]:
    """Every number that the pattern's one group matches, in order."""
    return [float(found) for found in re.findall(pattern, text)]


def test_gradients_add_up(tmp_path: Path) -> None:
    output = run(DEMOS / "gradients_add_up.py", tmp_path)
    assert numbers(r"gradient \[([\d.]+),", output) == [200, 100]
    assert numbers(r"moved by (\S+)", output)[0] == -0.001


def test_gradients_add_up_without_zero_grad(tmp_path: Path) -> None:
    output = run(DEMOS / "gradients_add_up_no_zero.py", tmp_path)
    assert numbers(r"gradient \[([\d.]+),", output) == [200, 300]
    first, second = numbers(r"moved by (\S+)", output)
    assert first == -0.001
    # With the gradient of 100 that it should be, the second move is -0.000932.
    assert second == pytest.approx(-0.000991, abs=1e-6)


def test_none_to_hundred(tmp_path: Path) -> None:
    start, after_backward, after_step = run(DEMOS / "none_to_hundred.py", tmp_path).splitlines()
    assert start.endswith("x [1.0, 2.0]  gradient None")
    assert after_backward.endswith("x [1.0, 2.0]  gradient [100.0, 100.0]")
    assert after_step.endswith("x [0.999, 1.999]  gradient [100.0, 100.0]")


def test_line_sgd_adam(tmp_path: Path) -> None:
    output = run(DEMOS / "line_sgd_adam.py", tmp_path)
    assert numbers(r"slope (\S+),", output) == pytest.approx([-5, -5], abs=0.15)
    assert numbers(r"intercept (\S+)", output) == pytest.approx([1, 1], abs=0.15)


def test_line_stale_optimizer(tmp_path: Path) -> None:
    output = run(DEMOS / "line_stale_optimizer.py", tmp_path)
    sgd, start, end = numbers(r"slope (\S+),", output)
    assert sgd == pytest.approx(-5, abs=0.15)
    assert start == end
    losses = numbers(r"Adam  epoch.*loss +(\S+)", output)
    assert len(losses) == 3
    assert losses == pytest.approx([losses[0]] * 3)


def test_digits_cnn(tmp_path: Path) -> None:
    right = run(DEMOS / "digits_cnn.py", tmp_path)
    assert numbers(r"test accuracy (\S+)", right)[-1] > 0.93
    losses = numbers(r"train loss (\S+)", right)
    assert losses == sorted(losses, reverse=True)
    # Summing tensors costs memory and changes no number.
    assert numbers(r"train loss (\S+)", run(DEMOS / "digits_cnn_sum_losses.py", tmp_path)) == pytest.approx(
        losses, abs=1e-3
    )


def test_param_groups(tmp_path: Path) -> None:
    output = run(DEMOS / "param_groups.py", tmp_path)
    assert numbers(r"lr \[(\S+),", output) == [0.02, 0.02, 0.01, 0.01, 0.005, 0.005]
    assert numbers(r"lr \[\S+ (\S+)\]", output) == [0.1, 0.1, 0.05, 0.05, 0.025, 0.025]
    losses = numbers(r"train loss (\S+)", output)
    assert losses == sorted(losses, reverse=True), "the checkpoint does not go on where it was"
    assert all(clipped > 0 for clipped in numbers(r"clipped +(\d+) of 45", output))
    assert numbers(r"test accuracy (\S+)", output)[0] > 0.9


def test_accumulation(tmp_path: Path) -> None:
    output = run(DEMOS / "accumulation.py", tmp_path)
    rates = numbers(r"lr (\S+)", output)
    assert rates == sorted(rates, reverse=True)
    assert min(rates) > 0
    assert numbers(r"test accuracy (\S+)", output)[0] > 0.9


def test_accumulation_nesterov(tmp_path: Path) -> None:
    accuracies = numbers(r"test accuracy (\S+)", run(DEMOS / "accumulation_nesterov.py", tmp_path))
    assert len(accuracies) == 2
    assert min(accuracies) > 0.9


def test_optimizers_compared(tmp_path: Path) -> None:
    output = run(DEMOS / "optimizers_compared.py", tmp_path)
    accuracies = numbers(r"test accuracy (\S+)", output)
    assert len(accuracies) == 5
    assert min(accuracies) > 0.9
    assert re.findall(r"keeps (.*)", output) == [
        "nothing",
        "momentum_buffer",
        "exp_avg, exp_avg_sq",
        "square_avg",
        "sum",
    ]


def test_a_demo_leaves_no_file_behind_and_runs_by_a_relative_path(tmp_path: Path) -> None:
    before = sorted(DEMOS.rglob("*"))
    start(DEMOS / "param_groups.py", tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert sorted(DEMOS.rglob("*")) == before
    start("demos/none_to_hundred.py", DEMOS.parent)


@pytest.mark.parametrize("name", NAMES)
def test_a_demo_needs_only_torch_and_numpy(name: str) -> None:
    tree = ast.parse((DEMOS / f"{name}.py").read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module
            imported.add(node.module.split(".")[0])
    assert imported - set(sys.stdlib_module_names) <= {"torch", "numpy"}
