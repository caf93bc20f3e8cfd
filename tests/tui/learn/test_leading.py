"""Through a lesson: from stop to stop, questions and answers, wandering and coming back."""

from __future__ import annotations

import pytest

from optrace.tui.learn.comparison import ComparisonScreen
from optrace.tui.learn.course import CourseScreen
from tests.tui.learn.conftest import Led, lesson_screen, press, screen_text, settle


async def test_from_the_beginning_to_the_end(led: Led) -> None:
    async with led() as (app, pilot):
        text = screen_text(app)
        assert "Each gradient of this loss is 4" in text
        assert "introduction" in text
        text = await press(app, pilot, "enter")
        screen = lesson_screen(app)
        assert (screen.run, screen.session.seq, screen.session.view.tab) == ("script", 0, "gradient")
        assert "The gradient is 4." in text
        assert "stop 1 of 4" in text

        text = await press(app, pilot, "enter")  # asks, at the event before
        assert (screen.session.position(screen.session.seq), screen.guide.asking) == ("0:1", True)
        assert "What will x.grad[1] be?" in text
        assert "adds to what is there" not in text
        text = await press(app, pilot, *"8.0", "enter")
        assert "✓ Right: 8." in text
        assert "8: backward adds to what is there." in text
        session = screen.session
        assert session.position(session.seq) == "1:0"
        assert session.selected is not None
        assert (session.selected.name, session.place) == ("x", (1,))
        assert (session.view.tab, session.view.kind) == ("values", "grad")

        text = await press(app, pilot, "enter")
        assert session.position(session.seq) == "1:0"
        assert "3 not at all" in text
        text = await press(app, pilot, "2")
        assert "✓ Right: by 2." in text
        assert "From 1 to -1." in text.replace("−", "-")
        assert (session.position(session.seq), session.view.tab, session.place) == ("1:1", "update", (0,))

        text = await press(app, pilot, "enter")  # the other run
        repaired = lesson_screen(app)
        assert (repaired.run, repaired.session.position(repaired.session.seq)) == ("repaired", "1:1")
        assert (repaired.session.view.tab, repaired.session.view.kind) == ("history", "param")
        assert "the gradient is 4." in text
        assert "adding-up/repaired.py" in text

        text = await press(app, pilot, "enter")
        assert isinstance(app.screen, ComparisonScreen)
        assert "+     optimizer.zero_grad()" in text
        assert "OT101 missing zero grad" in text
        assert "✓ no findings" in text
        assert "backward adds; somebody has to clear." in text
        assert "2 of 2 right" in text
        assert "40 → −8" in text  # the loss without zero_grad: 4 (2 + 8) - 8 (1 + 3 + 6) / 2 ... and with it
        assert "40 → 16" in text

        await press(app, pilot, "backspace")
        assert lesson_screen(app).guide.number == 3
        await press(app, pilot, "backspace")
        assert lesson_screen(app) is screen
        assert "✓ Right: by 2." in screen_text(app)  # what was answered stays answered
        await press(app, pilot, "backspace", "backspace", "backspace")
        assert "introduction" in screen_text(app)
        assert "This is the beginning" in await press(app, pilot, "backspace")


@pytest.mark.parametrize(
    ("typed", "words"),
    [("4", "✗ You said 4; recorded: 8."), ("-8", "✗ You said -8; recorded: 8."), ("16/2", "✓ Right: 8.")],
)
async def test_a_typed_answer_is_held_against_the_recorded_number(led: Led, typed: str, words: str) -> None:
    async with led() as (app, pilot):
        keys = [{"-": "minus", "/": "slash"}.get(letter, letter) for letter in typed]
        assert words in await press(app, pilot, "enter", "enter", *keys, "enter")


async def test_what_is_no_number_is_said_and_asked_again(led: Led) -> None:
    async with led() as (app, pilot):
        text = await press(app, pilot, "enter", "enter", "minus", "minus", "enter")
        assert "“--” is not a number" in text
        assert lesson_screen(app).guide.asking
        text = await press(app, pilot, "backspace", "backspace")
        assert "Type a number" in text
        assert "Type a number" in await press(app, pilot, "enter")
        assert lesson_screen(app).guide.asking
        await press(app, pilot, "backspace")  # with nothing typed it leads back
        assert lesson_screen(app).guide.number == 0


async def test_full_width_digits_are_digits(led: Led) -> None:
    async with led() as (app, pilot):
        assert "✓ Right: 8." in await press(app, pilot, "enter", "enter", "８", "enter")


async def test_while_a_number_is_asked_for_the_other_keys_still_wander(led: Led) -> None:
    async with led() as (app, pilot):
        await press(app, pilot, "enter", "enter", "8", "right", "w", "tab", "left_square_bracket")
        screen = lesson_screen(app)
        assert screen.lesson.answer.value == "8"
        assert "away from stop 2" in screen_text(app)
        await press(app, pilot, "enter")  # comes back, and what was typed is still there
        assert not screen.away
        assert "✓ Right: 8." in await press(app, pilot, "enter")


@pytest.mark.parametrize("keys", [("1",), ("enter",), ("down", "up", "enter")])
async def test_a_wrong_choice_is_said(led: Led, keys: tuple[str, ...]) -> None:
    async with led(size=(80, 24)) as (app, pilot):
        text = await press(app, pilot, "enter", "enter", "s", "enter", *keys)
        assert "✗ You said by 1, as the first one; recorded: by 2." in text
        assert "From 1 to" in text


