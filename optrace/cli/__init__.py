"""The command line: one file for each subcommand. stdout is data, everything else goes to stderr."""

from optrace.cli.main import entry, main

__all__ = ["entry", "main"]
