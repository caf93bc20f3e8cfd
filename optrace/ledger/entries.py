"""What an event does to one gradient's account, and the signatures that parameters share."""

from __future__ import annotations

from enum import IntEnum

from optrace.trace.format import Op, Storage
from optrace.trace.model import Change


class Entry(IntEnum):
    """One line in a gradient's account."""

    DEPOSIT = 0  # a backward added its contribution
    CLEAR = 1  # the gradient became None
    ZERO = 2  # it was filled with zeros
    APPLY = 3  # a step used what was there
    SKIP = 4  # a step was left out by a GradScaler, failed, or changed nothing at all
    ALTER = 5  # clipped, unscaled, or changed by hand after it arrived
    SET = 6  # put there by hand: it takes the place of whatever was there
    FOUND = 7  # it was there before the recording began, or after a gap
    LOST = 8  # a gap begins: what is inside, and what becomes of it, is not recorded


HAND = 9
"""A change by hand, until it is known whether it alters what is there or takes its place."""

_OF_OP = {
    Op.DEPOSIT: int(Entry.DEPOSIT),
    Op.CLEAR: int(Entry.CLEAR),
    Op.ZERO: int(Entry.ZERO),
    Op.CHANGE: int(Entry.ALTER),
    Op.INIT: int(Entry.FOUND),
    Op.LOST: int(Entry.LOST),
}


def entry_of(change: Change) -> int | None:
    """The entry that a change of a gradient makes; None for one that makes none."""
    if change.kind != "grad":
        return None
    if change.op is Op.INIT and change.storage is Storage.ZEROS:
        return int(Entry.ZERO)
    if change.op is Op.CHANGE and change.before:
        return HAND
    return _OF_OP.get(change.op)