async def test_choosing_by_arrows_and_by_mouse(led: Led) -> None:
    async with led() as (app, pilot):
        await press(app, pilot, "enter", "enter", "s", "enter", "down")
        lines = screen_text(app).splitlines()
        row = next(y for y, line in enumerate(lines) if "2 by 2" in line)
        assert "▸" in lines[row]
        await pilot.click(offset=(lines[row].index("by 2"), row))
        await settle(app, pilot)
        assert "✓ Right: by 2." in screen_text(app)


@pytest.mark.parametrize("key", ["s", "escape"])
async def test_an_answer_can_be_shown(led: Led, key: str) -> None:
    async with led() as (app, pilot):
        text = await press(app, pilot, "enter", "enter", key)
        assert "Recorded: 8." in text
        assert "adds to what is there" in text
        assert "Recorded: by 2." in await press(app, pilot, "enter", key)
        assert "0 of 2 right" in await press(app, pilot, "enter", "enter")


async def test_wandering_and_coming_back(led: Led) -> None:
    async with led() as (app, pilot):
        text = await press(app, pilot, "enter", "right_square_bracket", "right", "3")
        screen = lesson_screen(app)
        assert "away from stop 1" in text
        assert "stop 1 of 4" not in text
        text = await press(app, pilot, "g", "3", "enter")
        assert "away from stop 1" in text
        text = await press(app, pilot, "enter")
        assert "stop 1 of 4" in text
        assert (screen.session.seq, screen.session.view.tab, screen.guide.number) == (0, "gradient", 0)


async def test_the_other_run_at_the_same_position(led: Led) -> None:
    async with led() as (app, pilot):
        text = await press(app, pilot, "enter", "right", "2", "r")
        repaired = lesson_screen(app)
        assert (repaired.run, repaired.session.position(repaired.session.seq)) == ("repaired", "0:1")
        assert repaired.session.view.tab == "update"
        assert "Now in repaired.py, at 0:1." in text
        assert "away from stop 1" in text
        text = await press(app, pilot, "end", "r")  # 3:2 is not in the first run
        assert "broken.py has no 3:2: now at 3:1." in text
        await press(app, pilot, "r", "enter")
        assert lesson_screen(app).run == "script"
        assert "stop 1 of 4" in screen_text(app)


async def test_a_claim_that_does_not_hold_is_told_at_its_stop(led: Led) -> None:
    async with led("== 2 * at(", "== 3 * at(", size=(80, 24)) as (app, pilot):
        text = await press(app, pilot, "enter", "enter")
        assert "does not fit" not in text
        text = await press(app, pilot, *"8", "enter")
        assert "The text does not fit this run" in text
        assert "3 * at('0:0', grad('x'))" in " ".join(text.split())


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('at = "0:0"', 'at = "9:0"', "there is no iteration 9"),
        ('show = "gradient"\nparameter = "x"', 'show = "gradient"\nparameter = "y"', "'y'"),
        ("The gradient is {grad('x')[0]}", "The gradient is {grad('z')}", "'z'"),
    ],
)
async def test_what_the_lesson_gets_wrong_is_told_with_its_line(led: Led, old: str, new: str, words: str) -> None:
    async with led(old, new, size=(200, 50)) as (app, pilot):
        text = await press(app, pilot, "enter")
        assert "The lesson is wrong here" in text
        text += " ".join(lesson_screen(app).guide.page.errors)
        assert "lesson.md:" in text
        assert words in text
        await press(app, pilot, "enter")
        assert lesson_screen(app).guide.number == 1  # and it goes on


async def test_what_was_printed_help_and_leaving(led: Led) -> None:
    async with led() as (app, pilot):
        assert "3 [16.0, 16.0]" in await press(app, pilot, "enter", "p")
        text = await press(app, pilot, "escape", "question_mark")
        assert "In a lesson" in text
        assert "Through the run" in text
        await press(app, pilot, "escape", "q")
        assert isinstance(app.screen, CourseScreen)
        assert not app.finished


async def test_in_chinese_so_is_what_the_screen_says(led: Led) -> None:
    async with led(language="zh-CN") as (app, pilot):
        assert "引言" in screen_text(app)
        text = await press(app, pilot, "enter", "enter")
        assert "之前的梯度是 4。x.grad[1] 会是多少？" in text
        assert "你答的是 5；记录的是 8。" in await press(app, pilot, "5", "enter")
        assert "离开了第 2 站" in await press(app, pilot, "left")
        assert "小结" in await press(app, pilot, "enter", "enter", "s", "enter", "enter")


async def test_resizing_keeps_the_place_and_the_answer_being_typed(led: Led) -> None:
    async with led() as (app, pilot):
        await press(app, pilot, "enter", "enter", "1", "2")
        before = screen_text(app)
        await pilot.resize_terminal(80, 24)
        await pilot.pause(0.2)
        assert "Your answer ▸ 12" in screen_text(app)
        await pilot.resize_terminal(120, 36)
        await pilot.pause(0.2)
        assert await press(app, pilot) == before


async def test_the_palette_has_the_lessons_keys(led: Led) -> None:
    async with led() as (app, _):
        titles = [command.title for command in app.get_system_commands(app.screen)]
        assert "The other script's run" in titles
        assert "Next finding" in titles
