"""The inspector's tabs: each gives the lines for one parameter at one position."""

from __future__ import annotations

TABS = ("gradient", "update", "state", "values", "history")
