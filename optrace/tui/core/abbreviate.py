"""Long names of parameters in little room, so that rows that differ look different."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

from optrace.tui.core.spans import cells, cut, cut_middle

_WORD = re.compile(r"\d+|[A-Z]+(?![^\W\d_A-Z])|[A-Z]?[^\W\d_A-Z]+")
_MOST = 12
"""Letters of each word that are tried."""


class Abbreviations:
    """The names of all parameters, and how each is written in little room.

    Modules shrink to the initials of their words, the outermost first, as shells do with folders:
    `model.layers.0.self_attn.q_proj.weight` is `m.l.0.sa.qp.weight`, and at last `m.l.0.sa.qp.w`. Where two that stand
    beside each other would read the same (`gate_proj`, `g_proj`) they keep more letters: `gapr`, `gpr`. A name without
    dots loses what all names begin with.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = list(names)
        self._common = _shared(self._names)
        beside: dict[str, set[str]] = {}
        for name in self._names:
            above = ""
            for part in name.split(".") if "." in name else ():
                beside.setdefault(above, set()).add(part)
                above = "#" if part.isdigit() else part
        self._initials = {above: _initials(parts) for above, parts in beside.items()}
        self.of = lru_cache(8192)(self._of)

    def _of(self, name: str, room: int) -> str:
        """The name in at most `room` columns."""
        if cells(name) <= room:
            return name
        parts = name.split(".")
        above, short = "", name
        if len(parts) > 1:
            for place, part in enumerate(parts):
                parts[place] = self._initials.get(above, {}).get(part, part)
                short = ".".join(parts)
                if cells(short) <= room:
                    return short
                above = "#" if part.isdigit() else part
        elif self._common > 1:
            return cut("…" + name[self._common :], room)
        return cut_middle(short, room)


def _initials(names: set[str]) -> dict[str, str]:
    """For each name the first letters of its words: as few as tell it from the others."""
    words = {name: _WORD.findall(name) or [name] for name in names}
    found: dict[str, str] = {}
    letters = 1
    while words:
        tried = {name: "".join(w if w.isdigit() else w[:letters] for w in each) for name, each in words.items()}
        taken = Counter([*tried.values(), *found.values()])
        for name, short in tried.items():
            alone = taken[short] == 1 and (short == name or short not in names)
            if alone or letters == _MOST:
                found[name] = short if letters < _MOST else name
                del words[name]
        letters += 1
    return found


def _shared(names: list[str]) -> int:
    """How many characters all names begin with."""
    if len(names) < 2:
        return 0
    first, last = min(names), max(names)
    pairs = zip(first, last, strict=False)  # what these two share, those between share too
    return next((place for place, (one, other) in enumerate(pairs) if one != other), len(first))
