"""What the recorder's tests share."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def _fewer_objects_to_look_through() -> Iterator[None]:
    """A recording begins by collecting garbage and looking for models among all objects: leave out torch's own."""
    import torch.utils.data.dataloader  # noqa: F401

    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
