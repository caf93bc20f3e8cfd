"""What the tests share."""

import gc
import importlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# On a merge the generated cases are always the same ones, so that what fails is the change; elsewhere they are new
# every time.
settings.register_profile("merge", derandomize=True, print_blob=True)
if os.environ.get("CI"):
    settings.load_profile("merge")

# Started in the background by a shell without job control, this process ignores Ctrl-C, and so would every program
# that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def what_was_imported_stays() -> Iterator[None]:
    """Have imported what the first optimizer and the first loader would import."""
    importlib.import_module("torch._dynamo")
    importlib.import_module("torch.utils.data.dataloader")
    yield
    gc.unfreeze()


@pytest.fixture(scope="module", autouse=True)
def fewer_objects_to_look_through(what_was_imported_stays: None) -> None:
    """Every recording begins by looking for garbage and for models among all objects: leave out those that stay."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout, where `demos/` and `pyproject.toml` are."""
    return Path(__file__).resolve().parent.parent
