"""Where a process's trace goes when several run together: `train.optrace/rank-0`, `rank-1`, …

Processes that were started together share one folder and each makes its own trace in it. A small file
there, `processes.json`, says which start they belong to, so that the ranks of one run find room beside
one another, and those of the next run do not write among them unless told to replace them.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optrace.errors import RecordingError
from optrace.trace.format import APPLICATION_ID, BYTES_FILE, INDEX_FILE, KEEP_FILE, SEAL_FILE
from optrace.trace.processes import MAIN, is_name

PROCESSES_FILE = "processes.json"
_LAUNCH = ("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT", "SLURM_JOB_ID", "SLURM_STEP_ID")
_OWN_FILES = frozenset({INDEX_FILE, f"{INDEX_FILE}-wal", f"{INDEX_FILE}-shm", SEAL_FILE, KEEP_FILE})


@dataclass(frozen=True)
class Place:
    """This process among those that were started together."""

    name: str
    """Of its trace: `rank-1`."""
    launch: str
    """The same for all that were started together, another at the next start."""
    size: int
    """How many they are; 0 where nobody knows."""
    attempt: int = 0
    """How often torchrun had to start them again."""

    def folder(self, path: Path) -> Path:
        """The folder they share, for the path that was asked for."""
        return path.with_name(f"{path.stem}.restart-{self.attempt}{path.suffix}") if self.attempt else path


def place_of_rank() -> Place | None:
    """What the environment (torchrun's, say) or torch.distributed says of this process; None where it is alone."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        rank, size = int(distributed.get_rank()), int(distributed.get_world_size())
    else:
        rank, size = _number("RANK", -1), _number("WORLD_SIZE", 0)
    if size < 2 or not 0 <= rank < size:
        return None
    launch = [str(size), *(os.environ.get(name, "") for name in _LAUNCH)]
    if _number("LOCAL_WORLD_SIZE", size) == size:  # all on this machine: what started them is one process
        launch += [socket.gethostname(), str(os.getppid())]
    return Place(f"rank-{rank}", " ".join(launch), size, _number("TORCHELASTIC_RESTART_COUNT", 0))


def _number(variable: str, otherwise: int) -> int:
    text = os.environ.get(variable, "")
    return int(text) if text.isdecimal() else otherwise


# Making way


def claim(path: Path, overwrite: bool, place: Place | None = None) -> Path:
    """Make way for a new trace and say where it goes. Removes nothing but traces, and those only when told to."""
    if place is None:
        check_claim(path, overwrite)
        _remove(path)
        return path
    folder = place.folder(path)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _alone(folder.parent):
            check_claim(path, overwrite, place)
            if not _belongs(folder, place):
                _remove(folder)
                folder.mkdir()
                _write(folder, {"launch": place.launch, "size": place.size, "ended": []})
    except OSError as error:
        raise RecordingError(f"cannot record into {folder}: {error.strerror}") from error
    return folder / place.name


def joins(folder: Path, launch: str) -> bool:
    """Whether children of this very run were there first."""
    known = _read(folder)
    return known is not None and known["launch"] == launch


def check_claim(path: Path, overwrite: bool, place: Place | None = None) -> None:
    """Whether a new trace may take the path; touches nothing. Raises `RecordingError` where it may not."""
    if place is not None:
        path = place.folder(path)
    if not os.path.lexists(path) or (place is not None and _belongs(path, place)):
        return
    if not overwrite:
        raise RecordingError(f"{path} exists; choose another name, or say -f (overwrite=True) to replace it")
    if path.is_symlink() or not (is_trace(path) or _is_shared(path)):
        what = "not a trace but a link" if path.is_symlink() else "not a trace"
        raise RecordingError(f"{path} is {what}, so it is not replaced; choose another name")


def is_trace(path: Path) -> bool:
    """Whether a folder carries a trace's mark."""
    index = path / INDEX_FILE
    if not index.is_file():
        return False
    try:
        with open(index, "rb") as file:
            header = file.read(100)
    except OSError:
        return False
    return header[:15] == b"SQLite format 3" and int.from_bytes(header[68:72], "big") == APPLICATION_ID


def claim_beside(folder: Path, parent: str, launch: str, claimed: bool, overwrite: bool) -> tuple[Place, Path]:
    """Where a child's trace goes: after its rank, if it has one, else numbered, in the folder of the run it is part of.

    `claimed`: the run has made the folder its own already, so what is in it is not to be removed.
    """
    rank = place_of_rank()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _alone(folder.parent):
            known = _read(folder)
            if known is None or known["launch"] != launch:
                if not claimed:
                    check_claim(folder, overwrite)
                    _remove(folder)
                folder.mkdir(exist_ok=True)
                _write(folder, {"launch": launch, "size": 0, "ended": []})
            name = _free_name(folder, "" if parent == MAIN else f"{parent}-", rank)
            (folder / name).mkdir()
    except OSError as error:
        raise RecordingError(f"cannot record into {folder}: {error.strerror}") from error
    return Place(name, launch, 0), folder / name


def _free_name(folder: Path, prefix: str, rank: Place | None) -> str:
    if rank is not None and not prefix:
        if not os.path.lexists(folder / rank.name):
            return rank.name
        prefix = f"{rank.name}-"
    number = 1
    while os.path.lexists(folder / f"{prefix}process-{number}"):
        number += 1
    return f"{prefix}process-{number}"


def ended(folder: Path, place: Place) -> bool:
    """This process has recorded all it will. Whether it was the last of those that were started together."""
    with contextlib.suppress(OSError), _alone(folder.parent):
        known = _read(folder)
        if known is not None and known["launch"] == place.launch:
            known["ended"] = sorted({*known["ended"], place.name})
            _write(folder, known)
            return len(known["ended"]) == place.size
    return False


# Inside


def _belongs(folder: Path, place: Place) -> bool:
    """Whether the folder was made by this start, and nobody has taken this process's place in it."""
    known = None if folder.is_symlink() else _read(folder)
    return known is not None and known["launch"] == place.launch and not os.path.lexists(folder / place.name)


def _is_shared(folder: Path) -> bool:
    """Whether it is a folder of several processes' traces, with nothing else in it."""
    if _read(folder) is None:
        return False
    return all(
        path.name == PROCESSES_FILE
        or path.name in _OWN_FILES
        or BYTES_FILE.fullmatch(path.name)
        or (is_name(path.name) and not path.is_symlink())
        for path in folder.iterdir()
    )


def _remove(path: Path) -> None:
    if not os.path.lexists(path):
        return
    try:
        shutil.rmtree(path)
    except OSError as error:
        raise RecordingError(f"cannot replace {path}: {error.strerror}") from error


def _read(folder: Path) -> dict[str, Any] | None:
    try:
        known = json.loads((folder / PROCESSES_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    good = isinstance(known, dict) and isinstance(known.get("launch"), str) and isinstance(known.get("ended"), list)
    return known if good else None


def _write(folder: Path, known: dict[str, Any]) -> None:
    """In one stroke: whoever reads it finds the old text or the new one."""
    new = folder / f"{PROCESSES_FILE}.new"
    new.write_text(json.dumps(known), encoding="utf-8")
    os.replace(new, folder / PROCESSES_FILE)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else makes way in this folder meanwhile, where the system can see to that."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
