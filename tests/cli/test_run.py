"""`optrace run`: what is recorded, whatever becomes of the script, and what is said at its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import optrace as package

from .programs import environment, optrace, python, run

LOOP = """
import torch
x = torch.tensor([1.0, 1.0], requires_grad=True)
optimizer = torch.optim.SGD([x], lr=0.1)
def turn():
    optimizer.zero_grad()
    (x * x).sum().backward()
    optimizer.step()
for _ in range(4):
    turn()
"""

# How each ends, and the last line on stderr.
ENDINGS = {
    "its end": ("", 0, ""),
    "sys.exit(text)": ("import sys; sys.exit('why')", 1, "why"),
    "an exception": ("def f(): raise ValueError('oh')\nf()", 1, "ValueError: oh"),
    "an error in backward": ("x.sum().backward(torch.ones(7))", 1, "RuntimeError: "),
    "an error in a step": ("def closure(): raise ValueError('there')\noptimizer.step(closure)", 1, "ValueError: there"),
    "an error in a hook": ("x.register_hook(lambda g: 1 / 0)\n(x * 2).sum().backward()", 1, "ZeroDivisionError: "),
    "SIGTERM": ("import os, signal, time\ntime.sleep(0.4); os.kill(os.getpid(), signal.SIGTERM)", -15, ""),
    "SIGKILL": ("import os, signal, time\ntime.sleep(0.4); os.kill(os.getpid(), signal.SIGKILL)", -9, ""),
    "os._exit": ("import os, time\ntime.sleep(0.4); os._exit(4)", 4, ""),
    "exec": ("import os, sys, time\ntime.sleep(0.4); os.execv(sys.executable, ['python', '-c', ''])", 0, ""),
    "a thread's error": (
        "import threading\ndef work(): x.sum().backward(torch.ones(7))\n"
        "thread = threading.Thread(target=work); thread.start(); thread.join()",
        0,
        "RuntimeError: ",
    ),
}


def script(folder: Path, *parts: str, name: str = "train.py") -> None:
    (folder / name).write_text("".join(parts), encoding="utf-8")


def events(path: Path) -> int:
    with package.load(path) as trace:
        return len(trace.events)


QUICK = {"its end", "an exception", "an error in backward", "SIGKILL", "a thread's error"}


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in ENDINGS]
)
def test_it_ends_as_it_would_and_keeps_the_recording(name: str, tmp_path: Path) -> None:
    body, code, said = ENDINGS[name]
    script(tmp_path, LOOP, body)
    ended = run("-q", "train.py", cwd=tmp_path)
    assert ended.code == code
    assert [*ended.err.splitlines(), ""][-1 if not said else -2].startswith(said)
    assert (ended.err == "") == (said == "")
    own = str(Path(package.__file__).parent)
    assert own not in ended.err
    assert events(tmp_path / "train.optrace") >= 12


def test_the_summary_and_the_next_command(tmp_path: Path) -> None:
    script(tmp_path, LOOP, name="my train.py")
    ended = optrace("run", "my train.py", cwd=tmp_path)
    assert ended.said[0].startswith("optrace: 12 events, 4 iterations, 1 parameter, ")
    assert ended.said[0].endswith("kB in my train.optrace")
    assert ended.said[1] == "optrace: next: optrace view 'my train.optrace'  or: optrace show 'my train.optrace'"
    assert ended.out == ""


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["train.py"], "train.optrace"),
        (["./sub/train.py"], "train.optrace"),
        (["-m", "sub.train"], "train.optrace"),
        (["-m", "sub"], "sub.optrace"),
        (["-m", "sub.__main__"], "sub.optrace"),
        (["sub/"], "sub.optrace"),
        (["-c", LOOP], "command.optrace"),
        (["-"], "stdin.optrace"),
        (["-o", "some/x", "train.py"], "some/x"),
    ],
)
def test_the_trace_is_named_after_the_script(arguments: list[str], name: str, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for file in ("train.py", "sub/train.py", "sub/__main__.py"):
        script(tmp_path, LOOP, name=file)
    (tmp_path / name).mkdir(parents=True)
    ended = optrace("run", *arguments, cwd=tmp_path, stdin=LOOP)
    assert ended.code == 2
    assert ended.said[0].startswith(f"optrace: {name} exists; ")


@pytest.mark.parametrize("how", ["-m", *(pytest.param(how, marks=pytest.mark.slow) for how in ("-c", "-o"))])
def test_what_a_trace_says_of_its_script(how: str, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    script(tmp_path, LOOP, name="sub/train.py")
    arguments = {"-m": ["-m", "sub.train"], "-c": ["-c", LOOP, "a"], "-o": ["sub/train.py", "-x"]}[how]
    ended = run("-o", "deep/er/x", *arguments, cwd=tmp_path)
    assert ended.code == 0, ended.err
    with package.load(tmp_path / "deep/er/x") as trace:
        assert trace.complete
        assert [event.position.iteration for event in trace.events] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
        site = trace.events[1].site
        assert site is not None
        assert trace.sources[site.file].splitlines()[site.line - 1].strip() == "(x * x).sum().backward()"
        assert [place.function for place in trace.events[1].stack] == ["turn", "<module>"]
        assert trace.meta["argv"] == arguments
        assert trace.meta["cwd"] == str(tmp_path)


def test_an_existing_trace_is_replaced_only_when_told(tmp_path: Path) -> None:
    script(tmp_path, LOOP, "print('ran')")
    assert run("-q", "train.py", cwd=tmp_path).code == 0
    before = sorted((file.name, file.read_bytes()) for file in (tmp_path / "train.optrace").iterdir())
    ended = run("train.py", cwd=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert ended.said == [
        "optrace: train.optrace exists; choose another name, or say -f (overwrite=True) to replace it"
    ]
    assert before == sorted((file.name, file.read_bytes()) for file in (tmp_path / "train.optrace").iterdir())
    ended = run("-f", "train.py", cwd=tmp_path)
    assert (ended.code, ended.out) == (0, "ran\n")
    assert events(tmp_path / "train.optrace") == 12


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_trace_is_never_replaced(kind: str, tmp_path: Path) -> None:
    script(tmp_path, LOOP, "print('ran')")
    target = tmp_path / "train.optrace"
    if kind == "file":
        target.write_text("precious")
    elif kind == "folder":
        target.mkdir()
        (target / "precious").write_text("precious")
    else:
        target.symlink_to("nowhere")
    ended = optrace("run", "-f", "train.py", cwd=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert "is not a trace" in ended.said[0]
    assert os.path.lexists(target)


def test_a_path_that_cannot_be_written_does_not_stop_the_training(tmp_path: Path) -> None:
    script(tmp_path, LOOP, "import sys; print('ran'); sys.exit(3)")
    (tmp_path / "file").write_text("")
    ended = run("-o", "file/x.optrace", "train.py", cwd=tmp_path)
    assert (ended.code, ended.out) == (3, "ran\n")
    assert len(ended.said) == 1
    assert "the training goes on: " in ended.said[0]


FULL = """
import resource, signal, time
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))  # as a disk that is full beyond that
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
import torch
x = torch.zeros(2000, requires_grad=True)
optimizer = torch.optim.Adam([x])
for turn in range(40):
    optimizer.zero_grad()
    (x - turn).pow(2).sum().backward()
    optimizer.step()
    time.sleep(0.5 if turn == 0 else 0)
