"""`optrace learn`."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from optrace.cli.command import Command, ExitCode
from optrace.cli.text import count, printable, tell

if TYPE_CHECKING:
    from optrace.lessons.model import Lesson
    from optrace.lessons.played import Played


class Learn(Command):
    """Learn the training loop by breaking it.

    Without a name, the list of lessons; with one, its scripts are run under the
    recorder and the lesson leads through what was recorded. A path opens lessons
    that you wrote: a folder with a script and a text (docs/lessons.md).
    """

    name = "learn"

    def prepare_parser(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("lesson", metavar="LESSON", nargs="?", help="a lesson's name, or the path of your own")
        parser.add_argument("--lang", metavar="LANGUAGE", help="en or zh-CN (default: the locale's)")
        parser.add_argument("--check", action="store_true", help="say what in the lesson does not hold, and end")
        parser.add_argument("--plain", action="store_true", help="print the lesson instead of opening the screen")

    def run(self, arguments: argparse.Namespace) -> int:
        from optrace.lessons.course import built_in, folders, place_of, preferred_language

        language: str = arguments.lang or preferred_language()
        place = built_in() if arguments.lesson is None else place_of(arguments.lesson)
        if arguments.check:
            return _check(folders(place))
        _known(place, language, asked=arguments.lang is not None)
        single = folders(place) == [place]
        if sys.stdin.isatty() and sys.stdout.isatty() and not arguments.plain:
            import_module("optrace.tui.learn").run(place, language)
        elif single:
            _print_lesson(place, language)
        else:
            _print_list(place, language)
        return ExitCode.SUCCESS


def _known(place: Path, language: str, asked: bool) -> None:
    """Whether a language that was asked for exists here."""
    from optrace.errors import nearest
    from optrace.lessons.course import folders
    from optrace.lessons.errors import LessonError
    from optrace.lessons.read import languages

    known = sorted({known for folder in folders(place) for known in languages(folder)})
    if asked and language not in known:
        raise LessonError(f"not written in the language {language!r}{nearest(language, known)}", place)


def _print_list(place: Path, language: str) -> None:
    from optrace.lessons.course import course

    chapter = ""
    lessons = course(place, language)
    width = max(len(lesson.name) for lesson in lessons)
    for lesson in lessons:
        if lesson.chapter != chapter:
            print(f"{chr(10) if chapter else ''}{lesson.chapter}")
            chapter = lesson.chapter
        print(f"  {lesson.name:{width}}  {lesson.title}")
        if lesson.summary:
            print(f"  {'':{width}}  {lesson.summary}")


def _play(lesson: Lesson, folder: Path) -> Played:
    from optrace.lessons.model import Run
    from optrace.lessons.played import Played
    from optrace.lessons.running import run_script
    from optrace.trace.reader import Trace

    traces: dict[Run, Trace] = {}
    runs: tuple[Run, ...] = ("script",) if lesson.repaired is None else ("script", "repaired")
    for run in runs:
        ran = run_script(lesson, run, folder)
        if ran.exit_code:
            tell(f"{printable(ran.script)} ended with exit code {ran.exit_code}: {printable(ran.last_words)}")
        traces[run] = Trace(ran.trace)
    return Played(lesson, traces)


def _check(places: list[Path]) -> int:
    """Run each lesson once, and hold its text in every language against the runs."""
    import tempfile

    from optrace.errors import OptraceError
    from optrace.lessons.check import differences, problems
    from optrace.lessons.played import Played
    from optrace.lessons.read import languages, read_lesson

    found = 0
    for place in places:
        try:
            lesson = read_lesson(place)
            with tempfile.TemporaryDirectory(prefix="optrace-") as folder:
                played = _play(lesson, Path(folder))
                wrong = problems(played)
                for language in languages(place)[1:]:
                    translated = read_lesson(place, language)
                    wrong += differences(translated, lesson) + problems(Played(translated, played.traces))
                played.close()
        except OptraceError as error:
            wrong = [str(error)]
        for line in wrong:
            print(line)
        found += len(wrong)
    tell(f"{count(len(places), 'lesson')}, {count(found, 'problem') if found else 'no problems'}")
    return ExitCode.FINDINGS if found else ExitCode.SUCCESS


def _print_lesson(place: Path, language: str) -> None:
    import tempfile

    from optrace.lessons.plain import plain
    from optrace.lessons.read import read_lesson

    lesson = read_lesson(place, language)
    tell(f"running {printable(lesson.script)}")
    with tempfile.TemporaryDirectory(prefix="optrace-") as folder:
        played = _play(lesson, Path(folder))
        try:
            print(plain(played))
        finally:
            played.close()
