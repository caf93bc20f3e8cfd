"""What a lesson is, once its text has been read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Run = Literal["script", "repaired"]


@dataclass(frozen=True)
class Source:
    """A piece of a lesson's file: its text and the line it starts on, counted from 1."""

    text: str
    line: int


@dataclass(frozen=True)
class Choice:
    """One answer to choose: its text, and the expression that is true of the run if it is the right one."""

    text: Source
    holds: Source


@dataclass(frozen=True)
class Question:
    """What is asked before a stop is shown: by typing (`answer`, an expression) or by choosing (`choices`)."""

    text: Source
    answer: Source | None
    choices: tuple[Choice, ...]
    tolerance: float | None


@dataclass(frozen=True)
class Stop:
    """A place in one of the two runs, what the screen shows there, and the text about it."""

    title: str
    line: int
    run: Run
    at: Source
    show: str | None
    parameter: Source | None
    value: Source | None
    element: tuple[int, ...] | None
    question: Question | None
    claims: tuple[Source, ...]
    text: Source


@dataclass(frozen=True)
class Series:
    """What the comparison draws for both runs."""

    label: str
    expression: Source


@dataclass(frozen=True)
class Lesson:
    """A lesson as its text file says it; nothing of it has been compared with a run yet."""

    path: Path
    language: str
    title: str
    name: str
    summary: str
    chapter: str
    order: float
    script: Path
    repaired: Path | None
    arguments: tuple[str, ...]
    findings: tuple[Source, ...]
    compare: tuple[Series, ...]
    introduction: Source
    stops: tuple[Stop, ...]
    conclusion: Source | None
