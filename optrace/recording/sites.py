"""Call sites: which line of the user's program an event came from.

A chain of calls is known by the code objects on the stack and how far each has run, which also
tells two calls on one line apart. The first time a chain is seen its lines, functions and source
texts are stored; after that it is one dictionary look-up.
"""

from __future__ import annotations

import json
import linecache
import os
import sys
import sysconfig
from itertools import count
from types import CodeType, FrameType

from optrace.recording.hidden import HIDDEN
from optrace.trace.writer import TraceWriter

_SEPARATOR = os.sep
_OWN = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + _SEPARATOR
_DEMOS = os.path.join(_OWN, "demos") + _SEPARATOR
_LIBRARY = tuple(
    os.path.join(path, "")
    for path in {sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    if path
)
_SHELL = os.path.join("IPython", "core", "interactiveshell.py")
_INSTALLED = (f"{_SEPARATOR}site-packages{_SEPARATOR}", f"{_SEPARATOR}dist-packages{_SEPARATOR}")
MAX_SOURCE_BYTES = 4 << 20
_MANY_CHAINS = 1000


def _torch_folder() -> str:
    torch = sys.modules["torch"]
    return os.path.dirname(os.path.abspath(torch.__file__ or "torch")) + _SEPARATOR


def _is_shell(code: CodeType) -> bool:
    """Whether the frame is the notebook's own, which runs the user's cell."""
    return code.co_name == "run_code" and code.co_filename.endswith(_SHELL)


def _cell(name: str) -> str | None:
    """What a notebook's user calls the code of a cell: `<In[3]>`. None for any other file."""
    shell = sys.modules.get("IPython")
    compiler = getattr(shell.get_ipython(), "compile", None) if shell is not None else None
    described = compiler.format_code_name(name) if compiler is not None else None
    return f"<{described[1]}>" if described else None


class CallSites:
    """Interns chains of calls. `base` is the frame below which nothing is the user's."""

    def __init__(self, writer: TraceWriter, base: FrameType | None = None) -> None:
        self._writer = writer
        self._base = base
        self._torch = _torch_folder()
        self.count = 0
        """How many chains there have been."""
        self._chains: dict[tuple[int, ...], int] = {}
        self._older: dict[tuple[int, ...], int] = {}  # chains that were not met since these were many
        self._next_site = count()
        self._sites: dict[tuple[str, int, str], int] = {}
        self._sources: set[str] = set()  # files whose text is kept
        self._codes: dict[int, CodeType] = {}  # kept alive, so that no other takes its id
        self._files: dict[str, str] = {}
        self.room = 64 << 20  # characters of source text that there is room for

    def chain(self, frame: FrameType | None) -> int:
        """The id of the chain of calls that ends in `frame`."""
        key: list[int] = []
        base = self._base
        walk = frame
        while walk is not None and walk is not base:
            key.append(id(walk.f_code))
            key.append(walk.f_lasti)
            walk = walk.f_back
        chain = tuple(key)
        known = self._chains.get(chain)
        if known is None:
            known = self._older.get(chain)
            known = self._chains[chain] = self._intern(frame) if known is None else known
        return known

    def known(self) -> set[int]:
        """Chains that later events may come from, beside new ones: where they are many, those not met lately go."""
        if len(self._chains) > _MANY_CHAINS:
            self._older, self._chains = self._chains, {}
            codes = {code for chain in self._older for code in chain[::2]}
            self._codes = {key: code for key, code in self._codes.items() if key in codes}
            self._sites, self._files = {}, {}
        return {*self._chains.values(), *self._older.values()}

    def is_ours(self, code: CodeType) -> bool:
        """Whether a frame belongs to torch or to optrace."""
        name = code.co_filename
        if name.startswith((self._torch, "<frozen ", HIDDEN)):
            return True
        return name.startswith(_OWN) and not name.startswith(_DEMOS)

    def is_library(self, code: CodeType) -> bool:
        """Whether a frame belongs to an installed package other than these."""
        return not self.is_ours(code) and self._is_library(self._file(code.co_filename))

    def users_frame(self, frame: FrameType | None) -> FrameType | None:
        """The innermost frame that is neither torch's nor optrace's."""
        while frame is not None and frame is not self._base:
            if not self.is_ours(frame.f_code):
                return frame
            frame = frame.f_back
        return None

    def made_at(self, frame: FrameType | None) -> FrameType | None:
        """The line that makes an object: the innermost frame of the user's that is not a constructor."""
        frame = self.users_frame(frame)
        while frame is not None and frame.f_code.co_name == "__init__":
            frame = self.users_frame(frame.f_back)
        return frame

    def _intern(self, frame: FrameType | None) -> int:
        """Store the chain's sites. Two chains may have the same sites: each has its own id."""
        sites: list[int] = []
        users: int | None = None
        while frame is not None and frame is not self._base and not _is_shell(frame.f_code):
            code = frame.f_code
            self._codes[id(code)] = code
            if not self.is_ours(code):
                file = self._file(code.co_filename)
                site = self._site(file, frame.f_lineno or code.co_firstlineno, code.co_name, frame)
                sites.append(site)
                if users is None and not self._is_library(file):
                    users = site
            frame = frame.f_back
        if users is None:
            users = sites[0] if sites else -1
        stack = self.count
        self.count += 1
        self._writer.row("INSERT INTO stack VALUES (?, ?, ?)", stack, users, json.dumps(sites))
        return stack

    def _site(self, file: str, line: int, function: str, frame: FrameType) -> int:
        key = (file, line, function)
        known = self._sites.get(key)
        if known is None:
            known = self._sites[key] = next(self._next_site)
            self._writer.row("INSERT INTO site VALUES (?, ?, ?, ?)", known, file, line, function)
            if file not in self._sources:
                self._source(file, frame)
        return known

    def _source(self, file: str, frame: FrameType) -> None:
        """Keep the file's text, so that the trace is readable on another machine."""
        lines = linecache.getlines(frame.f_code.co_filename, frame.f_globals)
        text = "".join(lines)
        if text and len(text) <= min(MAX_SOURCE_BYTES, self.room):
            self.room -= len(text)
            self._sources.add(file)
            text = text.encode("utf-8", "replace").decode("utf-8")
            self._writer.row("INSERT OR IGNORE INTO source VALUES (?, ?)", file, text)

    def _file(self, name: str) -> str:
        known = self._files.get(name)
        if known is None:
            known = _cell(name) or (name if name.startswith("<") else os.path.abspath(name))
            known = known.encode("utf-8", "replace").decode("utf-8")
            self._files[name] = known
        return known

    @staticmethod
    def _is_library(file: str) -> bool:
        return file.startswith(_LIBRARY) or any(part in file for part in _INSTALLED)
