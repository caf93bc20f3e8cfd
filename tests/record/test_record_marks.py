"""Marks and logs: what was given, as it was at that moment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from small import line_of, loss_of, parts
from witness import iterations

import optrace


def test_marks_and_logs(path: Path) -> None:
    optrace.mark("nothing is recorded")
    optrace.log(loss=1.0)
    model, optimizer = parts()
    with optrace.record(path):
        for epoch in range(2):
            optrace.mark("epoch", epoch)
            loss_of(model).backward()
            optimizer.step()
            optrace.log(val_loss=torch.tensor(0.5), accuracy=0.25, note="fine", odd=object, ratio=float("nan"))
    trace = optrace.load(path)
    assert iterations(trace) == [["mark", "backward", "step", "mark"]] * 2
    assert [mark.detail.get("name") for mark in trace.marks] == ["epoch", None] * 2
    assert [mark.detail.get("value") for mark in trace.marks] == [0, None, 1, None]
    values = trace.marks[1].detail["values"]
    assert values["val_loss"] == 0.5
    assert values["accuracy"] == 0.25
    assert values["note"] == "fine"
    assert isinstance(values["odd"], str)
    assert trace.marks[0].site is not None
    assert trace.marks[0].site.line == line_of(test_marks_and_logs, 'mark("epoch", epoch)')


class Silent:
    def __repr__(self) -> str:
        raise RuntimeError("no name")


def test_marks_hold_what_was_given_at_that_moment(path: Path) -> None:
    running, history, loop = torch.tensor(1.0), [1, 2], []
    loop.append(loop)
    with optrace.record(path) as recording:
        optrace.log(running=running, history=history, table={"a": {1: np.float32(0.5)}})
        running += 1
        history.append(3)
        optrace.mark("\ud800", Silent())
        optrace.mark("shapes", [torch.ones(2), torch.ones(1000), torch.ones(1, device="meta"), np.arange(3), b"\xff"])
        optrace.mark("itself", loop)
    assert recording.failure is None
    first, second, third, _ = (mark.detail for mark in optrace.load(path).marks)
    assert first["values"] == {"running": 1.0, "history": [1, 2], "table": {"a": {"1": 0.5}}}
    assert second["value"] == "<Silent>"
    assert third["value"] == [[1, 1], "<tensor (1000,) float32>", "<tensor (1,) float32>", [0, 1, 2], repr(b"\xff")]
