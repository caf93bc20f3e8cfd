"""A program as python's command line names it: a script, a folder or archive, `-m` a module, `-c` code, or stdin.

`prepare` sets up `sys.argv`, `sys.path[0]` and `__main__`, `execute` runs the code, both as the
interpreter does it (Modules/main.c and runpy in CPython).
"""

from __future__ import annotations

import builtins
import io
import os
import pkgutil
import runpy
import sys
from collections.abc import Sequence
from importlib.machinery import BuiltinImporter, SourceFileLoader, SourcelessFileLoader
from pathlib import PurePath
from types import CodeType, ModuleType
from typing import Any

from optrace.errors import RecordingError


class Program:
    """What to run. `name` is what a trace of it is called; `command` what python would have been given."""

    name: str
    command: list[str]

    def __init__(self, arguments: Sequence[str]) -> None:
        self.arguments = list(arguments)
        self.sources: dict[str, str] = {}
        """Texts of the program that lie in no file."""

    def prepare(self) -> None:
        """Set up what the program sees before its first line runs."""
        sys.orig_argv = [*sys.orig_argv[:1], *self.command]
        main = ModuleType("__main__")
        main.__dict__["__builtins__"] = builtins
        main.__loader__ = BuiltinImporter
        if sys.version_info < (3, 14):
            main.__annotations__ = {}
        self._previous = sys.modules.get("__main__")  # kept alive: it is what called us
        sys.modules["__main__"] = main
        self._set_up(main)

    def execute(self) -> None:
        """Run it, in the `__main__` that was prepared."""
        raise NotImplementedError

    def _set_up(self, main: ModuleType) -> None:
        raise NotImplementedError


class Script(Program):
    """A file of source or byte code."""

    def __init__(self, script: str, arguments: Sequence[str]) -> None:
        super().__init__(arguments)
        self.command = [script, *arguments]
        self.name = PurePath(os.path.abspath(script)).stem
        # As the interpreter makes it: absolute, not normalised.
        self._file = os.path.join(os.getcwd(), script)
        try:
            with open(script, "rb") as file:
                self._text = file.read()
        except OSError as error:
            raise RecordingError(f"cannot open {script}: {error.strerror}") from error

    def _set_up(self, main: ModuleType) -> None:
        sys.argv = list(self.command)
        _set_path(os.path.dirname(os.path.realpath(self._file)))
        loader = SourcelessFileLoader if self._file.endswith(".pyc") else SourceFileLoader
        main.__loader__ = loader("__main__", self._file)
        main.__file__ = self._file
        main.__dict__["__cached__"] = None

    def execute(self) -> None:
        names = sys.modules["__main__"].__dict__
        exec(self._code(), names)

    def _code(self) -> CodeType:
        if self._file.endswith(".pyc"):
            code: CodeType | None = pkgutil.read_code(io.BytesIO(self._text))
            if code is None:
                raise RuntimeError("Bad magic number in .pyc file")
            return code
        compiled: CodeType = compile(self._text, self._file, "exec", dont_inherit=True)
        return compiled


class Container(Program):
    """A folder or an archive with a `__main__.py` in it."""

    def __init__(self, path: str, arguments: Sequence[str]) -> None:
        super().__init__(arguments)
        self.command = [path, *arguments]
        whole = PurePath(os.path.abspath(path))
        self.name = whole.name if os.path.isdir(path) else whole.stem
        self._path = os.path.join(os.getcwd(), path)

    def _set_up(self, main: ModuleType) -> None:
        sys.argv = list(self.command)
        # Even with safe_path, for the program is in it.
        _replace_path(self._path)

    def execute(self) -> None:
        _runpy("__main__", False)


class Module(Program):
    """`-m package.module`."""

    def __init__(self, module: str, arguments: Sequence[str]) -> None:
        super().__init__(arguments)
        self.command = ["-m", module, *arguments]
        self._module = module
        parts = [part for part in module.split(".") if part != "__main__"]
        self.name = parts[-1] if parts and parts[-1] else "module"

    def _set_up(self, main: ModuleType) -> None:
        sys.argv = ["-m", *self.arguments]  # runpy puts the module's file in its place
        _set_path(os.getcwd())

    def execute(self) -> None:
        _runpy(self._module, True)


class Code(Program):
    """`-c code`, or `-`: code from stdin."""

    def __init__(self, code: str | None, arguments: Sequence[str]) -> None:
        super().__init__(arguments)
        self.name = "stdin" if code is None else "command"
        self.command = ["-", *arguments] if code is None else ["-c", code, *arguments]
        self._file = "<stdin>" if code is None else "<string>"
        self._code: str | bytes = sys.stdin.buffer.read() if code is None else code
        text = self._code if isinstance(self._code, str) else self._code.decode("utf-8", "replace")
        self.sources = {self._file: text}

    def _set_up(self, main: ModuleType) -> None:
        sys.argv = [self.command[0], *self.arguments]
        _set_path("")
        if self._file == "<stdin>":
            main.__file__ = self._file
            main.__dict__["__cached__"] = None

    def execute(self) -> None:
        code: Any = compile(self._code, self._file, "exec", dont_inherit=True)
        exec(code, sys.modules["__main__"].__dict__)


def program(script: str, arguments: Sequence[str]) -> Program:
    """What a script's name on the command line stands for. Raises `RecordingError` where it cannot be opened."""
    if script == "-":
        return Code(None, arguments)
    if os.path.isdir(script) or (os.path.isfile(script) and _is_archive(script)):
        return Container(script, arguments)
    return Script(script, arguments)


def _is_archive(path: str) -> bool:
    """Whether python would look for `__main__` inside the file."""
    if path.endswith((".py", ".pyc")):
        return False
    return pkgutil.get_importer(path) is not None


def _set_path(first: str) -> None:
    """Put `first` where the interpreter put the folder of whatever started us."""
    if not getattr(sys.flags, "safe_path", bool(sys.flags.isolated)):
        _replace_path(first)


def _replace_path(first: str) -> None:
    if getattr(sys.flags, "safe_path", bool(sys.flags.isolated)):
        sys.path.insert(0, first)
    else:
        sys.path[0:1] = [first]


def _runpy(module: str, alter_argv: bool) -> None:
    # The very function the interpreter itself calls; the public run_module() sets up another __main__.
    runpy._run_module_as_main(module, alter_argv)  # type: ignore[attr-defined]
