"""While this process forks, no other thread of ours is inside SQLite.

SQLite's own locks guard all of its connections. One that the writer holds during a fork stays held in the child for
good: a child that trains, or whose data lie in a database, would wait forever (seen: 11 of 4,386 forks, beside a
thread that did nothing but insert).
"""

from __future__ import annotations

import contextlib
import os
import threading

PATIENCE = 10.0
"""Seconds that a fork waits, at the most: the disk may hang."""

_lock = threading.RLock()


def in_sqlite() -> threading.RLock:
    """`with in_sqlite():` a fork in another thread waits until this block is over."""
    return _lock


def _wait() -> None:
    _lock.acquire(timeout=PATIENCE)


def _go_on() -> None:
    with contextlib.suppress(RuntimeError):  # it had run out of patience
        _lock.release()


def _begin_anew() -> None:
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_wait, after_in_parent=_go_on, after_in_child=_begin_anew)
