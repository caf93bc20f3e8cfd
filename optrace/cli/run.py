"""`optrace run`."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from optrace.cli.check import split_codes
from optrace.cli.command import Command, ExitCode, open_trace, sources
from optrace.cli.text import count, printable, tell
from optrace.errors import OptraceError
from optrace.recording.options import checked, whole
from optrace.recording.program import Program
from optrace.recording.size import format_size

if TYPE_CHECKING:
    from optrace.recording.launch import Launch, Outcome
    from optrace.trace.reader import Trace

USAGE = """optrace run [OPTION ...] script.py [ARGUMENT ...]
       optrace run [OPTION ...] -m package.module [ARGUMENT ...]
       optrace run [OPTION ...] -c CODE [ARGUMENT ...]"""


CAPTURE = """what to keep of values: exact (every bit), sampled (statistics, some elements, whole
keyframes), stats (statistics alone), or auto (exact until half the budget, then sampled: the default)"""
LAST = """keep only the last N iterations, all of them exactly; the recording ends with what it holds when a
finding of severity error appears, optrace.keep() is called, or the process ends, however that does"""
PARAMS = "parameters whose values to keep, by patterns of names: 'layers.*.weight,!*.bias'"


class Run(Command):
    """Run a training script and record it.

    The script runs as python would run it: the same arguments, environment, output
    and exit code. What its loop does to every parameter, gradient and optimizer
    state goes into a trace named after it (train.py -> train.optrace). At its end
    a summary and the findings of `optrace check` are printed on stderr.

    Of processes that train together each has a trace of its own in that folder,
    train.optrace/rank-0: torchrun [OPTION ...] -m optrace run train.py, or as well
    optrace run -m torch.distributed.run [OPTION ...] train.py.
    """

    name = "run"
    own_errors = False

    def prepare_parser(self, parser: argparse.ArgumentParser) -> None:
        parser.usage = USAGE
        parser.add_argument("-o", "--output", metavar="PATH", help="where to put the trace")
        parser.add_argument("-f", "--force", action="store_true", help="replace a trace that exists")
        parser.add_argument("-q", "--quiet", action="store_true", help="leave out the summary and the findings")
        parser.add_argument("--budget", metavar="SIZE", help="how large the trace may ever grow (default: 2GiB)")
        parser.add_argument("--capture", metavar="HOW", default="auto", help=CAPTURE)
        parser.add_argument("--params", metavar="PATTERNS", help=PARAMS)
        parser.add_argument("--every", metavar="N", help="record one iteration in N")
        parser.add_argument("--from", dest="first", metavar="N", help="the first iteration to record")
        parser.add_argument("--until", metavar="N", help="record up to before this iteration")
        parser.add_argument("--last", metavar="N", help=LAST)
        parser.add_argument("--ignore", metavar="CODES", default="", help="findings to leave out: OT101,OT405")
        parser.add_argument("-m", dest="module", nargs=argparse.REMAINDER, help="run a module, as python -m does")
        parser.add_argument("-c", dest="code", nargs=argparse.REMAINDER, help="run the code given, as python -c does")
        parser.add_argument("script", nargs=argparse.REMAINDER, help="the script and its arguments")

    def run(self, arguments: argparse.Namespace) -> int:
        from optrace.cli.main import guarded

        prepared: list[Launch | Program] = []
        failed = guarded(self._prepare, arguments, prepared)
        if not prepared:
            return failed
        chosen = prepared[0]
        if isinstance(chosen, Program):  # torchrun, which is not recorded itself
            chosen.prepare()
            chosen.execute()
        else:
            chosen.run()  # whatever this raises is the script's
        return ExitCode.SUCCESS

    def _prepare(self, arguments: argparse.Namespace, prepared: list[Launch | Program]) -> int:
        from optrace.recording.launch import Launch
        from optrace.recording.launchers import Ranks, launches_others
        from optrace.recording.places import check_claim, place_of_rank
        from optrace.recording.program import Code, Module, program

        options = {
            "budget": arguments.budget,
            "capture": arguments.capture,
            "params": arguments.params,
            "every": whole("--every", arguments.every or "1"),
            "first": whole("--from", arguments.first or "0"),
            "until": whole("--until", arguments.until),
            "last": whole("--last", arguments.last),
        }
        ignored = split_codes(arguments.ignore) or []
        checked(**options)
        rest: list[str] = arguments.script  # after -m or -c: what argparse saw behind a --, which is the program's
        chosen: Program
        if arguments.module:
            module, *own = arguments.module
            chosen = Module(module, own + rest)
        elif arguments.code:
            code, *own = arguments.code
            chosen = Code(code, own + rest)
        elif rest := rest[rest[:1] == ["--"] :]:
            chosen = program(rest[0], rest[1:])
        else:
            raise OptraceError("nothing to run; name a script, or -m a module, or -c code; see optrace run --help")
        ranks = Ranks(chosen.arguments) if launches_others(chosen.command) else None
        path = Path(arguments.output or f"{(ranks or chosen).name}.optrace")
        check_claim(path, arguments.force, place_of_rank())
        if ignored:
            from optrace.checks.registry import codes

            codes(ignored)  # a code that does not exist is said before the script runs, not after

        if ranks is not None:
            prepared.append(ranks.program(_own_options(arguments)))
            return ExitCode.SUCCESS

        def ended(outcome: Outcome) -> None:
            _tell_outcome(outcome, arguments.quiet, ignored)

        prepared.append(Launch(chosen, path, overwrite=arguments.force, ended=ended, ignore=ignored, **options))
        return ExitCode.SUCCESS


def _own_options(arguments: argparse.Namespace) -> list[str]:
    """What was said to this `optrace run`, to be said to another."""
    said = []
    named = {"output": "-o", "budget": "--budget", "ignore": "--ignore", "capture": "--capture", "params": "--params"}
    named |= {"every": "--every", "first": "--from", "until": "--until", "last": "--last"}
    for name, option in named.items():
        if value := getattr(arguments, name):
            said += [option, value]
    return said + ["-f"] * arguments.force + ["-q"] * arguments.quiet


def _tell_outcome(outcome: Outcome, quiet: bool, ignored: list[str]) -> None:
    """The last thing of all: what was recorded, and what is wrong with it. Never changes how the script ends."""
    try:
        if sys.stdout is not None and not sys.stdout.closed:
            sys.stdout.flush()
        if not outcome.started:
            tell("nothing was recorded: the script never imported torch")
        elif not quiet and outcome.last and outcome.place.is_dir():
            with open_trace(str(outcome.place)) as trace:
                _summarise(trace, outcome)
                _tell_findings(trace, outcome, ignored)
    except Exception as error:
        tell(f"cannot say what was recorded: {printable(error)}")
    except KeyboardInterrupt:
        return


def _summarise(trace: Trace, outcome: Outcome) -> None:
    from optrace.cli.extent import iterations

    members = trace.processes.values()
    facts = [
        count(sum(len(member.events) for member in members), "event"),
        iterations(max(members, key=lambda member: len(member.iterations))),
        count(max(len(member.parameters) for member in members), "parameter"),
        format_size(sum(member.size() for member in members)),
        *([f"{len(members)} processes"] if len(members) > 1 else []),
    ]
    path = printable(shlex.quote(str(outcome.path)))
    tell(f"{', '.join(facts)} in {printable(outcome.path)}")
    if not any(len(member.events) for member in members):
        tell("nothing was seen: no zero_grad, backward or step was called; optrace.mark in the loop shows what changes")
    if outcome.failure is not None:
        tell(f"the trace is incomplete: {printable(outcome.failure)}")
    tell(f"next: optrace view {path}  or: optrace show {path}")


def _tell_findings(trace: Trace, outcome: Outcome, ignored: list[str]) -> None:
    from optrace.checks.check import check
    from optrace.checks.silence import from_pyproject
    from optrace.cli.extent import within
    from optrace.cli.findings import finding_lines, tally
    from optrace.cli.timeline import screen_width

    try:
        found = check(trace, ignore=[*ignored, *from_pyproject(outcome.folder)])
        lines = finding_lines(found, sources(trace), str(outcome.folder), screen_width(sys.stderr))
    except Exception as error:
        tell(f"cannot check what was recorded: {printable(error)}")
        return
    tell(f"{tally(found)}{within(trace) if len(trace.processes) == 1 else ''}{':' if found else ''}")
    for line in lines:
        print(line, file=sys.stderr)
