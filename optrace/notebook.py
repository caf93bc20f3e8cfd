"""Recording a cell of a notebook: `%load_ext optrace`, then `%%optrace` on the cell's first line."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from types import FrameType
from typing import Any

from optrace.errors import OptraceError

_USAGE = "%%optrace [PATH] [--budget SIZE]"


class CellFailed(Exception):
    """The recorded cell raised, and the shell has shown it: stops what was to run after it, and shows nothing."""

    def _render_traceback_(self) -> list[str]:
        return []


def load_ipython_extension(shell: Any) -> None:
    """Called by `%load_ext optrace`."""
    shell.register_magic_function(lambda line, cell: _run(shell, line, cell), "cell", "optrace")


def _run(shell: Any, line: str, cell: str) -> None:
    """Run a cell under the recorder, then say what was recorded and what is wrong with it.

    A trace that is there already is replaced: cells are run again and again.
    """
    from optrace.recording.places import is_trace
    from optrace.recording.session import record

    chosen = _arguments(line)
    recording = record(chosen.path, overwrite=True, **({"budget": chosen.budget} if chosen.budget else {}))
    with recording:
        result = _run_cell(shell, line, cell)
        error = result.error_before_exec or result.error_in_exec
        if error is not None:
            recording.raised = type(error).__name__
    if is_trace(recording.path):
        _tell(chosen.path, recording.failure)
    if error is not None:
        raise CellFailed


def _run_cell(shell: Any, line: str, cell: str) -> Any:
    """Run the rest of the cell as the shell runs any, under the number and by the line numbers that the user sees."""
    count = shell.execution_count
    frame: FrameType | None = sys._getframe()
    while frame is not None and (described := shell.compile.format_code_name(frame.f_code.co_filename)) is None:
        frame = frame.f_back
    if frame is not None and (number := re.fullmatch(r"In\[(\d+)\]", described[1])) is not None:
        shell.execution_count = int(number[1])
    try:
        return shell.run_cell(cell if cell.startswith("%%") else f"# %%optrace {line}\n{cell}")
    finally:
        shell.execution_count = count


def _arguments(line: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(_USAGE, usage=_USAGE, add_help=False, exit_on_error=False)
    parser.add_argument("path", nargs="?", default="notebook.optrace")
    parser.add_argument("--budget")
    try:
        chosen, unknown = parser.parse_known_args(shlex.split(line))
    except (argparse.ArgumentError, ValueError) as why:
        raise OptraceError(f"{why}; usage: {_USAGE}") from why
    if unknown:
        raise OptraceError(f"{unknown[0]!r} is not understood; usage: {_USAGE}")
    return chosen


def _tell(path: str, failure: str | None) -> None:
    from optrace.checks.check import check
    from optrace.cli.findings import finding_lines, tally
    from optrace.cli.text import count
    from optrace.trace.reader import load

    with load(path) as trace:
        facts = [
            count(len(trace.events), "event"),
            count(len(trace.iterations), "iteration"),
            count(len(trace.parameters), "parameter"),
        ]
        print(f"optrace: {', '.join(facts)} in {path}")
        if failure is not None:
            print(f"optrace: the trace is incomplete: {failure}")
        found = check(trace)
        print(f"optrace: {tally(found)}{':' if found else ''}")
        for line in finding_lines(found, trace.sources, "", 100):
            print(line)
