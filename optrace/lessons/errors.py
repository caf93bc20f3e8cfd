"""What is wrong with a lesson, and on which line of its text."""

from __future__ import annotations

from pathlib import Path

from optrace.errors import OptraceError


class LessonError(OptraceError):
    """A lesson that cannot be read or run; its message starts with the file and the line."""

    def __init__(self, message: str, path: Path | None = None, line: int | None = None) -> None:
        where = "" if path is None else f"{path}: " if line is None else f"{path}:{line}: "
        super().__init__(where + message)
