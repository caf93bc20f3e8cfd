"""`optrace learn` where there is no terminal, and its --check."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lessons.conftest import TEXT

Write = Callable[..., Path]


def learn(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `optrace learn`."""
    command = [sys.executable, "-m", "optrace", "learn", *map(str, arguments)]
    variables = {key: value for key, value in os.environ.items() if not key.startswith("LC_") and key != "LANG"}
    return subprocess.run(
        command,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        env={**variables, "PYTHONIOENCODING": "utf-8", **environment},
        stdin=subprocess.DEVNULL,
    )


def test_the_list(write_lesson: Write) -> None:
    folder = write_lesson(
        translation=TEXT.replace("# Adding up", "# 累加").replace("Backward adds.", "backward 会累加。")
    )
    done = learn(folder.parent)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["The three calls", "  adding-up  Adding up", "             Backward adds."]
    assert "累加" in learn(folder.parent, "--lang", "zh-CN").stdout
    assert "累加" in learn(folder.parent, LANG="zh_CN.UTF-8").stdout


def test_the_lessons_that_come_with_it() -> None:
    done = learn()
    assert done.returncode == 0
    assert "missing-zero-grad" in done.stdout


def test_a_lesson_as_text(write_lesson: Write) -> None:
    done = learn(write_lesson())
    assert done.returncode == 0, done.stderr
    for expected in (
        "# Adding up",
        "`1:0` backward, broken.py:9",
        "Question: The slope is 8, the gradient was 4. What is it now?\n\nAnswer: 12",
        "1. down\n2. nowhere\n\nAnswer: down",
        "+     optimizer.zero_grad()",
        "`optrace check` finds: OT101 missing-zero-grad",
        "- first element, `repaired.py`: 0 → −5",
        "−5 against −7.",
    ):
        assert expected in done.stdout


@pytest.mark.slow
def test_check_holds_every_language_against_one_run(write_lesson: Write) -> None:
    good = learn("--check", write_lesson(translation=TEXT))
    assert (good.returncode, good.stdout) == (0, "")
    assert "1 lesson, no problems" in good.stderr
    bad = learn("--check", write_lesson(translation=TEXT.replace("{loss:.2f}", "{value('nothing')}")))
    assert bad.returncode == 1
    assert len(bad.stdout.splitlines()) == 1
    assert "lesson.zh-CN.md:33: there is no parameter 'nothing'" in bad.stdout


def test_a_script_that_fails_or_records_nothing(write_lesson: Write) -> None:
    folder = write_lesson()
    (folder / "broken.py").write_text("import torch\nprint('hello')\nraise ValueError('no data')\n")
    done = learn(folder)
    assert done.returncode == 2
    assert "nothing was recorded; the last line it printed: ValueError: no data" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-such-lesson"], "there is no lesson 'no-such-lesson'"),
        (["./no-such-folder"], "there is no such folder"),
        (["--lang", "fr"], "not written in the language 'fr'"),
    ],
)
def test_bad_arguments(arguments: list[str], message: str) -> None:
    done = learn(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
