"""A small lesson of a loop with and without zero_grad, whose scripts are really run, once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from optrace.lessons.model import Run
from optrace.lessons.played import Played
from optrace.lessons.read import read_lesson
from optrace.lessons.running import run_script
from optrace.trace.reader import Trace

SCRIPT = """\
import torch

x = torch.tensor([2.0, 8.0, 0.0], requires_grad=True)
scale = torch.tensor(1.0)
optimizer = torch.optim.SGD([x, scale], lr=0.5, momentum=0.5)

for slope in (4.0, 8.0):
{zero}    loss = (slope * x).sum()
    loss.backward()
    optimizer.step()
print("done")
"""

TEXT = """\
# Adding up

```lesson
chapter = "The three calls"
order = 2
summary = "Backward adds."
script = "broken.py"
repaired = "repaired.py"
finding = "OT101"
compare = [
  ["first element", "value('x')[0]"],
  ["loss", "loss"],
]
```

x starts as {at("0:0", value("x"))}; `{{}}` is a dict.

## The second backward

```stop
at = "1:0"
show = "gradient"
parameter = "x"
element = [1]
ask = "The slope is 8, the gradient was {before(grad('x')[0])}. What is it now?"
answer = "grad('x')[0]"
claims = [
  "grad('x') == before(grad('x')) + 8",
  "contributions('x') == 2",
]
```

{grad("x")[0]}, of which {param("x").stale} is stale; the loss is {loss:.2f}.

## The second step

```stop
at = "1:1"
show = "state"
parameter = "x"
value = "momentum_buffer"
ask = "Which way does x go?"
choices = [
  ["down", "value('x')[0] < before(value('x')[0])"],
  ["nowhere", "value('x')[0] == before(value('x')[0])"],
]
```

To {value("x")[0]}.

## The repair

```stop
run = "repaired"
at = "1:1"
claims = ["grad('x') == 8", "script(at('1:0', grad('x')[0])) == 12"]
```

Now {grad("x")[0]}.

## In the end

{repaired(value("x")[0])} against {value("x")[0]}.
"""


@pytest.fixture(scope="session")
def write_lesson(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write the lesson, with a piece of its text replaced, and say where it is."""

    def write(old: str = "", new: str = "", translation: str | None = None) -> Path:
        assert old in TEXT
        folder = tmp_path_factory.mktemp("lessons") / "adding-up"
        folder.mkdir()
        (folder / "broken.py").write_text(SCRIPT.format(zero=""))
        (folder / "repaired.py").write_text(SCRIPT.format(zero="    optimizer.zero_grad()\n"))
        (folder / "lesson.md").write_text(TEXT.replace(old, new) if old else TEXT)
        if translation is not None:
            (folder / "lesson.zh-CN.md").write_text(translation, encoding="utf-8")
        return folder

    return write


@pytest.fixture(scope="session")
def traces(write_lesson: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Run, Trace]]:
    """Both runs of the lesson."""
    lesson = read_lesson(write_lesson())
    folder = tmp_path_factory.mktemp("runs")
    runs: tuple[Run, Run] = ("script", "repaired")
    opened: dict[Run, Trace] = {}
    for run in runs:
        ran = run_script(lesson, run, folder)
        assert ran.exit_code == 0
        assert ran.last_words == "done"
        opened[run] = Trace(ran.trace)
    yield opened
    for trace in opened.values():
        trace.close()


@pytest.fixture
def played(write_lesson: Callable[..., Path], traces: dict[Run, Trace]) -> Callable[..., Played]:
    """The lesson, with a piece of its text replaced, over the recorded runs."""

    def play(old: str = "", new: str = "") -> Played:
        return Played(read_lesson(write_lesson(old, new)), traces)

    return play
