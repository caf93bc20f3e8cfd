"""Colours that stand against each other stay apart for colour-blind eyes, and stand out from the ground."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest

from optrace.tui.theme import DARK, LIGHT, style_of

Array = np.ndarray[Any, Any]
LEAST = 12.0
"""CIE76 distance; 2.3 is just noticeable, about 10 is seen at a glance."""

# Linear RGB as each kind of eye sees it: Machado, Oliveira and Fernandes, "A physiologically-based model for
# simulation of color vision deficiency" (2009), severity 1.
EYES = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
# The roles that are told from each other in one place of the screen.
AGAINST = {
    "the bar of contributions": ("fresh", "used", "stale", "cleared"),
    "severities": ("finding-error", "finding-warning", "finding-hint"),
    "the strip of the run": ("finding-error", "finding-warning", "finding-hint", "mark", "cursor-line"),
    "letters in the lanes": ("event-backward", "event-step", "event-clear", "event-other"),
    "curves": ("series0", "series1", "series2", "series3"),
    "numbers": ("changed", "bad"),
    "words": ("good", "bad", "fresh", "stale"),
}


def linear(colour: str) -> Array:
    """`#rrggbb` as linear RGB."""
    part = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)


def lab(rgb: Array) -> Array:
    """CIELAB (D65) of linear RGB."""
    to_xyz = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    xyz = to_xyz @ np.clip(rgb, 0, 1) / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(one: str, other: str) -> float:
    """The ratio of WCAG 2."""
    light = [float(np.array([0.2126, 0.7152, 0.0722]) @ linear(colour)) + 0.05 for colour in (one, other)]
    return max(light) / min(light)


def ink(role: str, dark: bool) -> str:
    colour = style_of(role, dark, True).color
    assert colour is not None
    assert re.fullmatch("#[0-9a-f]{6}", colour.name)
    return colour.name


def test_the_measure_sees_red_against_green() -> None:
    red, green = linear("#cc4444"), linear("#4f7a28")
    seen = {eye: np.linalg.norm(lab(matrix @ red) - lab(matrix @ green)) for eye, matrix in EYES.items()}
    assert seen["deuteranopia"] < 30 < 80 < seen["normal"]


@pytest.mark.parametrize("dark", [True, False], ids=["dark", "light"])
@pytest.mark.parametrize("place", AGAINST)
def test_colours_stay_apart(place: str, dark: bool) -> None:
    for one, other in itertools.combinations(AGAINST[place], 2):
        for eye, matrix in EYES.items():
            first, second = (lab(matrix @ linear(ink(role, dark))) for role in (one, other))
            assert np.linalg.norm(first - second) >= LEAST, (one, other, eye)


@pytest.mark.parametrize("dark", [True, False], ids=["dark", "light"])
def test_the_two_signs_of_a_heat_map_stay_apart(dark: bool) -> None:
    for level in range(2, 7):
        for eye, matrix in EYES.items():
            grounds = [style_of(f"heat{sign}{level}", dark, True).bgcolor for sign in "+-"]
            first, second = (lab(matrix @ linear(ground.name)) for ground in grounds if ground is not None)
            assert np.linalg.norm(first - second) >= LEAST, (level, eye)


@pytest.mark.parametrize("dark", [True, False], ids=["dark", "light"])
def test_words_can_be_read(dark: bool) -> None:
    ground = (DARK if dark else LIGHT).background
    assert ground is not None
    for role in {role for roles in AGAINST.values() for role in roles} - {"used"} | {"dim", "heading", "key", "axis"}:
        assert contrast(ink(role, dark), ground) >= 4.5, role
