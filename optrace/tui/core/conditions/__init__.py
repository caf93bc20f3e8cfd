"""Conditions over events (`grad_norm > 10 and kind == "backward"`): parsed, never evaluated as Python."""

from optrace.tui.core.conditions.grammar import Condition, ConditionError, parse
from optrace.tui.core.conditions.names import complete
from optrace.tui.core.conditions.search import Progress, search

__all__ = ["Condition", "ConditionError", "Progress", "complete", "parse", "search"]
