"""Measure and print one page: what recording costs, what reading costs, on what machine.

python -m benchmarks                        everything
python -m benchmarks tiny mlp-100k          these workloads, no reading
python -m benchmarks --reading              reading alone
python -m benchmarks --quick                short rounds, a smaller trace: to see that it works
python -m benchmarks --out benchmarks/RESULTS.md    everything, and the page into that file
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import shlex
import signal
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks import overhead, reading, targets
from benchmarks.recorders import RECORDERS
from benchmarks.workloads import WORKLOADS

PACKAGES = ("torch", "numpy", "xxhash", "tensorboard", "wandb")


BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
page: list[str] = []
"""Every line written so far."""


def write(line: str) -> None:
    page.append(line)
    print(line, flush=True)


def keep(path: Path) -> None:
    """Put the page into a file, in place of the one before: what stands around it there is somebody's comment on it."""
    text = path.read_text(encoding="utf-8") if path.exists() else f"# Results\n\n{BEGIN}\n{END}\n"
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{path} has no lines {BEGIN} and {END} to put the page between")
    path.write_text("\n".join([f"{before}{BEGIN}", "", *page, "", f"{END}{after}"]), encoding="utf-8")


def options() -> argparse.Namespace:
    description, usage = (__doc__ or "").split("\n\n", 1)
    parser = argparse.ArgumentParser(
        "python -m benchmarks", description=description, epilog=usage, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("workloads", nargs="*", metavar="workload", help=", ".join(WORKLOADS))
    parser.add_argument("--reading", action="store_true", help="measure reading, and no workload that is not named")
    parser.add_argument("--optimizer", action="append", choices=["sgd", "adam"], help="this one alone")
    parser.add_argument("--recorder", action="append", choices=list(RECORDERS), help="this one alone; may be repeated")
    parser.add_argument("--seconds", type=float, default=0.3, help="how long one bare round lasts (0.3)")
    parser.add_argument("--threads", type=int, help="torch's own threads (its default if left out)")
    parser.add_argument("--folder", type=Path, help="where traces are written, and removed again")
    parser.add_argument("--out", type=Path, help="a file to put the page into as well")
    parser.add_argument("--quick", action="store_true", help="short rounds and a small trace")
    chosen = parser.parse_args()
    unknown = [name for name in chosen.workloads if name not in WORKLOADS]
    if unknown:
        parser.error(f"there is no workload {unknown[0]!r}; there are {', '.join(WORKLOADS)}")
    return chosen


def machine(folder: Path) -> None:
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"no {package}")
    write(f"`{shlex.join(['python', '-m', 'benchmarks', *sys.argv[1:]])}`")
    write("")
    write(f"{time.strftime('%d %B %Y')}; {_processor()}, {os.cpu_count()} processors, {torch.get_num_threads()} torch")
    write(f"threads, load {os.getloadavg()[0]:.1f}; {platform.system()} {platform.release()}, Python")
    write(f"{platform.python_version()}, {', '.join(versions)}.")
    copied, written = overhead.copy_speed() / 1e9, overhead.disk_speed(folder) / 1e9
    write(f"One thread copies {copied:.1f} GB/s, and writes {written:.1f} GB/s to a new file.")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def main() -> None:
    chosen = options()
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    seconds = 0.05 if chosen.quick else chosen.seconds
    everything = not chosen.workloads and not chosen.reading
    workloads = chosen.workloads or (list(WORKLOADS) if everything else [])
    recorders = chosen.recorder or list(RECORDERS)
    optimizers = chosen.optimizer or ["sgd", "adam"]
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    began = time.perf_counter()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # leave nothing behind then either
    with tempfile.TemporaryDirectory(dir=chosen.folder, prefix="optrace-benchmarks-") as made:
        folder = Path(made)
        machine(folder)
        rows: list[overhead.Row] = []
        for device in devices if workloads else []:
            where = "" if device == "cpu" else f" on {torch.cuda.get_device_name()}"
            write(f"\n## Recording{where}: time of a turn, as a ratio to the bare loop\n")
            measured = (
                overhead.measure(name, optimizer, device, recorders, seconds, folder)
                for name in workloads
                for optimizer in optimizers
            )
            rows += overhead.table(measured, recorders, write)
        read: list[tuple[str, reading.Measured]] = []
        if everything or chosen.reading:
            write("\n## Reading\n\n| what | |\n| --- | --: |")
            for kind, found in reading.everything(chosen.quick, folder):
                read.append((kind, found))
                write(f"| {kind}{': ' if kind else ''}{found[0]} | {found[1]} |")
        write("\n## Figures against targets\n")
        targets.table([row for row in rows if row.device == "cpu"], read, write)
    write(f"\nMeasured in {time.perf_counter() - began:.0f} s.")
    if chosen.out:
        keep(chosen.out)


if __name__ == "__main__":
    main()