print("ran")
raise SystemExit(3)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit on the size of files")
def test_a_full_disk_does_not_stop_the_training(tmp_path: Path) -> None:
    script(tmp_path, FULL)
    ended = run("train.py", cwd=tmp_path)
    assert (ended.code, ended.out) == (3, "ran\n")
    assert "the training goes on: " in ended.said[0]
    assert events(tmp_path / "train.optrace") > 0


def test_a_script_without_torch_leaves_nothing(tmp_path: Path) -> None:
    script(tmp_path, "import sys; print(1); sys.exit(4)")
    ended = optrace("run", "train.py", cwd=tmp_path)
    assert (ended.code, ended.out) == (4, "1\n")
    assert ended.said == ["optrace: nothing was recorded: the script never imported torch"]
    assert [file.name for file in tmp_path.iterdir()] == ["train.py"]


def test_torch_and_numpy_are_imported_by_the_script_alone(tmp_path: Path) -> None:
    look = "import sys\nprint(sorted({'torch', 'numpy', 'textual', 'optrace.tui'} & set(sys.modules)))\n"
    script(
        tmp_path,
        look,
        "import os; os.environ['OMP_NUM_THREADS'] = os.environ['MKL_NUM_THREADS'] = '2'\n",
        LOOP,
        "print(torch.get_num_threads(), torch.__spec__.loader is torch.__loader__)\n",
        "print('exec_module' in vars(torch.__loader__))\n",
        "print([type(finder).__name__ for finder in sys.meta_path if 'optrace' in type(finder).__module__])",
    )
    plain = python("train.py", cwd=tmp_path)
    ended = optrace("run", "-q", "train.py", cwd=tmp_path)
    assert ended == plain
    assert ended.out.startswith("[]\n")


