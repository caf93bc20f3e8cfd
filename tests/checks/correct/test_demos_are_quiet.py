"""The demos that are right give nothing above a hint."""

import runpy
import sys
from pathlib import Path

import pytest

from checks.conftest import Recorded

RIGHT = [
    "accumulation",
    "accumulation_nesterov",
    "digits_cnn",
    "gradients_add_up",
    "line_sgd_adam",
    "none_to_hundred",
    "optimizers_compared",
    "param_groups",
]


@pytest.mark.parametrize("name", RIGHT)
def test_a_correct_demo(name: str, repository: Path, correct: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    script = str(repository / "demos" / f"{name}.py")
    monkeypatch.setattr(sys, "argv", [script])
    with correct():
        runpy.run_path(script, run_name="__main__")
