"""The screen as text."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

from textual.app import App
from textual.events import MouseEvent
from textual.pilot import Pilot

from optrace.tui.app import ViewApp
from optrace.tui.core.spans import cells
from optrace.tui.widgets.lines import Lines


async def settle(app: ViewApp, pilot: Pilot[None]) -> None:
    """Wait until nothing runs in the background any more, nor is about to: a key takes several messages."""
    quiet = 0
    for _ in range(400):
        await pilot.pause()
        busy = any(not worker.is_finished for worker in app.workers)
        if app.session.findings.ready and not busy and not app.main.running and app.main._wanted is None:
            quiet += 1
            if quiet == 3:
                break
        else:
            quiet = 0
            await asyncio.sleep(0.02)
    await pilot.pause()


async def until(app: ViewApp, pilot: Pilot[None], holds: Callable[[], bool]) -> None:
    """Wait until something holds; scrolling by the wheel takes its time."""
    for _ in range(100):
        if holds():
            return
        await pilot.pause(0.02)
    raise AssertionError(screen_text(app))


def screen_text(app: ViewApp) -> str:
    """All lines that are on the screen."""
    lines = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in lines[: app.size.height])


async def press(app: ViewApp, pilot: Pilot[None], *keys: str) -> str:
    """Press keys, wait, and give back the screen."""
    await pilot.press(*keys)
    await settle(app, pilot)
    return screen_text(app)


class Spot(NamedTuple):
    """A piece of the screen that stands for an action."""

    x: int
    y: int
    text: str
    action: str
    pane: str


def spots(app: App[Any]) -> list[Spot]:
    """All pieces on the screen that stand for an action, where they are drawn."""
    found = []
    for pane in app.screen.query(Lines):
        region = pane.content_region
        if not pane.display or not region:
            continue
        for row in range(region.height):
            x, (line, _) = 0, pane._strips.get(row + int(pane.scroll_offset.y), ([], None))
            for span in line:
                size = cells(span.text)
                if span.action and size and x < pane.scrollable_content_region.width:
                    middle = x + size // 2  # of a key and its word, the piece itself
                    found.append(Spot(region.x + middle, region.y + row, span.text, span.action, pane.id or ""))
                x += size
    return found


async def click(app: ViewApp, pilot: Pilot[None], x: int, y: int) -> str:
    """Click on a cell of the screen, and give back what is then on it."""
    await pilot.click(offset=(x, y))
    await settle(app, pilot)
    return screen_text(app)


async def click_on(app: ViewApp, pilot: Pilot[None], text: str) -> str:
    """Click on a text where it last stands on the screen."""
    rows = screen_text(app).splitlines()
    y = next(y for y, row in reversed([*enumerate(rows)]) if text in row)
    return await click(app, pilot, cells(rows[y][: rows[y].index(text)]) + cells(text) // 2, y)


async def wheel(app: ViewApp, pilot: Pilot[None], kind: type[MouseEvent], x: int, y: int) -> None:
    """Turn the wheel over a cell of the screen."""
    await pilot._post_mouse_events([kind], offset=(x, y))
    await settle(app, pilot)
