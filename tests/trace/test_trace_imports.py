"""Reading a trace is light: which modules are loaded, in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def loaded(code: str, *arguments: str) -> set[str]:
    """Names of the top-level packages that are loaded after the code ran."""
    program = f"import sys\n{code}\nprint(' '.join(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "code",
    ["import optrace", "import optrace.errors", "import optrace; optrace.mark('x'); optrace.log(loss=1); dir(optrace)"],
)
def test_importing_optrace_loads_nothing_heavy(code: str) -> None:
    assert loaded(code).isdisjoint({"torch", "textual", "numpy", "rich", "ml_dtypes", "sqlite3"})


@pytest.mark.parametrize(
    "module",
    ["trace.writer", "trace.format", "trace.model"],
)
def test_the_writer_loads_neither_numpy_nor_torch(module: str) -> None:
    assert loaded(f"import optrace.{module}").isdisjoint({"torch", "textual", "numpy"})


def test_reading_loads_neither_torch_nor_textual(sample_trace: Path) -> None:
    code = (
        "import optrace\n"
        "trace = optrace.load(sys.argv[1])\n"
        "for event in trace.events: trace.effect(event), trace.groups(event), str(event.site)\n"
        "assert trace.value('2.weight', 'param') is not None\n"
        "assert trace.value('0.weight', 'grad') is not None\n"
        "trace.statistics('2.weight', 'param')\n"
        "trace.marks, trace.sources, list(trace.follow())\n"
    )
    assert loaded(code, str(sample_trace)).isdisjoint({"torch", "textual", "rich"})


def test_the_public_names() -> None:
    import optrace

    assert set(optrace.__all__) <= set(dir(optrace))
    assert all(getattr(optrace, name) is not None for name in optrace.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        optrace.nothing  # noqa: B018
