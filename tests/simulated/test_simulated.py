"""The simulated accelerator is one: it computes as the CPU does, and shows races and waits as a GPU would.

Every test is a process of its own, and none of them is this one, which never loads the device.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulated import available

CHECKS = Path(__file__).with_name("checks.py")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not available(), reason="needs Linux, a C++ compiler and ninja"),
]

# Read, not imported: importing them loads the device.
FUNCTIONS = [node for node in ast.parse(CHECKS.read_text()).body if isinstance(node, ast.FunctionDef)]


@pytest.mark.parametrize(
    "check", [node.name for node in FUNCTIONS if not node.args.args and ast.unparse(node.returns or node) == "None"]
)
def test_the_simulated_device(check: str, repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", f"from tests.simulated import checks; checks.{check}()"],
        env={**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
