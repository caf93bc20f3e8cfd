"""Recording a loop that a test wrote, and checking it."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

import optrace
from checks.prefixes import errors_of_prefixes
from optrace.recording import ring
from optrace.recording.lookout import Lookout


class Run:
    """One recorded loop. After its block has ended: its trace, and what the checks say of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._findings: list[Any] | None = None

    @property
    def trace(self) -> Any:
        return optrace.load(self.path)

    @property
    def findings(self) -> list[Any]:
        if self._findings is None:
            with optrace.load(self.path) as trace:
                self._findings = list(optrace.check(trace))
        return self._findings

    @property
    def loud(self) -> list[Any]:
        """Findings above a hint."""
        return [f for f in self.findings if str(f.severity) != "hint"]

    @property
    def codes(self) -> list[str]:
        return [f.code for f in self.findings]

    def one(self, code: str) -> Any:
        """The one finding of a rule; nothing else may be above a hint but what it caused."""
        found = [f for f in self.findings if f.code == code]
        assert len(found) == 1, f"{code} in {[str(f) for f in self.findings]}"
        others = [f for f in self.loud if f.code != code and not f.caused_by]
        assert not others, f"besides {code}: {[str(f) for f in others]}"
        return found[0]


Recorded = Callable[[], AbstractContextManager[Run]]


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    """`with recorded() as run: …` records the block; `run.findings` afterwards."""
    count = 0

    @contextmanager
    def recorded() -> Iterator[Run]:
        nonlocal count
        count += 1
        gc.collect()  # models of earlier tests are not this one's
        path = tmp_path / f"run{count}.optrace"
        with optrace.record(path) as recording:
            yield Run(path)
        assert recording.failure is None

    return recorded


@pytest.fixture(params=["whole", *(pytest.param(way, marks=pytest.mark.slow) for way in ("unfinished", "last"))])
def correct(
    request: pytest.FixtureRequest, recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Recorded:
    """Records the block and holds it to be correct: no finding above a hint.

    `unfinished`: nor an error while it is being recorded, wherever it is. `last`: nor in the last iterations alone.
    """
    way = request.param

    @contextmanager
    def correct() -> Iterator[Run]:
        if way == "last":
            monkeypatch.setattr(ring, "LEAST_CHUNK", 1)
            monkeypatch.setattr(Lookout, "post", lambda self, folder, ignored: None)
            run = Run(tmp_path / "last.optrace")
            with optrace.record(run.path, last=3, overwrite=True):
                yield run
        else:
            with recorded() as run:
                yield run
        assert len(run.trace.events) > 0
        assert not run.loud, "\n".join(str(f) for f in run.loud)
        if way == "unfinished":
            assert not errors_of_prefixes(run.path, step=7)

    return correct


def source_line(found: Any) -> str:
    """The line of a test that a finding names."""
    return Path(found.file).read_text(encoding="utf-8").splitlines()[found.line - 1]
