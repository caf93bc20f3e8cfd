"""`python -m module …` in a fork of a process that has loaded torch, so that nobody waits for that import again.

The fork is a process of its own in all else: its `__main__`, arguments, folder, environment, streams, its end.
Nothing of optrace is loaded before it. What a test says of the start itself (what is imported when, by whom) needs a
real one.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

_START = f"import runpy\nrunpy.run_path({__file__!r})['serve']()\n"
"""Run by the interpreter as its `sitecustomize`: what it does after that, it does in each fork."""
TIMEOUT = 150.0
_STREAMS = ("stdin", "stdout", "stderr")


def serve() -> None:
    """Load torch, then fork for each request. Returns in the forks, whose interpreters then go on as they would."""
    importlib.import_module("torch._dynamo")  # what the first optimizer would import, and all of torch with it
    gc.collect()
    gc.freeze()
    with open(os.dup(0), "rb", buffering=0) as requests, open(os.dup(1), "wb", buffering=0) as answers:
        while line := requests.readline():
            request = json.loads(line)
            child = os.fork()
            if child == 0:
                break
            _, status = os.waitpid(child, 0)
            with contextlib.suppress(ProcessLookupError):  # whatever it started is gone afterwards
                os.killpg(child, signal.SIGKILL)
            answers.write(f"{os.waitstatus_to_exitcode(status)}\n".encode())
        else:
            os._exit(0)
    os.setsid()
    for number, name in enumerate(_STREAMS):
        opened = os.open(Path(request["streams"], name), os.O_RDWR | os.O_CREAT)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.orig_argv = [sys.executable, "-m", *request["arguments"]]
    sys.argv = ["-m", *request["arguments"]]
    sys.path[:] = [*request["path"], *(place for place in sys.path if place != request["start"])]
    if request["strict"]:
        warnings.simplefilter("error")


@functools.cache
def _start() -> str:
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder)
    Path(folder, "sitecustomize.py").write_text(_START, encoding="utf-8")
    return folder


@functools.cache
def _server() -> subprocess.Popen[bytes]:
    repository = Path(__file__).resolve().parent.parent
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "OMP_"))}
    start = _start()
    server = subprocess.Popen(
        [sys.executable, "-m", "runpy"],  # which runs the module that its first argument names
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**kept, "PYTHONPATH": f"{start}{os.pathsep}{repository}", "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    atexit.register(server.communicate)  # closes its stdin, which ends it
    return server


def python(
    module: str,
    *arguments: str,
    cwd: Path,
    environment: Mapping[str, str],
    stdin: str = "",
    path: Sequence[Path] = (),
    strict: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run the module, as `subprocess.run` would, with these variables. Those that the interpreter reads do nothing.

    `path` comes first where modules are looked for. `strict`: warnings are errors.
    """
    command = [module, *arguments]
    if not hasattr(os, "fork"):
        return _started(command, cwd, environment, stdin, path, strict)
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    with tempfile.TemporaryDirectory() as streams:
        Path(streams, "stdin").write_text(stdin, encoding="utf-8")
        request = {
            "arguments": command,
            "folder": os.path.realpath(cwd),
            "environment": dict(environment),
            "streams": streams,
            "start": _start(),
            "path": [str(place) for place in path],
            "strict": strict,
        }
        server.stdin.write(json.dumps(request).encode() + b"\n")
        server.stdin.flush()
        ready, _, _ = select.select([server.stdout], [], [], TIMEOUT)
        if not ready:
            _server.cache_clear()
            server.kill()
            raise subprocess.TimeoutExpired(command, TIMEOUT)
        code = int(server.stdout.readline())
        out, err = (Path(streams, name).read_text(errors="surrogateescape") for name in _STREAMS[1:])
    return subprocess.CompletedProcess(command, code, out, err)


def _started(
    command: list[str], cwd: Path, environment: Mapping[str, str], stdin: str, path: Sequence[Path], strict: bool
) -> subprocess.CompletedProcess[str]:
    """The same where nothing can be forked."""
    found = os.pathsep.join([*map(str, path), environment.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *(("-W", "error") if strict else ()), "-m", *command],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        env={**environment, "PYTHONPATH": found},
        timeout=TIMEOUT,
    )
