"""What the tests share."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout, where `demos/` and `pyproject.toml` are."""
    return Path(__file__).resolve().parent.parent
