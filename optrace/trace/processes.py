"""The traces of processes that ran together: one folder, in it one trace for each, named after it.

`train.optrace/rank-0`, `rank-1`, … lie beside one another. The process that started the others, if it was
recorded too, has its files in the folder itself. This module imports neither NumPy nor torch.
"""

from __future__ import annotations

import re
from pathlib import Path

from optrace.trace.format import INDEX_FILE

MAIN = "main"
"""What the process is called whose files are in the folder itself."""

_NAME = re.compile(r"(?:rank|process)-\d+(?:-process-\d+)?")


def is_name(name: str) -> bool:
    """Whether a folder of this name holds one process's trace."""
    return _NAME.fullmatch(name) is not None


def members(folder: Path) -> dict[str, Path]:
    """The traces of the processes in a folder, by name, in the order of their numbers; {} for a plain trace."""
    try:
        found = [path for path in folder.iterdir() if is_name(path.name) and (path / INDEX_FILE).is_file()]
    except OSError:
        return {}
    return {path.name: path for path in sorted(found, key=lambda path: _order(path.name))}


def _order(name: str) -> tuple[str | int, ...]:
    return tuple(int(part) if part.isdigit() else part for part in name.split("-"))
