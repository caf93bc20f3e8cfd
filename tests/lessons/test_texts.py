"""Reading a lesson: what a text becomes, and the line of whatever is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from optrace.lessons.check import differences, problems
from optrace.lessons.course import course, folders, place_of, preferred_language
from optrace.lessons.errors import LessonError
from optrace.lessons.played import Played
from optrace.lessons.read import languages, read_lesson
from tests.lessons.conftest import TEXT

Write = Callable[..., Path]
Play = Callable[..., Played]


def line_of(piece: str) -> int:
    """The line of the lesson's text where a piece of it stands."""
    return next(number for number, line in enumerate(TEXT.splitlines(), 1) if piece in line)


def test_what_is_read(write_lesson: Write) -> None:
    lesson = read_lesson(write_lesson())
    assert (lesson.name, lesson.title, lesson.chapter, lesson.order) == ("adding-up", "Adding up", "The three calls", 2)
    assert [stop.title for stop in lesson.stops] == ["The second backward", "The second step", "The repair"]
    assert [(stop.run, stop.at.text) for stop in lesson.stops] == [
        ("script", "1:0"),
        ("script", "1:1"),
        ("repaired", "1:1"),
    ]
    first = lesson.stops[0]
    assert (first.show, first.element, first.claims[1].line) == ("gradient", (1,), line_of("contributions('x')"))
    assert first.text.line == line_of("{loss:.2f}")
    assert lesson.conclusion is not None
    assert [series.label for series in lesson.compare] == ["first element", "loss"]


def test_the_numbers_are_those_of_the_run(played: Play) -> None:
    lesson = played()
    assert problems(lesson) == []
    first, second, repair = lesson.lesson.stops
    assert lesson.text(lesson.lesson.introduction) == "x starts as [2, 8, 0]; `{}` is a dict."
    assert lesson.text(first.text, first) == "12, of which 1 is stale; the loss is 32.00."
    assert first.question is not None
    assert lesson.text(first.question.text, first).startswith("The slope is 8, the gradient was 4.")
    assert lesson.answer(first) == 12
    assert lesson.choices(second) == (("down", True), ("nowhere", False))
    assert lesson.text(second.text, second) == "To −7."
    assert lesson.text(repair.text, repair) == "Now 8."
    assert lesson.lesson.conclusion is not None
    assert lesson.text(lesson.lesson.conclusion) == "−5 against −7."


def test_the_comparison(played: Play) -> None:
    comparison = played().comparison
    assert [line.text.strip() for line in comparison.diff if line.sign == "+"] == ["optimizer.zero_grad()"]
    assert not [line for line in comparison.diff if line.sign == "-"]
    assert [finding.code for finding in comparison.findings["script"]] == ["OT101"]
    assert comparison.findings["repaired"] == ()
    element, loss = comparison.curves
    assert element.points == {"script": (0.0, -7.0), "repaired": (0.0, -5.0)}
    assert loss.points == {"script": (40.0, 32.0), "repaired": (40.0, 32.0)}


@pytest.mark.parametrize(
    ("old", "new", "message", "piece"),
    [
        ('at = "1:0"', 'at = "9:0"', "broken.py recorded 0:0 to 1:1", 'at = "1:0"'),
        ('at = "1:0"', 'at = "first"', "first", 'at = "1:0"'),
        ('parameter = "x"\nelement', 'parameter = "y"\nelement', "there is no parameter 'y'", "element = [1]"),
        ("element = [1]", "element = [7]", "there is no element [7] in x, which is 3", "element = [1]"),
        ("element = [1]", "element = [0, 1]", "there is no element [0, 1]", "element = [1]"),
        ('"momentum_buffer"', '"exp_avg"', "x has no value 'exp_avg'", '"momentum_buffer"'),
        ('param("x").stale', 'param("z").stale', "there is no parameter 'z'", "is stale"),
        ("{loss:.2f}", "{loss:nonsense}", "'nonsense' is not a format", "is stale"),
        ("{loss:.2f}", "{lose}", "there is no 'lose'; did you mean 'close' or 'loss'", "is stale"),
        ("{loss:.2f}", "{loss", "a lone {", "is stale"),
        ("grad('x')[0]\"", "grad('x')\"", "not one number", "answer ="),
        (
            "before(grad('x')) + 8",
            "before(grad('x')) + 9",
            "not true of this run",
            "grad('x') == before(grad('x')) + 8",
        ),
        ("value('x')[0] == before(value('x')[0])", "1 == 1", "2 of the choices are true", '["down"'),
        ('"OT101"', '"OT102"', "broken.py gives no OT102; it gives OT101", 'finding = "OT101"'),
        ('["loss", "loss"]', '["loss", "lr2"]', "a number nowhere in broken.py", '["loss", "loss"]'),
        ("grad('x') == 8\"", "grad('x')[5] == 8\"", "there is no element [5]", "grad('x') == 8\""),
        ("contributions('x') == 2", "open('x') == 2", "there is no function 'open'", "contributions('x') == 2"),
    ],
)
def test_the_line_of_what_the_run_does_not_have(played: Play, old: str, new: str, message: str, piece: str) -> None:
    found = problems(played(old, new))
    where = line_of(piece) - (1 if piece == "element = [1]" else 0)
    told = [problem for problem in found if message in problem]
    assert told, found
    assert f"lesson.md:{where}: " in told[0]


