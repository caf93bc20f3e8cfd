"""What the tests share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# On a merge the generated cases are always the same ones, so that what fails is the change; elsewhere they are new
# every time.
settings.register_profile("merge", derandomize=True, print_blob=True)
if os.environ.get("CI"):
    settings.load_profile("merge")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout, where `demos/` and `pyproject.toml` are."""
    return Path(__file__).resolve().parent.parent
