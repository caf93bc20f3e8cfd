"""What the recorder's tests share."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="module", autouse=True)
def _fewer_objects_to_look_through() -> Iterator[None]:
    """A recording begins by collecting garbage and looking for models among all objects: leave out torch's own."""
    import torch.utils.data.dataloader  # noqa: F401

    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


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
