"""A stylesheet that does nothing twice: what was parsed stays known, and only rules that differ are set on a widget."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from textual.color import Color
from textual.css.model import RuleSet
from textual.css.styles import RulesMap
from textual.css.stylesheet import Stylesheet
from textual.css.types import CSSLocation
from textual.dom import DOMNode
from textual.widget import Widget


class KeptStylesheet(Stylesheet):
    """Textual's own parses all rules anew for each change of the theme, and sets every rule of every widget again.

    Each takes as long as drawing the screen.
    """

    def __init__(self, variables: dict[str, str]) -> None:
        super().__init__(variables=variables)
        self._colours = frozenset(variables.items())
        self._known: dict[tuple[Any, ...], list[RuleSet]] = {}

    def set_variables(self, variables: dict[str, str]) -> None:
        if variables != self._variables:
            super().set_variables(variables)
            self._colours = frozenset(variables.items())

    def reparse(self) -> None:
        self.parse()

    def parse_for(self, themes: Iterable[dict[str, str]]) -> None:
        """Parse beforehand what will be wanted with these variables."""
        now = self._variables
        for variables in themes:
            self.set_variables(variables)
            self.parse()
        self.set_variables(now)
        self.parse()

    def _parse_rules(
        self,
        css: str,
        read_from: CSSLocation,
        is_default_rules: bool = False,
        tie_breaker: int = 0,
        scope: str = "",
    ) -> list[RuleSet]:
        key = (self._colours, css, read_from, is_default_rules, tie_breaker, scope)
        if key not in self._known:
            self._known[key] = super()._parse_rules(css, read_from, is_default_rules, tie_breaker, scope)
        return self._known[key]

    @classmethod
    def replace_rules(cls, node: DOMNode, rules: RulesMap, animate: bool = False) -> None:
        if animate:
            super().replace_rules(node, rules, animate=True)
            return
        base = node.styles.base
        before: dict[str, Any] = {**base.get_rules()}
        after: dict[str, Any] = {**rules}
        colours: RulesMap = {}
        for name in before.keys() | after.keys():
            old, new = before.get(name), after.get(name)
            if old == new:
                continue
            if isinstance(old, Color) and isinstance(new, Color):
                colours[name] = new  # type: ignore[literal-required]
            else:
                setattr(base, name, new)
        if colours:  # set one by one, each would have everything inside drawn anew
            base.merge_rules(colours)
            base.refresh(children=True)
            if isinstance(node, Widget):
                for bar in (node._vertical_scrollbar, node._horizontal_scrollbar):
                    if bar is not None:
                        bar.refresh()
        node.notify_style_update()
