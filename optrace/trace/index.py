"""The index of a trace: opening `index.sqlite` and reading its rows. Nothing in it is executed."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from optrace.errors import DamagedError, OutdatedError, TraceError
from optrace.trace.format import APPLICATION_ID, INDEX_FILE, RING, SCHEMA, VERSIONS
from optrace.trace.seal import sound

_MAGIC = b"SQLite format 3\0"


@cache
def _tables() -> set[str]:
    """The statements that make a trace's tables, as SQLite keeps them."""
    with contextlib.closing(sqlite3.connect(":memory:")) as empty:
        empty.executescript(SCHEMA)
        return {sql for (sql,) in empty.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}


def _reason(error: Exception) -> str:
    """SQLite's message, without what it quotes from the file: that could be anything."""
    found = str(error).partition(" with text ")[0].partition(" - ")[0].splitlines() or [""]
    return "".join(character for character in found[0] if character.isprintable())


class Index:
    """Read-only rows of one trace's index, from any thread. Transactions last one query, or one `snapshot`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.RLock()
        self._ring: str | None = None
        self._within = False
        self._connection = self._open()
        weakref.finalize(self, self._connection.close)  # a trace need not be closed by who loads it

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """What a query finds. Raises `OutdatedError` where rows may be missing that were there before."""
        try:
            with self._lock:
                if self._ring is None or self._within:
                    return self._connection.execute(query, values).fetchall()
                with self._transaction():
                    self._see_to_it()
                    return self._connection.execute(query, values).fetchall()
        except (sqlite3.Error, UnicodeDecodeError, OverflowError) as error:
            raise DamagedError(f"{self._folder} is damaged: {_reason(error)}") from error

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Queries in the block see the same state of the index, whatever is written meanwhile."""
        with self._lock, self._transaction():
            yield

    def hold_to(self, ring: str | None) -> None:
        """From now on rows belong to what `meta` says of the ring here. None: nothing is let go of any more."""
        self._ring = ring

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._connection.execute("BEGIN")
        except sqlite3.Error as error:
            raise DamagedError(f"{self._folder} is damaged: {_reason(error)}") from error
        self._within = True
        try:
            yield
        finally:
            self._within = False
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("COMMIT")

    def _see_to_it(self) -> None:
        found = self._connection.execute("SELECT value FROM meta WHERE key = ?", (RING,)).fetchall()
        if found != [(self._ring,)]:
            raise OutdatedError(
                f"{self._folder} has let go of older iterations since it was opened; open it again to see what it holds"
            )

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _open(self) -> sqlite3.Connection:
        folder, path = self._folder, self._folder / INDEX_FILE
        try:
            if not folder.exists():
                raise TraceError(f"there is no trace at {folder}; record one with: optrace run script.py")
            if not folder.is_dir():
                raise TraceError(f"{folder} is not a trace: a trace is a folder with an {INDEX_FILE} in it")
            if not path.is_file():
                raise TraceError(f"{folder} is not a trace: it has no {INDEX_FILE}")
            with open(path, "rb") as file:
                head = file.read(16)
        except OSError as error:
            raise TraceError(f"cannot read {folder}: {error.strerror}") from error
        if not head:
            raise TraceError(f"{folder} is empty: its recording never wrote anything")
        if head != _MAGIC:
            raise TraceError(f"{folder} is not a trace: {INDEX_FILE} is of another format")
        connection = self._connect(path)
        try:
            self._accept(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _accept(self, connection: sqlite3.Connection) -> None:
        """Whether this is an index that can be read, and as it was written. Raises `TraceError`."""
        folder = self._folder
        try:
            connection.execute("PRAGMA trusted_schema = OFF")
            application = connection.execute("PRAGMA application_id").fetchone()[0]
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            tables = {sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
            whole = sound(folder)
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise DamagedError(f"{folder} is damaged: {_reason(error)}") from error
        except OSError as error:
            raise TraceError(f"cannot read {folder}: {error.strerror}") from error
        if application != APPLICATION_ID:
            if application == 0 and version == 0:
                raise TraceError(f"{folder} is empty: its recording never wrote anything")
            raise TraceError(f"{folder} is not a trace: {INDEX_FILE} belongs to another program")
        if version not in VERSIONS:
            raise TraceError(
                f"{folder} has format version {version}, this optrace reads {max(VERSIONS)}; "
                + ("install a newer optrace" if version > max(VERSIONS) else "record it again")
            )
        if not tables <= _tables():  # a view in place of a table would be run
            raise TraceError(f"{folder} is not a trace: {INDEX_FILE} holds what no recording writes")
        if not whole:
            raise DamagedError(f"{folder} is damaged: {INDEX_FILE} is not as its recording left it")

    def _connect(self, path: Path) -> sqlite3.Connection:
        # A trace that ended has no write-ahead log; then SQLite need not write beside it, which
        # it could not in a read-only folder. With a log, immutable would silently drop rows.
        has_log = path.with_name(path.name + "-wal").exists()
        address = f"file:{quote(str(path.absolute()))}?mode=ro" + ("" if has_log else "&immutable=1")
        try:
            connection = sqlite3.connect(address, uri=True, check_same_thread=False, isolation_level=None)
        except sqlite3.Error as error:
            raise TraceError(f"cannot read {path}: {error}") from error
        return connection
