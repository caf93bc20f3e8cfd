"""Draw the pictures of the README from demos and a lesson: python docs/make_pictures.py

Records demos, opens them, presses
keys, and writes `docs/*.svg`. Run it after every change of the screen.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path

from textual.app import App

from optrace.trace.reader import load
from optrace.tui.app import ViewApp
from optrace.tui.learn.app import LearnApp
from optrace.tui.learn.lesson import LessonScreen

HERE = Path(__file__).resolve().parent
DEMOS = HERE.parent / "demos"
PICTURES: dict[str, tuple[str, tuple[str, ...], bool]] = {
    "screen": ("gradients_add_up_no_zero.py", ("right", "right"), False),
    "screen-light": ("gradients_add_up_no_zero.py", ("right", "right", "right", "2"), True),
    "values": ("digits_cnn.py", ("g", "6", "0", "colon", "1", "enter", "down", "down", "down", "down", "4"), False),
    "history": ("digits_cnn.py", ("g", "6", "0", "colon", "1", "enter", "down", "down", "5", "y"), False),
}
LESSON = ("missing-zero-grad", ("enter", "enter", "minus", "1", "2", "enter"))


def record(script: str, folder: Path) -> Path:
    """A trace of a demo, recorded in a process of its own."""
    path = folder / Path(script).with_suffix(".optrace").name
    if not path.exists():
        run = f"runpy.run_path({script!r}, run_name='__main__')"
        code = f"import optrace, runpy\nwith optrace.record({str(path)!r}): {run}"
        subprocess.run([sys.executable, "-c", code], check=True, cwd=DEMOS, stdout=subprocess.DEVNULL)
    return path


async def draw(path: Path, keys: tuple[str, ...], light: bool) -> str:
    """The screen after some keys, as SVG."""
    app = ViewApp(load(path), ascii_only=False, light=light)
    try:
        async with app.run_test(size=(120, 36)) as pilot:
            await idle(app)
            for key in keys:
                await pilot.press(key)
            await idle(app)
            await pilot.pause(0.3)
            return app.export_screenshot(title=f"optrace view {path.name}")
    finally:
        app.session.close()


async def draw_lesson(name: str, keys: tuple[str, ...], folder: Path) -> str:
    """The screen of a lesson after some keys, as SVG. Its scripts are run."""
    app = LearnApp(DEMOS / "lessons", ["en"], "en", folder, name, ascii_only=False)
    try:
        async with app.run_test(size=(120, 36)) as pilot:
            while not isinstance(app.screen, LessonScreen):
                await pilot.pause(0.1)
            for key in keys:
                await pilot.press(key)
                await pilot.pause(0.3)
            await idle(app)
            return app.export_screenshot(title=f"optrace learn {name}")
    finally:
        app.close()


async def idle(app: App[None]) -> None:
    """Wait for the checks and charts."""
    for _ in range(200):
        await asyncio.sleep(0.05)
        if all(worker.is_finished for worker in app.workers):
            return


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, (script, keys, light) in PICTURES.items():
            save(name, asyncio.run(draw(record(script, Path(folder)), keys, light)))
        save("lesson", asyncio.run(draw_lesson(*LESSON, Path(folder))))


def save(name: str, svg: str) -> None:
    # Some viewers drop spaces at the ends of a text unless told not to.
    (HERE / f"{name}.svg").write_text(svg.replace("<text ", '<text xml:space="preserve" '), encoding="utf-8")
    print(f"docs/{name}.svg")


if __name__ == "__main__":
    main()
