"""The lessons that come with optrace, each run for real: what its texts say is so in the recorded runs."""

from __future__ import annotations

import ast
import contextlib
import io
import re
import runpy
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

import optrace
from optrace.lessons.check import differences, problems
from optrace.lessons.comparison import diff
from optrace.lessons.course import built_in, course, folders
from optrace.lessons.filling import fill
from optrace.lessons.model import Lesson, Run, Source
from optrace.lessons.played import Played
from optrace.lessons.read import ENGLISH, languages, read_lesson
from optrace.lessons.running import run_script
from optrace.trace.reader import Trace

FOLDERS = folders(built_in())
NAMES = [folder.name for folder in FOLDERS]
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def expressions(source: Source | None) -> set[str]:
    """The expressions in a text, without their formats."""
    found: set[str] = set()
    if source is not None:
        fill(source.text, lambda expression, line: found.add(expression))
    return found


def texts(lesson: Lesson) -> list[Source | None]:
    """Every text with numbers in it: the introduction, then the question and the text of each stop, the conclusion."""
    found: list[Source | None] = [lesson.introduction]
    for stop in lesson.stops:
        found += [stop.question and stop.question.text, stop.text]
        found += [choice.text for choice in stop.question.choices] if stop.question else []
    return [*found, lesson.conclusion]


def as_learn_does(lesson: Lesson, run: Run, folder: Path) -> tuple[Path, str]:
    """Run a script in a process of its own. Its trace, and what it printed."""
    ran = run_script(lesson, run, folder)
    assert ran.exit_code == 0, ran.output
    return ran.trace, ran.output


def in_this_process(lesson: Lesson, run: Run, folder: Path) -> tuple[Path, str]:
    """The same where torch is imported already, which takes longer than any lesson."""
    script = lesson.script if run == "script" else lesson.repaired
    trace = folder / f"{run}.optrace"
    with contextlib.redirect_stdout(io.StringIO()) as output, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of some of the mistakes that the lessons are about
        with optrace.record(trace):
            runpy.run_path(str(script), run_name="__main__")
    return trace, output.getvalue()


@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
@pytest.mark.parametrize("play", [in_this_process, pytest.param(as_learn_does, marks=pytest.mark.slow)])
def test_what_a_lesson_says_is_so(
    play: Callable[[Lesson, Run, Path], tuple[Path, str]], folder: Path, tmp_path: Path
) -> None:
    lesson = read_lesson(folder)
    runs: tuple[Run, Run] = ("script", "repaired")
    traces: dict[Run, Trace] = {}
    for run in runs:
        trace, output = play(lesson, run, tmp_path)
        assert output, "a learner expects to see a loss"
        traces[run] = Trace(trace)
    for language in languages(folder):
        played = Played(read_lesson(folder, language), traces)
        # Every position, parameter, element and tab, every number, question and claim, and the findings of both runs.
        assert problems(played) == []
    # Hints may be left in the repaired run, but none of those that the lesson is about.
    assert not {finding.code for finding in traces["repaired"].findings} & {code.text for code in lesson.findings}
    for trace in traces.values():
        trace.close()


@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
def test_both_languages_tell_the_same(folder: Path) -> None:
    assert languages(folder) == [ENGLISH, "zh-CN"]
    english, chinese = read_lesson(folder), read_lesson(folder, "zh-CN")
    assert differences(chinese, english) == []
    assert [expressions(text) for text in texts(chinese)] == [expressions(text) for text in texts(english)]
    assert not any(source and CHINESE.search(source.text) for source in texts(english))
    for heading in (chinese.title, chinese.summary, chinese.chapter, chinese.introduction.text):
        assert CHINESE.search(heading), heading


@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
def test_a_lesson_asks_before_it_tells(folder: Path) -> None:
    lesson = read_lesson(folder)
    assert 4 <= len(lesson.stops) <= 8
    assert sum(stop.question is not None for stop in lesson.stops) >= 2
    assert lesson.findings
    assert lesson.repaired is not None
    assert any(stop.run == "repaired" for stop in lesson.stops)
    assert lesson.compare
    assert lesson.conclusion is not None


@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
def test_the_repair_is_small(folder: Path) -> None:
    lesson = read_lesson(folder)
    assert 1 <= sum(line.sign != " " for line in diff(lesson)) <= 6
    assert lesson.repaired is not None
    for text in (path.read_text(encoding="utf-8") for path in (lesson.script, lesson.repaired)):
        assert ast.get_docstring(ast.parse(text))
        assert "import optrace" not in text, "a lesson's script is a training script like any other"


@pytest.mark.parametrize("language", [ENGLISH, "zh-CN"])
def test_the_course(language: str) -> None:
    lessons = course(built_in(), language)
    orders = [lesson.order for lesson in lessons]
    assert sorted(set(orders)) == orders
    chapters = [lesson.chapter for lesson in lessons]
    runs = [chapter for place, chapter in enumerate(chapters) if place == 0 or chapters[place - 1] != chapter]
    assert len(set(runs)) == len(runs), "a chapter's lessons stand together"
    assert all(lesson.summary for lesson in lessons)
