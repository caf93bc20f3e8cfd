"""What `optrace run` is given is run as python runs it: a script, a module, a folder, an archive, code."""

from __future__ import annotations

import py_compile
import sys
import textwrap
import zipapp
from pathlib import Path

import pytest

from .programs import LOOK, REPOSITORY, both, python

MODULES = {
    "package/__init__.py": "",
    "package/__main__.py": LOOK + "    from . import helper\n    print(helper.__name__, __package__)\n",
    "package/helper.py": "",
    "package/broken.py": "import sys\nfrom .helper import nothing\n",
    "package/train.py": LOOK + "    from .helper import __name__ as name\n    raise ValueError(name)\n",
    "package/spawns.py": """
        import multiprocessing
        from . import helper
        def work(x): return (x, __name__.replace("__mp_main__", "__main__"))
        if __name__ == "__main__":
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                print(pool.map(work, [1]))
    """,
}


@pytest.mark.parametrize("how", ["script.py", "./script.py", "sub/../script.py", "sub/link.py", "absolute"])
def test_ways_to_name_a_script(how: str, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(textwrap.dedent(LOOK) + "1 / 0\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "link.py").symlink_to("../script.py")
    plain, recorded = both(tmp_path, str(tmp_path / "script.py") if how == "absolute" else how, "--", "-x")
    assert recorded.without_ours == plain.without_ours
    assert plain.code == 1


@pytest.mark.parametrize("flags", [(), ("-P",), ("-I",), ("-E",), ("-X", "dev")])
def test_what_the_interpreter_was_told_holds(flags: tuple[str, ...], tmp_path: Path) -> None:
    if "-P" in flags and sys.version_info < (3, 11):
        pytest.skip("Python 3.11 brought -P")
    (tmp_path / "script.py").write_text("import sys; print(sys.flags, sys.path[:1] == [sys.argv[1]])")
    plain = python("script.py", str(tmp_path), cwd=tmp_path, flags=flags)
    start = f"import sys; sys.path.append({str(REPOSITORY)!r}); from optrace.cli import entry; entry()"
    # As a console script is started, also where PYTHONPATH is not looked at.
    recorded = python("-c", start, "run", "script.py", str(tmp_path), cwd=tmp_path, flags=flags)
    assert recorded.without_ours[:2] == plain.without_ours[:2]


@pytest.mark.parametrize(
    "module",
    [
        "package",
        "package.train",
        "package.broken",
        "package.spawns",
        "package.none",
        "none",
        "none.sub",
        "os.path.x",
        "json.tool",
    ],
)
def test_modules(module: str, tmp_path: Path) -> None:
    _lay_out(tmp_path)
    plain, recorded = both(tmp_path, "-m", module, "-o", "a b", "--flag", stdin="[1]")
    assert recorded.without_ours == plain.without_ours


@pytest.mark.parametrize("program", ["package", "package/", "./app.pyz", "app.pyz", "empty"])
def test_folders_and_archives(program: str, tmp_path: Path) -> None:
    _lay_out(tmp_path)
    (tmp_path / "package" / "__main__.py").write_text(textwrap.dedent(LOOK) + "import helper; print(helper.__file__)\n")
    (tmp_path / "empty").mkdir()
    zipapp.create_archive(tmp_path / "package", tmp_path / "app.pyz")
    plain, recorded = both(tmp_path, program, "-q", "--flag")
    assert recorded.without_ours == plain.without_ours


def test_byte_code(tmp_path: Path) -> None:
    (tmp_path / "source.py").write_text(textwrap.dedent(LOOK))
    py_compile.compile(str(tmp_path / "source.py"), str(tmp_path / "code.pyc"))
    plain, recorded = both(tmp_path, "code.pyc", "a")
    assert recorded.without_ours == plain.without_ours
    assert plain.code == 0


@pytest.mark.parametrize(
    "code", [textwrap.dedent(LOOK), "1 / 0", "import sys; sys.exit('x')", "x = (", "class C: pass\nC().y"]
)
def test_code_on_the_command_line(code: str, tmp_path: Path) -> None:
    plain, recorded = both(tmp_path, "-c", code, "-o", "--flag", "--", "x")
    assert recorded.without_ours == plain.without_ours


@pytest.mark.parametrize("code", [textwrap.dedent(LOOK), "print(1)\n1 / 0\n"])
def test_code_from_stdin(code: str, tmp_path: Path) -> None:
    plain, recorded = both(tmp_path, "-", "-o", stdin=code)
    assert recorded.without_ours == plain.without_ours


def _lay_out(folder: Path) -> None:
    for name, text in MODULES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text))
