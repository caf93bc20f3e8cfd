"""What the user does not want to hear: comments in the script, and `[tool.optrace]` in pyproject.toml."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optrace.checks.finding import Finding
from optrace.errors import OptraceError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_COMMENT = re.compile(r"#\s*optrace:\s*ignore(?:\s*\[([^\]]*)\])?", re.IGNORECASE)


def silenced_on_line(finding: Finding, sources: Mapping[str, str]) -> bool:
    """Whether the finding's line ends in `# optrace: ignore` or `# optrace: ignore[OT101]`."""
    text = sources.get(finding.file or "")
    if text is None or finding.line is None:
        return False
    lines = text.splitlines()
    if not 0 < finding.line <= len(lines):
        return False
    comment = _COMMENT.search(lines[finding.line - 1])
    if comment is None:
        return False
    if comment[1] is None:
        return True
    named = {word.strip().lower() for word in comment[1].split(",")}
    return finding.code.lower() in named or finding.name in named


def from_pyproject(folder: Path | None = None) -> list[str]:
    """`ignore` of `[tool.optrace]` in the nearest pyproject.toml upward; [] where there is none."""
    folder = (folder or Path.cwd()).resolve()
    for place in (folder, *folder.parents):
        file = place / "pyproject.toml"
        if file.is_file():
            return _ignored(file)
    return []


def _ignored(file: Path) -> list[str]:
    try:
        settings: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OptraceError(f"cannot read {file}: {error}") from error
    table = settings.get("tool", {}).get("optrace", {})
    found = table.get("ignore", []) if isinstance(table, dict) else []
    if not isinstance(found, list) or not all(isinstance(code, str) for code in found):
        raise OptraceError(f'{file}: [tool.optrace] ignore should be a list of codes, like ["OT101"], not {found!r}')
    return found
