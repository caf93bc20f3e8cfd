"""A script under `optrace run` prints and ends exactly as under python."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from .programs import LOOK, both

SCRIPTS = {
    "what it sees": LOOK,
    "falls off its end": "print('done')",
    "exit nothing": "import sys; sys.exit()",
    "exit None": "import sys; sys.exit(None)",
    "exit 0": "import sys; sys.exit(0)",
    "exit 1": "import sys; sys.exit(1)",
    "exit 3": "import sys; sys.exit(3)",
    "exit 256": "import sys; sys.exit(256)",
    "exit -1": "import sys; sys.exit(-1)",
    "exit huge": "import sys; sys.exit(1 << 80)",
    "exit True": "import sys; sys.exit(True)",
    "exit text": "import sys; sys.exit('what is this? \\x1b[1m é')",
    "exit float": "import sys; sys.exit(1.5)",
    "exit tuple": "import sys; sys.exit((1, 2))",
    "exit object": """
        class Reason:
            def __str__(self): return "a reason"
        raise SystemExit(Reason())
    """,
    "quit": "quit(4)",
    "os._exit": "import os, sys; print('gone', flush=True); os._exit(7)",
    "raises": """
        def f(x):
            return 1 / x
        f(0)
    """,
    "raises from": """
        try:
            {}["a"]
        except KeyError as error:
            raise ValueError("no a") from error
    """,
    "raises within": """
        def g():
            try:
                int("x")
            except ValueError:
                raise TypeError("within")
        g()
    """,
    "raises from None": """
        try:
            int("x")
        except ValueError:
            raise TypeError("alone") from None
    """,
    "notes and groups": """
        import sys
        error = ValueError("noted")
        if hasattr(error, "add_note"):
            error.add_note("a note")
            raise ExceptionGroup("several", [error, TypeError("other")])
        raise error
    """,
    "syntax error": "x = (1,\ny = 2\n",
    "indentation error": "if True:\nprint(1)\n",
    "recursion": """
        import sys
        def f(): f()
        sys.excepthook = lambda kind, value, traceback: print(kind, value)
        f()
    """,
    "excepthook": """
        import sys, traceback
        def hook(kind, value, tb):
            print("hook", kind.__name__, value, [entry.name for entry in traceback.extract_tb(tb)])
            print(sys.last_value is value, sys.excepthook is hook)
        sys.excepthook = hook
        def fail(): raise RuntimeError("mine")
        fail()
    """,
    "excepthook that exits": """
        import sys
        def hook(*arguments): raise SystemExit(9)
        sys.excepthook = hook
        raise RuntimeError
    """,
    "error while importing": """
        import pathlib, sys
        pathlib.Path("broken_module.py").write_text("def f(): raise OSError('in there')\\nf()\\n")
        sys.dont_write_bytecode = True
        import broken_module
    """,
    "missing module": "import no_such_module_at_all",
    "atexit order": """
        import atexit, sys
        atexit.register(print, "first registered")
        atexit.register(lambda: print("second registered", sys.exc_info()))
        print("body")
    """,
    "atexit after an error": """
        import atexit
        atexit.register(print, "at exit")
        raise ValueError("then")
    """,
    "atexit raises": """
        import atexit
        class Broken:
            def __call__(self): raise ValueError("in atexit")
            def __repr__(self): return "broken"
        atexit.register(Broken())
    """,
    "thread raises": """
        import threading
        def work(): raise ValueError("in a thread")
        thread = threading.Thread(target=work, name="worker")
        thread.start(); thread.join()
        print("main goes on")
    """,
    "threads outlive main": """
        import threading, time
        def work():
            time.sleep(0.2); print("thread done")
        threading.Thread(target=work).start()
        import atexit; atexit.register(print, "atexit")
        print("main done")
    """,
    "daemon thread": """
        import threading, time
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        print("main done")
    """,
    "pickles its classes": """
        import pickle
        class Thing:
            def __init__(self): self.x = 3
        again = pickle.loads(pickle.dumps(Thing()))
        print(type(again) is Thing, again.x, Thing.__module__)
    """,
    "dataclasses": """
        from __future__ import annotations
        import dataclasses, typing
        @dataclasses.dataclass
        class Config:
            rate: float = 0.1
            others: list[Config] = dataclasses.field(default_factory=list)
        print(Config(), typing.get_type_hints(Config))
    """,
    "main guard": """
        def main(): print("main")
        if __name__ == "__main__": main()
    """,
    "no future of ours": """
        def f(x: int) -> str: ...
        print(f.__annotations__)
    """,
    "stdin": "import sys; print(sys.stdin.read().upper()); print(sys.stdin.isatty())",
    "input": "print(input('name? '))",
    "warnings": """
        import warnings
        warnings.warn("careful")
        warnings.warn("old", DeprecationWarning)
        def f(): warnings.warn("caller", stacklevel=2)
        f()
    """,
    "argparse": """
        import argparse
        parser = argparse.ArgumentParser()
        parser.add_argument("-o"); parser.add_argument("--quiet", "-q", action="store_true")
        parser.add_argument("rest", nargs="*")
        print(parser.parse_args())
    """,
    "argparse error": """
        import argparse
        argparse.ArgumentParser().parse_args()
    """,
    "inspect": """
        import inspect
        def f(): return 1
        class C: pass
        print(inspect.getsource(f), inspect.getsource(C), inspect.getmodule(f).__name__)
    """,
    "runs itself again": """
        import subprocess, sys, os
        if os.environ.get("AGAIN") is None:
            os.environ["AGAIN"] = "1"
            print(subprocess.run([sys.executable, *sys.orig_argv[1:]], capture_output=True, text=True).stdout)
        else:
            print("again", sys.argv)
    """,
    "exec replaces it": """
        import os, sys
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, "-c", "print('replaced')"])
    """,
    "multiprocessing": """
        import multiprocessing
        def square(x): return x * x
        if __name__ == "__main__":
            for method in ("fork", "spawn"):
                with multiprocessing.get_context(method).Pool(1) as pool:
                    print(method, pool.map(square, [1, 2, 3]))
    """,
    "process pool": """
        import concurrent.futures, multiprocessing
        class Job:
            def __call__(self, x): return x + 1
        if __name__ == "__main__":
            with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                print(list(pool.map(Job(), [1, 2])))
    """,
    "fork and exit": """
        import os, sys, atexit
        atexit.register(print, "exit handler", flush=True)
        if os.fork() == 0:
            sys.exit(5)
        print(os.waitstatus_to_exitcode(os.wait()[1]))
    """,
    "stdout closed": "import sys; sys.stdout.close()",
    "stderr closed": "import sys; sys.stderr.close(); print('quiet')",
    "dies by signal": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "terminated": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "interrupted": """
        import os, signal, time, atexit
        atexit.register(print, "at exit", flush=True)
        def wait():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)
        wait()
    """,
    "interrupt caught": """
        import os, signal, sys, time
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)
        except KeyboardInterrupt:
            print("saved"); sys.exit(6)
    """,
    "own signal handler": """
        import os, signal, sys
        signal.signal(signal.SIGINT, lambda *a: sys.exit(8))
        print(signal.getsignal(signal.SIGTERM))
        os.kill(os.getpid(), signal.SIGINT)
    """,
    "generator at exit": """
        def g():
            try: yield 1
            finally: print("finished")
        held = g(); next(held)
    """,
    "objects at exit": """
        class Noisy:
            def __del__(self): print("deleted")
        held = Noisy()
    """,
    "changes folder": "import os; os.chdir('/'); raise ValueError('elsewhere')",
    "finds torch without importing it": """
        import importlib.util, sys
        spec = importlib.util.find_spec("torch")
        print(spec.name, type(spec.loader).__name__, "torch" in sys.modules)
    """,
    "broken torch": """
        import sys, pathlib
        pathlib.Path("torch.py").write_text("def f(): raise RuntimeError('no torch today')\\nf()\\n")
        sys.dont_write_bytecode = True
        import torch
    """,
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_as_under_python(name: str, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(textwrap.dedent(SCRIPTS[name]))
    plain, recorded = both(tmp_path, "script.py", "-o", "one", "--quiet", "two words", stdin="a line\nanother\n")
    assert recorded.without_ours == plain.without_ours
    assert not list(tmp_path.glob("*.optrace"))


@pytest.mark.parametrize("text", ["x = 1\0", "# -*- coding: nonsense -*-\n"])
def test_what_the_parser_words_differently_is_a_syntax_error_still(text: str, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(text)
    plain, recorded = both(tmp_path, "script.py")
    assert recorded.code == plain.code == 1
    assert "Traceback" not in recorded.err
    assert recorded.without_ours[2].splitlines()[-1].startswith("SyntaxError: ")
