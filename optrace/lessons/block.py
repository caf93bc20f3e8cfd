"""The fenced blocks of a lesson's text: TOML whose every mistake is told with its line."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from optrace.errors import nearest
from optrace.lessons.errors import LessonError
from optrace.lessons.model import Source

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class Block:
    """A block's keys and values; each is asked for by its type. Raises `LessonError`."""

    def __init__(self, path: Path, text: str, line: int, known: frozenset[str]) -> None:
        """`line` is that of the block's first line inside the fence, counted from 1."""
        self._path = path
        self._lines = text.splitlines()
        self._first = line
        try:
            self._values: dict[str, Any] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            message = str(error)
            place = re.search(r" \(at line (\d+), column \d+\)$", message)
            at = line + int(place[1]) - 1 if place else line + len(self._lines) - 1
            raise LessonError(f"{message[: place.start()] if place else message}", path, at) from None
        for key in self._values:
            if key not in known:
                raise self.error(key, f"there is no key {key!r} here{nearest(key, sorted(known))}")

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def line(self, key: str, text: str = "") -> int:
        """The line where a key stands, or, in what follows it, the first line that holds `text`."""
        for number, content in enumerate(self._lines):
            if re.match(rf"""\s*["']?{re.escape(key)}["']?\s*=""", content):
                for further, below in enumerate(self._lines[number:]):
                    if text and text.splitlines()[0] in below:
                        return self._first + number + further
                return self._first + number
        return self._first

    def error(self, key: str, message: str) -> LessonError:
        """An error about a key."""
        return LessonError(message, self._path, self.line(key))

    def text(self, key: str) -> Source | None:
        """A text and its line; None where the key is absent."""
        value = self._values.get(key)
        if value is None:
            return None
        if not isinstance(value, str) or not value.strip():
            raise self.error(key, f"{key} is {value!r}; it must be a text")
        return Source(value, self.line(key, value))

    def string(self, key: str, default: str = "") -> str:
        """A text without its line."""
        found = self.text(key)
        return default if found is None else found.text

    def one_of(self, key: str, allowed: tuple[str, ...]) -> str | None:
        """A text that is one of a few."""
        found = self.text(key)
        if found is not None and found.text not in allowed:
            raise self.error(key, f"there is no {key} {found.text!r}{nearest(found.text, allowed, len(allowed))}")
        return None if found is None else found.text

    def number(self, key: str) -> float | None:
        """A number that is not negative."""
        value = self._values.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0):
            raise self.error(key, f"{key} is {value!r}; it must be a number, 0 or more")
        return value

    def texts(self, key: str) -> tuple[Source, ...]:
        """A list of texts, or one text for a list of one."""
        value = self._values.get(key, [])
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise self.error(key, f"{key} must be a list of texts")
        return tuple(Source(item, self.line(key, item)) for item in items)

    def pairs(self, key: str) -> tuple[tuple[Source, Source], ...]:
        """A list of pairs of texts."""
        value = self._values.get(key, [])
        if not isinstance(value, list):
            raise self.error(key, f'{key} must be a list of pairs: [["text", "expression"], …]')
        for item in value:
            if not (isinstance(item, list) and len(item) == 2 and all(isinstance(part, str) for part in item)):
                raise self.error(key, f'{key}: {item!r} is not a pair: ["text", "expression"]')
        return tuple(
            (Source(left, self.line(key, left)), Source(right, self.line(key, right))) for left, right in value
        )

    def integers(self, key: str) -> tuple[int, ...] | None:
        """A list of indices."""
        value = self._values.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or not all(type(item) is int and item >= 0 for item in value):
            raise self.error(key, f"{key} is {value!r}; it must be a list of indices, such as [0, 2]")
        return tuple(value)
