"""What recording costs a loop, as a ratio to the bare loop.

The bare loop and every recorder take turns within one process, so that a noisy machine slows all of
them; each turn's time is divided by that of the bare turn beside it, and the median of the ratios
counts. Starting and stopping a recorder are not in it, nor its first turns: a loop runs for hours. What these cost
optrace beyond bare turns is a table of its own.
"""

from __future__ import annotations

import gc
import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from benchmarks.recorders import RECORDERS, After, nothing
from benchmarks.workloads import WORKLOADS, Workload

ROUNDS = 7
LEAST_ROUNDS = 3  # a spread needs as many
LONG = 1.0  # seconds of a bare turn above which what others cost is measured with one optimizer alone
PATIENCE = 5.0  # seconds; a recorder that has taken longer gets no further round, or turn
FEW_ROUNDS = {"wandb": 3}  # starting it takes seconds
WARM = 2  # the first turns also store names, texts and first values; past the budget the second is a keyframe
FEW = 2  # turns that are timed at the least
PERIODS = {"optrace sampled": 8}  # turns of which one costs more: any round has the same share of such
ROOM = 2 << 30  # bytes of disk and memory that are left alone


@dataclass
class Row:
    """One workload with one optimizer."""

    workload: str
    optimizer: str
    device: str
    elements: int
    bare: list[float] = field(default_factory=list)
    """Seconds a turn, one for each round."""
    ratios: dict[str, list[float]] = field(default_factory=dict)
    once: dict[str, list[float]] = field(default_factory=dict)
    """Seconds that starting, the first turns and stopping took beyond as many bare turns."""
    missing: dict[str, str] = field(default_factory=dict)
    """Why a recorder was left out."""


def measure(name: str, optimizer: str, device: str, names: list[str], seconds: float, folder: Path) -> Row:
    """Run one workload under each recorder. `seconds`: how long a bare round lasts, at the least one turn."""
    torch.manual_seed(0)
    try:
        workload = WORKLOADS[name](optimizer, device)
        for _ in range(2):
            workload.step()
    except (MemoryError, RuntimeError) as error:
        return Row(name, optimizer, device, 0, missing=dict.fromkeys(names, f"the model does not fit: {_line(error)}"))
    row = Row(name, optimizer, device, workload.elements)
    one = min(_turns(workload, None, 1) for _ in range(3))
    count = max(FEW, round(seconds / one))
    _turns(workload, None, count)
    if one > LONG and optimizer != "sgd":
        others = [name for name in names if not name.startswith("optrace")]
        row.missing |= dict.fromkeys(others, "a turn takes long; what it costs can be seen with sgd")
    spent = dict.fromkeys(names, 0.0)
    for number in range(ROUNDS):
        if names and all(name in row.missing or _enough(name, spent[name], number, seconds, one) for name in names):
            break
        bare, _ = _round("bare", workload, count, seconds, folder)
        row.bare.append(bare)
        for recorder in names:
            if recorder in row.missing or _enough(recorder, spent[recorder], number, seconds, one):
                continue
            lack = _lack(recorder, workload, count, folder)
            if lack is not None:
                row.missing[recorder] = lack
                continue
            start = time.perf_counter()
            try:
                took, once = _round(recorder, workload, count, seconds, folder, bare)
                row.ratios.setdefault(recorder, []).append(took / bare)
                row.once.setdefault(recorder, []).append(once)
            except Exception as error:  # theirs or ours: the other figures are still wanted
                row.missing[recorder] = _line(error)
            spent[recorder] += time.perf_counter() - start
    return row


def _enough(recorder: str, spent: float, number: int, seconds: float, one: float) -> bool:
    """Whether a recorder that has taken so many seconds gets no further round. optrace always has a spread."""
    if recorder.startswith("optrace") and number < LEAST_ROUNDS:
        return spent > 8 * PATIENCE
    return spent > PATIENCE or number >= FEW_ROUNDS.get(recorder, ROUNDS)


def _round(
    name: str, workload: Workload, count: int, seconds: float, folder: Path, bare: float = 0.0
) -> tuple[float, float]:
    """Seconds a turn, and what was spent around these turns. What is slower than the loop gets fewer turns."""
    gc.collect()
    start = time.perf_counter()
    timed = 0.0
    with RECORDERS.get(name, nothing)(workload, folder) as after:
        warm = many = max(1 if name == "bare" or after is not None else WARM, count // 20)
        for timing in (False, True):  # from one line, for to optrace it is then one loop
            timed = _turns(workload, after, many)
            if timing:
                break
            one = timed / warm
            if one > PATIENCE and name not in PERIODS:
                return one, 0.0
            if after is not None:  # it comes after the step, and may be a hundred times as slow
                count = max(1, min(count, round(2 * seconds / one)))
            if name in PERIODS:
                count += -count % PERIODS[name]
                _all_written(folder)  # the first keyframe; the next one comes after thousands of turns
            many = count
    return timed / count, time.perf_counter() - start - timed - warm * bare


def _all_written(folder: Path) -> None:
    """Wait until the recorder's own thread has nothing left to write, and the disk neither."""
    size = -1
    while size != (size := sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())):
        time.sleep(0.3)
    os.sync()


