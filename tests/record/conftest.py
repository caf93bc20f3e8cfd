"""What the recorder's tests share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the one recording of a test goes."""
    return tmp_path / "run.optrace"


@pytest.fixture
def small_chunks_and_nobody_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of few iterations although these are small; the live check has tests of its own."""
    from optrace.recording import ring
    from optrace.recording.lookout import Lookout

    monkeypatch.setattr(ring, "LEAST_CHUNK", 1)
    monkeypatch.setattr(Lookout, "post", lambda self, folder, ignored: None)
