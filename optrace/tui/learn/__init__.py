"""The screens of `optrace learn`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any


def run(place: Path, language: str, **settings: Any) -> None:
    """Show the lessons at a place until the learner leaves. Raises `OptraceError` before anything is drawn."""
    from optrace.lessons.course import built_in, folders
    from optrace.lessons.read import languages
    from optrace.tui.learn.app import LearnApp

    first = ""
    if folders(place) == [place] and place.resolve().parent == built_in().resolve():
        place, first = place.parent, place.name  # the others are a key away
    known = sorted({known for folder in folders(place) for known in languages(folder)})
    with tempfile.TemporaryDirectory(prefix="optrace-", ignore_cleanup_errors=True) as folder:
        app = LearnApp(place, known, language, Path(folder), first, **settings)
        try:
            app.run()
        finally:
            app.close()