@pytest.mark.parametrize(
    ("old", "new", "message", "line"),
    [
        ("# Adding up", "## Adding up", "one title", 1),
        (TEXT, "Nothing here.", "starts with its title", 1),
        ("```lesson", "```toml", "there is no ```lesson block", 1),
        ("order = 2", "order = ", "nvalid value", line_of("order = 2")),
        ("order = 2", "order = 'second'", "order is 'second'", line_of("order = 2")),
        ("order = 2", "ordr = 2", "there is no key 'ordr' here; did you mean 'order'?", line_of("order = 2")),
        ('script = "broken.py"\n', "", "names no script", 1),
        ('"repaired.py"', '"fixed.py"', "there is no script 'fixed.py'", line_of('"repaired.py"')),
        ('repaired = "repaired.py"\n', "", "names no repaired script", line_of("## The repair") - 1),
        ('run = "repaired"', 'run = "fixed"', "there is no run 'fixed'", line_of('run = "repaired"')),
        ('show = "state"', 'show = "moments"', "there is no show 'moments'", line_of('show = "state"')),
        ("element = [1]", "element = 1", "must be a list of indices", line_of("element = [1]")),
        ("answer = \"grad('x')[0]\"\n", "", "needs an answer to type or choices", line_of("The slope is 8")),
        ('ask = "Which way does x go?"\n', "", "choices without a question", line_of("choices = [") - 1),
        ('at = "1:0"\n', "", "the stop has no position", line_of("## The second backward")),
        ("## The second step\n", "", "a second block under one heading", line_of('show = "state"') - 3),
        (
            "## The repair\n",
            "## An aside\n\nText.\n\n## The repair\n",
            "no stop may come after",
            line_of("## The repair") + 4,
        ),
        ("## The second step", "# The second step", "one title", line_of("## The second step")),
    ],
)
def test_the_line_of_what_cannot_be_read(write_lesson: Write, old: str, new: str, message: str, line: int) -> None:
    folder = write_lesson(old, new)
    with pytest.raises(LessonError) as told:
        read_lesson(folder)
    assert message in str(told.value)
    assert f"lesson.md:{line}: " in str(told.value)
    assert "\n" not in str(told.value)


def test_a_translation_leads_the_same_way(write_lesson: Write, played: Play) -> None:
    translated = TEXT.replace("Adding up", "累加").replace("The second step", "第二次 step")
    folder = write_lesson(translation=translated)
    assert languages(folder) == ["en", "zh-CN"]
    original, chinese = read_lesson(folder), read_lesson(folder, "zh-CN")
    assert (chinese.title, chinese.language, chinese.name) == ("累加", "zh-CN", "adding-up")
    assert read_lesson(folder, "fr").language == "en"
    assert differences(chinese, original) == []

    other = write_lesson(translation=translated.replace('at = "1:0"', 'at = "0:0"').replace("order = 2", "order = 3"))
    found = differences(read_lesson(other, "zh-CN"), read_lesson(other))
    assert len(found) == 2
    assert "order differs" in found[0]
    assert f"lesson.zh-CN.md:{line_of('## The second backward')}: at differs from lesson.md" in found[1]


def test_finding_lessons(write_lesson: Write, tmp_path: Path) -> None:
    folder = write_lesson()
    assert folders(folder) == [folder]
    assert [lesson.name for lesson in course(folder.parent)] == ["adding-up"]
    with pytest.raises(LessonError, match="no lesson here"):
        folders(tmp_path)
    with pytest.raises(LessonError, match="there is no such folder"):
        folders(tmp_path / "nothing")
    with pytest.raises(LessonError, match="there is no lesson 'mising-zero-grad'; did you mean 'missing-zero-grad'"):
        place_of("mising-zero-grad")
    (tmp_path / "lesson.md").write_bytes(b"# \xff")
    with pytest.raises(LessonError, match="not UTF-8"):
        read_lesson(tmp_path)


@pytest.mark.parametrize(
    ("locale", "language"),
    [("zh_CN.UTF-8", "zh-CN"), ("zh-Hans", "zh-CN"), ("zh_TW.UTF-8", "en"), ("de_DE", "en"), ("C", "en"), ("", "en")],
)
def test_the_language_of_the_locale(monkeypatch: pytest.MonkeyPatch, locale: str, language: str) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", locale)
    assert preferred_language() == language
