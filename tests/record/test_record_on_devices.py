"""What is recorded on an accelerator: the same as on the CPU, to the bit, while nothing waits for the device.

The accelerator is a simulated one where there is no other (tests/simulated): its kernels are the CPU's, so the two
traces of a loop can be laid side by side.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests import simulated
from tests.record.loops import LOOPS

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
BY_HAND = {"by_hand", "overwritten_at_once", "trained_by_hand", "left_and_back", "sampled_by_hand"}
"""Loops that write to values between the calls: whether these are others now has to be known at once."""
SUMMARISED = {"sampled", "sampled_by_hand", "statistics", "no_room"}
SHIFTING = {"flight_recorder", "made_anew"}
"""How many of the last iterations are there depends on when the writer comes by."""


def run(device: str, folder: Path, *names: str) -> dict[str, Any]:
    """The loops, recorded in a process of their own: a device stays for as long as its process does."""
    out = folder / "found.json"
    command = [sys.executable, "-m", "tests.record.told", device, str(out), *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, env={**os.environ})
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(out.read_text()))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    if not simulated.available():
        pytest.skip("the simulated device cannot be built here")
    return run("simulated", tmp_path_factory.mktemp("devices"))


@pytest.mark.parametrize("name", LOOPS)
def test_the_training_is_what_it_is_without(found: dict[str, Any], name: str) -> None:
    assert found[name]["device"]["failure"] is None
    assert found[name]["device"]["result"] == found[name]["bare"]["result"] == found[name]["cpu"]["result"]


@pytest.mark.parametrize("name", sorted(LOOPS.keys() - BY_HAND - {"large"}))  # of which more may be on its way
def test_the_training_never_waits_for_the_device(found: dict[str, Any], name: str) -> None:
    assert found[name]["device"]["waits"] == found[name]["bare"]["waits"]


@pytest.mark.parametrize("name", sorted(LOOPS.keys() - SUMMARISED - SHIFTING))
def test_the_trace_is_the_one_of_the_cpu(found: dict[str, Any], name: str) -> None:
    here, there = found[name]["cpu"]["told"], found[name]["device"]["told"]
    assert len(here) == len(there) > 0
    for one, other in zip(here, there, strict=True):
        assert one == other


@pytest.mark.parametrize("name", sorted(SHIFTING))
def test_the_last_iterations_are_those_of_the_cpu(found: dict[str, Any], name: str) -> None:
    """From the first on that both traces have whole."""
    here, there = ({event[0]: event for event in found[name][place]["told"]} for place in ("cpu", "device"))
    first = max(min(int(at.split(":")[0]) for at in told if at != "0:0") for told in (here, there)) + 1
    both = [at for at in here if at in there and int(at.split(":")[0]) >= first]
    assert len(both) >= 3 * (LOOPS[name][1]["last"] - 1)
    for at in both:
        one, other = (_without_restated(told[at]) for told in (here, there))
        assert one == other


@pytest.mark.parametrize("name", sorted(SUMMARISED))
def test_what_is_summarised_is_the_same_but_for_rounding(found: dict[str, Any], name: str) -> None:
    here, there = found[name]["cpu"]["told"], found[name]["device"]["told"]
    samples = partial = infinite = 0
    for one, other in zip(here, there, strict=True):
        assert one[:6] == other[:6]
        for mine, its in zip(one[6], other[6], strict=True):
            if mine[3] != "SAMPLE":
                assert mine == its
                continue
            (*head, statistics, elements), (*its_head, its_statistics, its_elements) = mine, its
            assert head == its_head
            assert elements == its_elements
            samples += 1
            partial += len(its_statistics) < 6
            infinite += its_statistics["nonfinite"] > 0
            # What is not finite the CPU's recorder counts in full wherever it finds any.
            assert its_statistics.keys() <= statistics.keys()
            values = [statistics[key] for key in its_statistics]
            np.testing.assert_allclose(list(its_statistics.values()), values, rtol=1e-5, atol=1e-7)
    assert samples > 25
    assert partial or name != "sampled"
    assert infinite or name != "statistics"


def test_generated_loops(tmp_path: Path) -> None:
    if not simulated.available():
        pytest.skip("the simulated device cannot be built here")
    for seed, one in run("simulated", tmp_path, *map(str, range(40))).items():
        assert one["device"]["failure"] is None, seed
        assert one["device"]["result"] == one["bare"]["result"] == one["cpu"]["result"], seed
        assert one["device"]["told"] == one["cpu"]["told"], seed


@pytest.mark.parametrize("name", ["large", "sampled", "by_hand"])
def test_a_device_that_takes_its_time(tmp_path: Path, name: str) -> None:
    """More is under way than there is room for: the training waits, and nothing is lost."""
    if not simulated.available():
        pytest.skip("the simulated device cannot be built here")
    slow = run("slow", tmp_path, name)[name]
    assert slow["device"]["failure"] is None
    assert slow["device"]["result"] == slow["bare"]["result"]
    if name not in SUMMARISED:
        assert slow["device"]["told"] == slow["cpu"]["told"]
    if name == "large":
        assert slow["device"]["crowded"] > 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_on_a_gpu(tmp_path: Path) -> None:
    """Its kernels are others than the CPU's: what is told is compared but for the values."""
    every = run("cuda", tmp_path)
    for name, one in every.items():
        assert one["device"]["failure"] is None
        assert one["device"]["result"] == one["bare"]["result"], name
        if name not in SHIFTING:
            here, there = one["cpu"]["told"], one["device"]["told"]
            assert [event[:2] + event[3:4] for event in here] == [event[:2] + event[3:4] for event in there], name
            for mine, its in zip(here, there, strict=True):
                assert [change[:7] for change in mine[6]] == [change[:7] for change in its[6]], (name, mine[0])


def _without_restated(event: list[Any]) -> list[Any]:
    """What an event did itself: not the values stored once more because a part of the ring begins with it."""
    return [*event[:6], [change for change in event[6] if not change[4]]]
