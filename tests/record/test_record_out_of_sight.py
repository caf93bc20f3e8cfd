"""What the user's program shows of itself is as it would be without a recording; what cannot be recorded is said."""

from __future__ import annotations

import logging
import threading
import traceback
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import optrace


def parts() -> tuple[nn.Module, torch.optim.Optimizer]:
    model = nn.Linear(2, 1)
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def both(path: Path, show: Any) -> tuple[Any, Any]:
    """What `show` gives without and with a recording."""
    bare = show()
    with optrace.record(path) as recording:
        recorded = show()
    assert recording.failure is None
    return bare, recorded


# Warnings


def warn_of_order() -> None:
    _, optimizer = parts()
    torch.optim.lr_scheduler.StepLR(optimizer, 1).step()


def warn_of_epoch() -> None:
    _, optimizer = parts()
    optimizer.step()
    torch.optim.lr_scheduler.StepLR(optimizer, 1).step(2)


def warn_of_nothing_to_clip() -> None:
    model, _ = parts()
    nn.utils.clip_grad_norm(model.parameters(), 1.0)


@pytest.mark.parametrize("cause", [warn_of_order, warn_of_epoch, warn_of_nothing_to_clip])
def test_warnings_name_the_users_line(path: Path, cause: Any) -> None:
    def show() -> list[tuple[str, int, str]]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            cause()
        return [(w.filename, w.lineno, str(w.message)) for w in caught]

    bare, recorded = both(path, show)
    assert bare
    assert bare == recorded
    assert {file for file, _, _ in recorded} == {__file__}


# Tracebacks


def fail_in_backward() -> None:
    loss = parts()[0](torch.ones(1, 2)).sum()
    loss.backward()
    loss.backward()


def fail_in_step() -> None:
    model, optimizer = parts()
    model(torch.ones(1, 2)).sum().backward()
    optimizer.param_groups[0]["lr"] = "fast"
    optimizer.step()


def fail_in_clipping() -> None:
    model, _ = parts()
    model(torch.ones(1, 2)).sum().backward()
    nn.utils.clip_grad_norm_(model.parameters(), "much")  # type: ignore[arg-type]


def fail_in_loading() -> None:
    parts()[0].load_state_dict({"bias": torch.zeros(3)})


@pytest.mark.parametrize("cause", [fail_in_backward, fail_in_step, fail_in_clipping, fail_in_loading])
def test_tracebacks_show_the_program_alone(
    path: Path, cause: Any, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    def show() -> tuple[str, str, str]:
        try:
            cause()
        except Exception as error:
            formatted = traceback.format_exc()
            traceback.print_exc()
            caplog.clear()
            logging.getLogger("train").exception("the batch failed")
            try:
                raise ValueError("no epoch") from error
            except ValueError:
                return formatted, capsys.readouterr().err + caplog.text, traceback.format_exc()
        raise AssertionError("nothing was raised")

    bare, recorded = both(path, show)
    assert "optrace" not in bare[0].replace(str(Path(__file__).parents[2]), "")
    assert bare == recorded
    assert traceback.TracebackException.__init__.__module__ == "traceback"


# Decorated functions


def test_each_call_of_a_decorated_function_has_a_trace(path: Path) -> None:
    @optrace.record(path)
    def train(turns: int) -> int:
        model, optimizer = parts()
        for _ in range(turns):
            optimizer.zero_grad()
            model(torch.ones(1, 2)).sum().backward()
            optimizer.step()
        return turns if turns == 1 else turns + train(turns - 1)

    assert train(1) == 1
    assert train(3) == 6
    assert train(1) == 1
    names = ["run.optrace", "run-2.optrace", "run-3.optrace"]
    assert sorted(p.name for p in path.parent.iterdir()) == sorted(names)
    assert [len(optrace.load(path.parent / name).events) for name in names] == [3, 18, 3]
    with pytest.raises(optrace.OptraceError, match="exists"):
        optrace.record(path)(parts)()


def test_a_decorated_function_may_replace_its_trace(path: Path) -> None:
    @optrace.record(path, overwrite=True)
    def train(turns: int) -> None:
        model, _ = parts()
        for _ in range(turns):
            model(torch.ones(1, 2)).sum().backward()

    train(3)
    train(2)
    assert [p.name for p in path.parent.iterdir()] == ["run.optrace"]
    assert len(optrace.load(path).events) == 2


def test_calls_that_do_nothing_while_nothing_is_recorded(path: Path) -> None:
    recording = optrace.record(path)
    recording.stop()
    optrace.mark("before")
    recording.start()
    optrace.mark("in between")
    recording.stop()
    recording.stop()
    optrace.log(loss=1.0)
    assert len(optrace.load(path).events) == 1


# Threads


@pytest.mark.parametrize("together", [True, False])
def test_two_threads_that_train_at_once(path: Path, together: bool, capsys: pytest.CaptureFixture[str]) -> None:
    turn = threading.Barrier(2)

    def train(first: bool) -> None:
        model, optimizer = parts()
        for _ in range(3):
            if together:
                turn.wait(10)
            model(torch.ones(1, 2)).sum().backward()
            optimizer.step()
            optimizer.zero_grad()

    with optrace.record(path):
        threads = [threading.Thread(target=train, args=(first,)) for first in (True, False)]
        for thread in threads:
            thread.start()
            if not together:
                thread.join()
        for thread in threads:
            thread.join()
    said = capsys.readouterr().err
    note = "several threads train at once: their turns are counted together, as one loop's"
    assert said.count(note) == together
    trace = optrace.load(path)
    assert trace.meta.get("notes", []) == ([note] if together else [])
