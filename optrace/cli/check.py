"""`optrace check`."""

from __future__ import annotations

import argparse

from optrace.cli.command import Command, ExitCode, add_trace, open_trace, shared_folder, sources, tell_unreadable
from optrace.cli.text import printable

NEVER = "never"
FAIL_ON = ("error", "warning", "hint", NEVER)


class Check(Command):
    """Say what is wrong with a recorded training loop, and why.

    Findings come worst first, each with the line that is wrong and the repair.
    Exit codes: 0 nothing at or above --fail-on, 1 findings, 2 the check could not
    be made. --json prints one object: {"trace": …, "findings": [{"code", "name",
    "severity", "message", "fix", "file", "line", "function", "position", "count",
    "parameters", "evidence", "caused_by", "processes"}, …]}; NaN and infinities in
    the evidence are the strings "NaN", "Infinity" and "-Infinity". Of several
    processes that ran together each is checked, and they are compared.

    CODES are codes, beginnings of codes or names: OT101,OT4,missing-zero-grad.
    `optrace rules` lists them. A comment `# optrace: ignore[OT101]` on a line of
    the script silences one there, `ignore` under [tool.optrace] in pyproject.toml
    everywhere.
    """

    name = "check"

    def prepare_parser(self, parser: argparse.ArgumentParser) -> None:
        add_trace(parser)
        parser.add_argument("--select", metavar="CODES", help="only these")
        parser.add_argument("--ignore", metavar="CODES", help="all but these")
        parser.add_argument("--fail-on", choices=FAIL_ON, default="error", help="what makes the exit code 1 (error)")
        parser.add_argument("--json", action="store_true", help="one object, for programs")

    def run(self, arguments: argparse.Namespace) -> int:
        from optrace.checks.check import check
        from optrace.checks.finding import SEVERITIES

        with open_trace(arguments.trace) as trace:
            place = shared_folder(trace)
            tell_unreadable(trace)
            found = check(trace, select=split_codes(arguments.select), ignore=split_codes(arguments.ignore))
            if arguments.json:
                from optrace.cli.asjson import dumps

                print(dumps({"trace": place, "findings": [finding.to_dict() for finding in found]}, indent=2))
            else:
                from optrace.cli.extent import within
                from optrace.cli.findings import finding_lines, tally
                from optrace.cli.timeline import screen_width

                for line in finding_lines(found, sources(trace), trace.meta.get("cwd"), screen_width()):
                    print(line)
                among = f" in {len(trace.processes)} processes" if len(trace.processes) > 1 else ""
                print(f"{'' if not found else chr(10)}{printable(place)}: {tally(found)}{among or within(trace)}")
        counted = SEVERITIES[: FAIL_ON.index(arguments.fail_on) + 1] if arguments.fail_on != NEVER else ()
        return ExitCode.FINDINGS if any(finding.severity in counted for finding in found) else ExitCode.SUCCESS


def split_codes(text: str | None) -> list[str] | None:
    """`OT101,OT4` as a list; None where nothing was said."""
    if text is None:
        return None
    return [code.strip() for code in text.split(",") if code.strip()]
