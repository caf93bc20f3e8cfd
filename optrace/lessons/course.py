"""Finding lessons: those that come with optrace, and folders that somebody wrote."""

from __future__ import annotations

import os
from pathlib import Path

import optrace
from optrace.errors import nearest
from optrace.lessons.errors import LessonError
from optrace.lessons.model import Lesson
from optrace.lessons.read import ENGLISH, read_lesson

TEXT = "lesson.md"


def built_in() -> Path:
    """The folder of the lessons that come with optrace: inside the package, or beside it in a clone."""
    package = Path(optrace.__file__).parent
    for demos in (package / "demos", package.parent / "demos"):
        if (demos / "lessons").is_dir():
            return demos / "lessons"
    raise LessonError("the lessons that come with optrace are missing; install it again")


def folders(place: Path) -> list[Path]:
    """The lessons at a place: the folder itself, or those inside it. Raises `LessonError` where there are none."""
    if not place.is_dir():
        raise LessonError("there is no such folder", place)
    if (place / TEXT).is_file():
        return [place]
    found = sorted(folder.parent for folder in place.glob(f"*/{TEXT}"))
    if not found:
        raise LessonError(f"no lesson here: no {TEXT}, and no folder with one", place)
    return found


def course(place: Path, language: str = ENGLISH) -> list[Lesson]:
    """The lessons at a place, in their order."""
    lessons = [read_lesson(folder, language) for folder in folders(place)]
    return sorted(lessons, key=lambda lesson: (lesson.order, lesson.name))


def place_of(name: str) -> Path:
    """The folder that a name or a path stands for: `missing-zero-grad`, `./my-lesson`. Raises `LessonError`."""
    if os.sep in name or name.startswith("."):
        return Path(name)
    own = built_in()
    if (own / name / TEXT).is_file():
        return own / name
    if Path(name).is_dir():
        return Path(name)
    raise LessonError(f"there is no lesson {name!r}{nearest(name, [path.name for path in folders(own)])}")


def preferred_language() -> str:
    """The language of the locale, as far as lessons go: `zh-CN` or `en`."""
    locale = next((os.environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if os.environ.get(name)), "")
    words = locale.partition(".")[0].replace("-", "_").lower().split("_")
    traditional = {"tw", "hk", "mo", "hant"}
    return "zh-CN" if words[0] == "zh" and not traditional & set(words) else ENGLISH