def test_recording_inside_is_a_clear_error(tmp_path: Path) -> None:
    for place in ("before", "after"):
        body = "import torch\n" if place == "after" else ""
        script(tmp_path, body, "import optrace\nwith optrace.record('own.optrace'):\n    print('inside')\n")
        ended = run("-f", "train.py", cwd=tmp_path)
        assert (ended.code, ended.out) == (1, "")
        lines = ended.without_ours[2].splitlines()
        assert lines[0] == "Traceback (most recent call last):"
        assert [line for line in lines if "File " in line] == [
            line for line in lines if "train.py" in line and "File " in line
        ]
        assert lines[-1].startswith("optrace.errors.RecordingError: already recording into ")
        assert "plain python" in lines[-1]
        assert not (tmp_path / "own.optrace").exists()


def test_threads_that_outlive_main_and_exit_handlers_are_recorded(tmp_path: Path) -> None:
    script(
        tmp_path,
        "import atexit\natexit.register(lambda: turn())\n",
        LOOP,
        "import threading, time\ndef late():\n    time.sleep(0.3); turn()\nthreading.Thread(target=late).start()\n",
    )
    ended = run("train.py", cwd=tmp_path)
    (summary,) = [line for line in ended.said if " events, " in line]
    assert summary.startswith("optrace: 18 events, ")


def test_children_record_nothing(tmp_path: Path) -> None:
    script(
        tmp_path,
        "import multiprocessing\n",
        "def work(n):\n    import torch\n    w = torch.ones(1, requires_grad=True); w.sum().backward(); return n\n",
        "if __name__ == '__main__':\n",
        textwrap.indent(LOOP, "    "),
        "    for how in ('fork', 'spawn'):\n",
        "        with multiprocessing.get_context(how).Pool(1) as pool:\n            print(pool.map(work, [1, 2]))\n",
        "    turn()\n",
    )
    ended = run("train.py", cwd=tmp_path)
    assert ended.out == "[1, 2]\n[1, 2]\n"
    assert ended.said[0].startswith("optrace: 15 events, 4 iterations, 1 parameter, ")


def test_a_forked_child_that_exits_in_good_order_leaves_the_recording_alone(tmp_path: Path) -> None:
    script(tmp_path, LOOP, "import os, sys\nif os.fork() == 0: sys.exit(0)\nos.wait()\nturn()\n")
    ended = run("train.py", cwd=tmp_path)
    (summary,) = [line for line in ended.said if " events, " in line]
    assert summary.startswith("optrace: 15 events, ")


