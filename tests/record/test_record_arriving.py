"""The pinned memory through which values come from a device."""

from __future__ import annotations

import random

import pytest
import torch

from optrace.recording.arriving import Pinned


@pytest.mark.parametrize("seed", range(20))
def test_what_is_given_out_is_given_out_once(seed: int) -> None:
    draw = random.Random(seed)
    size = 1000
    pinned = Pinned(torch.empty(size, dtype=torch.uint8))
    given: list[tuple[int, int]] = []
    refused = 0
    for _ in range(3000):
        length = draw.randint(1, draw.choice([10, 200, size]))
        place = pinned.take(length)
        if place < 0:
            assert given, "all of it is free"
            refused += 1
        else:
            assert 0 <= place <= size - length
            assert all(place + length <= start or start + taken <= place for start, taken in given)
            given.append((place, length))
        assert pinned.used == sum(taken for _, taken in given)
        while given and draw.random() < 0.5:
            pinned.free_first()
            del given[0]
    assert refused


def test_one_value_may_take_all_of_it() -> None:
    pinned = Pinned(torch.empty(64, dtype=torch.uint8))
    for _ in range(3):
        assert pinned.take(40) == 0
        assert pinned.take(30) == -1
        pinned.free_first()
        assert pinned.take(64) == 0
        pinned.free_first()
