"""Long names of parameters in little room, so that rows that differ look different."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from optrace.tui.core.spans import cells, cut, cut_middle

_INITIAL = re.compile(r"(?:^|(?<=_))[^\W\d_]|\d+|[A-Z]")


def shared(names: Iterable[str]) -> int:
    """How many characters all names begin with."""
    known = sorted(names)
    if len(known) < 2:
        return 0
    pairs = zip(known[0], known[-1], strict=False)  # what these two share, those between share too
    return next((place for place, (one, other) in enumerate(pairs) if one != other), len(known[0]))


@lru_cache(8192)
def abbreviated(name: str, room: int, common: int = 0) -> str:
    """The name in at most `room` columns: `model.layers.0.self_attn.q_proj.weight` as `m.l.0.sa.qp.weight`.

    Modules shrink to initials and numbers, the outermost first, as shells do with folders. A name without dots
    loses the `common` characters that it shares with all others.
    """
    if cells(name) <= room:
        return name
    *modules, own = name.split(".")
    for place, module in enumerate(modules):
        modules[place] = "".join(_INITIAL.findall(module)) or module
        short = ".".join((*modules, own))
        if cells(short) <= room:
            return short
    if modules or common < 2:
        return cut_middle(".".join((*modules, own)), room)
    return cut("…" + name[common:], room)
