"""What the conformance tests share."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator

import pytest

# Before any of these libraries is imported: nothing is fetched, nothing is told to anybody, no accelerator is used.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["ACCELERATE_USE_CPU"] = "1"


@pytest.fixture(scope="module", autouse=True)
def _fewer_objects_to_look_through() -> Iterator[None]:
    """A recording begins by collecting garbage and looking through all objects: leave out those of the libraries."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _modules_and_modes() -> Iterator[None]:
    """No framework leaves its excepthook or its default generator's settings to the next test."""
    hook = sys.excepthook
    yield
    sys.excepthook = hook