def _turns(workload: Workload, after: After | None, count: int) -> float:
    step = workload.step
    if next(workload.model.parameters()).is_cuda:
        torch.cuda.synchronize()
    start = time.perf_counter()
    if after is None:
        for _ in range(count):
            step()
    else:
        for _ in range(count):
            step()
            after()
    if next(workload.model.parameters()).is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _lack(recorder: str, workload: Workload, count: int, folder: Path) -> str | None:
    """Why there is not room enough for a round, if there is not."""
    writes = {"optrace exact": workload.moving * (count + max(WARM, count // 20) + 1), "torch.save": workload.moving}
    free = shutil.disk_usage(folder).free
    if writes.get(recorder, 0) > free - ROOM:
        return f"would write {writes[recorder] / 1e9:.0f} GB, {free / 1e9:.0f} GB are free"
    memory = _free_memory()
    # A histogram is made of copies: float64 values, and what NumPy sorts them into.
    needs = 24 * max(p.numel() for p in workload.model.parameters()) if recorder == "TensorBoard" else 0
    if memory is not None and needs > memory - ROOM:
        return f"would take {needs / 1e9:.0f} GB of memory, {memory / 1e9:.0f} GB are free"
    return None


def _free_memory() -> int | None:
    try:
        text = Path("/proc/meminfo").read_text()
    except OSError:
        return None
    return next((int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith("MemAvailable")), None)


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


# The table


def table(rows: Iterable[Row], names: list[str], write: Callable[[str], None]) -> list[Row]:
    """Markdown, row by row as they are measured; gives the rows."""
    done = []
    write("| workload | numbers | optimizer | bare | " + " | ".join(names) + " |")
    write("| --- | --: | --- | --: |" + " --: |" * len(names))
    notes: dict[str, list[str]] = {}
    for row in rows:
        done.append(row)
        cells = []
        for name in names:
            ratios = row.ratios.get(name)
            cells.append("–" if not ratios else _ratio(ratios))
            if not ratios and name in row.missing:
                notes.setdefault(f"{name}: {row.missing[name]}", []).append(f"{row.workload} {row.optimizer}")
        bare = _time(statistics.median(row.bare)) if row.bare else "–"
        write(f"| {row.workload} | {row.elements:,} | {row.optimizer} | {bare} | " + " | ".join(cells) + " |")
    for note, where in notes.items():
        write(f"\nNot measured ({', '.join(where)}): {note}.")
    _once(done, [name for name in names if name.startswith("optrace")], write)
    return done


def _once(rows: list[Row], names: list[str], write: Callable[[str], None]) -> None:
    """What a recording costs beside its turns."""
    if not names:
        return
    write("\nOnce for each recording: starting it, its first turns with the first value of everything (where values")
    write("are sampled, with a keyframe of all of them), and closing it; beyond what bare turns take.\n")
    write("| workload | optimizer | " + " | ".join(names) + " |")
    write("| --- | --- |" + " --: |" * len(names))
    for row in rows:
        cells = [_time(max(0.0, statistics.median(row.once[name]))) if name in row.once else "–" for name in names]
        write(f"| {row.workload} | {row.optimizer} | " + " | ".join(cells) + " |")


def _ratio(ratios: list[float]) -> str:
    median = statistics.median(ratios)
    digits = 2 if median < 10 else 1 if median < 100 else 0
    spread = f" ({min(ratios):.{digits}f}–{max(ratios):.{digits}f})" if len(ratios) > 1 else " (once)"
    return f"{median:.{digits}f}×{spread}"


def _time(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    return f"{seconds * 1e3:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def disk_speed(folder: Path) -> float:
    """Bytes a second that one thread writes to a new file, from a buffer used again and again."""
    piece, count = os.urandom(1 << 20), 256
    path = folder / "plain"
    start = time.perf_counter()
    with open(path, "wb", buffering=0) as file:
        for _ in range(count):
            file.write(piece)
    took = time.perf_counter() - start
    path.unlink()
    return count * len(piece) / took


def copy_speed() -> float:
    """Bytes a second of one thread's copy between buffers larger than the caches."""
    source, target = memoryview(bytearray(64 << 20)), memoryview(bytearray(64 << 20))
    target[:] = source
    times = []
    for _ in range(5):
        start = time.perf_counter()
        target[:] = source
        times.append(time.perf_counter() - start)
    return len(source) / statistics.median(times)
