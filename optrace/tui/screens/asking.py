"""What opens a window over the main screen: prompts, findings, conditions, comparison, help."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from optrace.errors import LookupFailed
from optrace.tui.core.conditions import complete, parse
from optrace.tui.core.table import SORTS
from optrace.tui.screens.entries import condition_entries, finding_entries
from optrace.tui.screens.help import help_entries
from optrace.tui.screens.listing import Listing, walking
from optrace.tui.screens.moving import Moving
from optrace.tui.screens.prompt import Prompt
from optrace.tui.widgets.keybar import Key

if TYPE_CHECKING:
    from optrace.tui.core.session import Session


class Asking(Moving):
    """A part of the main screen."""

    def action_help(self) -> None:
        self.app.push_screen(
            Listing.of(self.app, "Help", help_entries(self._poor()), walking("scroll"), choosing=False, verbs=())
        )

    def _poor(self) -> bool:
        return bool(getattr(self.app, "ascii_only", False))

    def action_findings(self) -> None:
        def done(taken: tuple[str, int] | None) -> None:
            if taken is not None and len(self.session.findings):
                self.moved(self.session.cursor.jump(self.session.findings.all[taken[1]].seq))

        walk, leave = walking("choose")
        bottom = (walk, Key("Enter", "go there", ("take('enter')",)), leave)
        self.app.push_screen(Listing.of(self.app, "Findings", finding_entries(self.session), bottom), done)

    def action_compare(self) -> None:
        if self.session.mark is None:
            self.note("Set a mark with m first, go elsewhere, then compare with d.", "dim")
            return
        self.compare(self.session.mark)

    # Go to

    def action_go_to(self) -> None:
        def check(text: str) -> None:
            if _element(text) is not None:
                self._checked_element(text)
            else:
                self.session.cursor.parse(text)

        def done(text: str | None) -> None:
            if text is None:
                return
            if _element(text) is not None:
                self.session.view.place = self._checked_element(text)
                self.redraw()
            else:
                self.session.follow = False
                self.moved(self.session.cursor.jump(self.session.cursor.parse(text)))

        hint = "12:2 iteration and event · 12 iteration · 50% of the run · #300 event number · end · [3,7] element"
        self.app.push_screen(Prompt.of(self.app, "Go to", hint, check), done)

    def _checked_element(self, text: str) -> tuple[int, ...]:
        from optrace.arithmetic.explain import checked

        place = _element(text)
        if place is None or self.session.selected is None:
            raise LookupFailed("no parameter is selected")
        return checked(self.session.selected, place)

    # Filter and sort

    def action_filter(self) -> None:
        before = self.session.view.filter

        def done(text: str | None) -> None:
            self.set_filter(before if text is None else text.strip())

        self.app.push_screen(
            Prompt.of(
                self.app,
                "Filter parameters",
                "part of a name, or several · Enter keeps it · Esc leaves it as it was",
                _anything,
                text=before,
                changed=self.set_filter,
            ),
            done,
        )

    def set_filter(self, text: str) -> None:
        """Show only parameters with these words in their names."""
        self.session.view.filter = text.strip()
        self.session.refilter()
        if self.session.row < 0 and self.session.rows:
            self.session.choose(0)
        self.redraw()
        self.table.reveal()

    def action_sort(self) -> None:
        self.sort_by(SORTS[(SORTS.index(self.session.view.sort) + 1) % len(SORTS)])

    def action_sort_by(self, key: str) -> None:
        """Sort by this; as in the model, where it is sorted so already."""
        self.sort_by("order" if key == self.session.view.sort else key)

    # Conditions

    def action_run(self, forward: bool) -> None:
        view = self.session.view
        if view.conditions:
            self.run_to(view.conditions[view.current], forward)
        else:
            self.ask_condition(forward)

    def ask_condition(self, forward: bool | None) -> None:
        """Ask for a condition; then run to it, unless `forward` is None."""

        def done(text: str | None) -> None:
            if text is None:
                return
            view = self.session.view
            condition = parse(text, self.session.trace)
            if condition.text not in [known.text for known in view.conditions]:
                view.conditions.append(condition)
            view.current = [known.text for known in view.conditions].index(condition.text)
            if forward is None:
                self.action_conditions()
            else:
                self.run_to(condition, forward)

        hint = 'grad_norm > 10 and kind == "backward" · isnan(loss) · param("fc1.weight").stale · Tab completes'
        self.app.push_screen(
            Prompt.of(
                self.app,
                "Run to where",
                hint,
                lambda text: _parsed(text, self.session),
                lambda text: complete(text, self.session.trace),
            ),
            done,
        )

    def action_conditions(self) -> None:
        def done(taken: tuple[str, int] | None) -> None:
            view = self.session.view
            if taken is None:
                return
            verb, number = taken
            if verb == "add":
                self.ask_condition(None)
            elif verb == "delete" and number < len(view.conditions):
                del view.conditions[number]
                view.current = max(0, min(view.current, len(view.conditions) - 1))
                self.action_conditions()
            elif verb == "enter" and number < len(view.conditions):
                view.current = number
                self.run_to(view.conditions[number], True)

        bottom = (
            Key("Enter", "run to it", ("take('enter')",)),
            Key("a", "add", ("take('add')",)),
            Key("d", "delete", ("take('delete')",)),
            walking("")[1],
        )
        entries = condition_entries(self.session)
        self.app.push_screen(
            Listing.of(self.app, "Conditions", entries, bottom, verbs=("enter", "add", "delete")), done
        )

    # Pictures

    def action_picture(self) -> None:
        name = f"optrace-{self.session.position(self.session.seq).replace(':', '-')}.svg"
        try:
            path = self.app.save_screenshot(name, path=".")
        except OSError as error:
            self.note(f"The picture could not be saved: {error.strerror}", "bad")
        else:
            self.note(f"Saved {path}.", "good")


def _parsed(text: str, session: Session) -> None:
    from optrace.tui.core.conditions.columns import Columns
    from optrace.tui.core.conditions.search import holds

    condition = parse(text, session.trace)
    holds(condition, Columns(session.machine, session.seq, session.seq + 1))


def _element(text: str) -> tuple[int, ...] | None:
    match = re.fullmatch(r"\s*\[\s*(\d*(?:\s*,\s*\d+)*)\s*\]\s*", text)
    if match is None:
        return None
    return tuple(int(part) for part in match[1].split(",") if part.strip())


def _anything(text: str) -> None:
    return None
