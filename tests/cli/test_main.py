"""What all commands share: help, the version, staying light, Ctrl-C, the terminal."""

from __future__ import annotations

import os
import select
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

import optrace as package
from optrace.cli import main
from optrace.cli.main import COMMANDS
from optrace.cli.text import number, printable, table

from .programs import environment, optrace, python


def test_the_version(tmp_path: Path) -> None:
    assert optrace("--version", cwd=tmp_path).out == f"optrace {package.__version__}\n"


def test_help_is_the_docstrings(tmp_path: Path) -> None:
    text = optrace("--help", cwd=tmp_path).out
    for command in COMMANDS:
        assert command.__doc__ is not None
        assert f"\n    {command.name}" in text
        assert command.__doc__.split("\n")[0].rstrip(".") in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("command", [command.name for command in COMMANDS])
def test_each_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: optrace {command} ")
    assert max(map(len, text.splitlines())) <= 80


def test_help_and_version_load_nothing_heavy(tmp_path: Path) -> None:
    code = """if True:
        import sys
        from optrace.cli import main
        main(["--help"]); main(["show", "--help"]); main(["--version"]); main(["run", "missing.py"])
        print(sorted({"torch", "numpy", "textual", "ml_dtypes"} & set(sys.modules)))
    """
    assert python("-c", code, cwd=tmp_path).out.splitlines()[-1] == "[]"


def test_reading_loads_neither_torch_nor_textual(trained: Path) -> None:
    code = """if True:
        import sys
        from optrace.cli import main
        for command in ("show", "info", "check", "ledger", "rules"):
            main([command] + (["train.optrace"] if command != "rules" else []))
        main(["explain", "train.optrace", "3:4", "--param", "0.weight"])
        print(sorted({"torch", "textual"} & set(sys.modules)))
    """
    assert python("-c", code, cwd=trained.parent).out.splitlines()[-1] == "[]"


def test_ctrl_c_in_a_command_is_quiet(trained: Path) -> None:
    code = "import sys; from optrace.cli import entry; sys.modules['optrace.cli.main'].build_parser = lambda: wait()\n"
    code += "def wait():\n    print('ready', flush=True)\n    import time\n    time.sleep(30)\nentry()"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=trained.parent,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 130


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_view_opens_the_screen_on_a_terminal(trained: Path) -> None:
    import fcntl
    import pty
    import termios

    process, terminal = pty.fork()
    if process == 0:
        os.chdir(trained.parent)
        os.execve(sys.executable, [sys.executable, "-m", "optrace", "view", trained.name], environment(TERM="xterm"))
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    seen = b""
    deadline = time.monotonic() + 60
    try:
        while b"\x1b[?1049l" not in seen and time.monotonic() < deadline:  # back to the screen that was there before
            if select.select([terminal], [], [], 0.5)[0]:
                seen += os.read(terminal, 65536)
            elif b"\x1b[?1049h" in seen:  # it has drawn itself and waits for a key
                os.write(terminal, b"q")
    finally:
        if b"\x1b[?1049l" not in seen:
            os.kill(process, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 漢", "plain é 漢"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x9b2J", "\\x9b2J"),
        ("\u202eevil", "\\u202eevil"),
        ("\udc80", "\\udc80"),
        ("\U000e0001", "\\U000e0001"),
        (7, "7"),
    ],
)
def test_printable(text: object, shown: str) -> None:
    assert printable(text) == shown


def test_numbers_and_tables() -> None:
    assert [number(value) for value in (1.0, 0.1 + 0.2, 1e-8, float("nan"), float("-inf"), 3, True, "x\n", None)] == [
        "1", "0.3", "1e-08", "nan", "-inf", "3", "True", "x\\n", "None",
    ]  # fmt: skip
    assert table([["a", "1"], ["long", "22"]], right=(1,)) == ["a      1", "long  22"]
    assert table([]) == []
