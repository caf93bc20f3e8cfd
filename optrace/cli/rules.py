"""`optrace rules`."""

from __future__ import annotations

import argparse
import textwrap
from typing import TYPE_CHECKING

from optrace.cli.command import Command, ExitCode
from optrace.cli.text import wrapped

if TYPE_CHECKING:
    from optrace.checks.rule import Rule


class Rules(Command):
    """Explain what `optrace check` looks for.

    Without a code, all rules; with one (OT101, or missing-zero-grad), the bug, why
    it hurts, and the loop before and after the repair.
    """

    name = "rules"

    def prepare_parser(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("code", metavar="CODE", nargs="?", help="one rule, by its code or name")

    def run(self, arguments: argparse.Namespace) -> int:
        from optrace.checks.registry import rule, rules
        from optrace.cli.timeline import screen_width

        width = screen_width()
        if arguments.code is not None:
            lines = _explained(rule(arguments.code), width)
        else:
            lines = []
            for known in rules():
                lines.append(f"{known.code} {known.name} ({known.severity})")
                lines += wrapped(f"    {known.bug}", width, "    ")
        for line in lines:
            print(line)
        return ExitCode.SUCCESS


def _explained(rule: type[Rule], width: int) -> list[str]:
    lines = [f"{rule.code} {rule.name} ({rule.severity})", ""]
    lines += wrapped(rule.bug, width)
    lines += ["", *wrapped(f"Why it hurts: {rule.why}", width)]
    for title, code in (("The bug:", rule.broken), ("The repair:", rule.fixed)):
        lines += ["", title, *textwrap.indent(textwrap.dedent(code).strip("\n"), "    ").splitlines()]
    return lines
