"""The screen as text."""

from __future__ import annotations

import asyncio

from textual.pilot import Pilot

from optrace.tui.app import ViewApp


async def settle(app: ViewApp, pilot: Pilot[None]) -> None:
    """Wait until nothing runs in the background any more."""
    for _ in range(400):
        await pilot.pause()
        busy = any(not worker.is_finished for worker in app.workers)
        if app.session.findings.ready and not busy and not app.main.running and app.main._wanted is None:
            break
        await asyncio.sleep(0.02)
    await pilot.pause()


def screen_text(app: ViewApp) -> str:
    """All lines that are on the screen."""
    lines = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in lines[: app.size.height])


async def press(app: ViewApp, pilot: Pilot[None], *keys: str) -> str:
    """Press keys, wait, and give back the screen."""
    await pilot.press(*keys)
    await settle(app, pilot)
    return screen_text(app)