def test_ctrl_c_from_outside(tmp_path: Path) -> None:
    script(tmp_path, LOOP, "print('ready', flush=True)\nimport time\nwhile True:\n    turn(); time.sleep(0.01)\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "optrace", "run", "train.py"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT  # which a shell shows as 130
    assert "KeyboardInterrupt" in error
    assert "optrace/" not in error.replace(str(tmp_path), "")
    assert " events, " in error
    with package.load(tmp_path / "train.optrace") as trace:
        assert trace.complete


def test_the_script_changes_folder(tmp_path: Path) -> None:
    script(tmp_path, LOOP, "import os; os.chdir('/')")
    ended = run("train.py", cwd=tmp_path)
    assert ended.said[0].startswith("optrace: 12 events, ")
    assert events(tmp_path / "train.optrace") == 12


def test_a_broken_check_changes_nothing(tmp_path: Path) -> None:
    script(tmp_path, LOOP, "raise SystemExit(5)")
    (tmp_path / "pyproject.toml").write_text("[tool.optrace]\nignore = 7\n")
    ended = run("train.py", cwd=tmp_path)
    assert ended.code == 5
    assert ended.said[-1].startswith("optrace: cannot check what was recorded: ")


def test_an_unknown_code_to_ignore_is_said_before_the_script_runs(tmp_path: Path) -> None:
    script(tmp_path, LOOP, "print('trained')")
    ended = optrace("run", "--ignore", "OT1010", "train.py", cwd=tmp_path)
    assert ended.code == 2
    assert ended.out == ""
    assert ended.err.startswith("optrace: there is no rule 'OT1010'")
    assert ended.err.count("\n") == 1
    assert not (tmp_path / "train.optrace").exists()


def test_a_loop_without_any_event_is_said_to_be_one(tmp_path: Path) -> None:
    script(tmp_path, "import torch\ng = torch.func.grad(lambda x: (x * x).sum())\nx = torch.ones(2)\nx -= 0.1 * g(x)\n")
    ended = run("train.py", cwd=tmp_path)
    assert ended.code == 0
    (said,) = [line for line in ended.said if "nothing was seen" in line]
    assert "no zero_grad, backward or step was called" in said


def test_what_cannot_be_recorded_is_in_the_trace_as_well(tmp_path: Path) -> None:
    script(
        tmp_path,
        "import torch\nwith torch.device('meta'):\n    model = torch.nn.Linear(2, 1)\n"
        "optimizer = torch.optim.SGD(model.parameters(), lr=0.1)\n"
        "for _ in range(3):\n    optimizer.zero_grad()\n"
        "    model(torch.ones(1, 2, device='meta')).sum().backward()\n    optimizer.step()\n",
    )
    ended = run("train.py", cwd=tmp_path)
    note = "cannot record the values of the gradient of weight and the like: it is on the meta device and has no values"
    assert [line for line in ended.said if "cannot" in line] == [f"optrace: {note}"]
    assert "no findings" in ended.err
    assert note in " ".join(optrace("info", "train.optrace", cwd=tmp_path).out.split())


def test_a_traceback_that_the_script_prints_itself(tmp_path: Path) -> None:
    script(
        tmp_path,
        LOOP,
        "import traceback\ntry:\n    x.sum().backward(torch.ones(7))\n",
        "except RuntimeError:\n    traceback.print_exc()\n",
        "scheduler = torch.optim.lr_scheduler.StepLR(torch.optim.SGD([x], lr=0.1), 1)\nscheduler.step()\n",
    )
    bare, ended = python("train.py", cwd=tmp_path), optrace("run", "train.py", cwd=tmp_path)
    assert "Traceback" in bare.err
    assert "train.py:17: UserWarning: Detected call of `lr_scheduler.step()` before" in bare.err
    assert ended.without_ours == (bare.code, bare.out, bare.err)
