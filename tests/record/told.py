"""What the traces of training loops tell; as a program: record loops on a device.

    python -m tests.record.told simulated out.json plain adam 17

records these of `loops` (or all) and the seventeenth of the generated ones, on the CPU and on the device, and writes
what both traces tell. `slow` is the simulated device with copies that take their time, and room for few.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

import optrace
from optrace.recording import arriving
from optrace.trace.format import Storage
from optrace.trace.writer import TENSOR_BLOCK
from tests.record.loops import LOOPS, loop_of


def told(folder: Path) -> list[Any]:
    """Everything that a trace tells of each event, as JSON can hold it; of sampled values their statistics."""
    trace = optrace.load(folder)
    names = {parameter.id: name for name, parameter in trace.parameters.items()}
    events: list[Any] = []
    for event in trace.events:
        changes = trace.effect(event)
        final = {(change.parameter, change.kind): change for change in changes}
        lines = []
        for change in changes:
            name = names[change.parameter]
            line: list[Any] = [name, change.kind, change.op.name, change.storage.name, change.before, change.dtype]
            line.append(list(change.shape))
            if final[change.parameter, change.kind] is change:
                if change.storage in (Storage.FULL, Storage.ZEROS):
                    value = trace.value(name, change.kind, at=event)
                    line.append(None if value is None else _digest(value))
                if change.storage is Storage.SAMPLE:
                    sample = trace.sample(name, change.kind, at=event)
                    assert sample is not None
                    line += [sample.statistics, _digest(sample.values)]
            lines.append(line)
        lines.sort(key=lambda line: (line[:2], not line[4]))  # in any order, but for what was before the event
        site = None if event.site is None else event.site.line
        loss = None if event.loss is None else repr(event.loss)
        detail = {key: repr(value) for key, value in event.detail.items() if key != "after_stack"}
        events.append([str(event.position), event.kind, event.depth, site, loss, detail, lines])
    trace.close()
    return events


def _digest(values: Any) -> str:
    return hashlib.sha256(values.tobytes()).hexdigest()[:16]


def digests(result: Any) -> list[str]:
    """What the parameters have become."""
    tensors = result.parameters() if isinstance(result, nn.Module) else result
    return [_digest(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()) for tensor in tensors]


def recorded(name: str, device: str, waits: Callable[[], int]) -> dict[str, Any]:
    """Record one of the loops: what its trace tells, what it came to, and how often its thread waited."""
    run, options = loop_of(name)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.optrace"
        with optrace.record(path, **options) as recording:
            before = waits()
            result = run(device)
            waited = waits() - before
        crowded = recording._recorder.frame.post.waits
        found = {"failure": recording.failure, "told": told(path), "result": digests(result)}
        return {**found, "waits": waited, "crowded": crowded}


def main(device: str, out: str, *names: str) -> None:
    """Write, for each of the loops, what became of it on the CPU and on the device, recorded and bare."""
    waits: Callable[[], int] = int
    if device in ("simulated", "slow"):
        from tests.simulated import install

        module = install()
        waits = module.waits
        if device == "slow":
            module.set_delay(0.03)
            arriving.PINNED = 3 * TENSOR_BLOCK
        device = "simulated"
    elif device == "cuda":  # nothing in a turn may wait
        torch.use_deterministic_algorithms(True, warn_only=True)
    found = {}
    for name in names or LOOPS:
        before = waits()
        bare = loop_of(name)[0](device)
        waited = waits() - before
        found[name] = {
            "bare": {"result": digests(bare), "waits": waited},
            "cpu": recorded(name, "cpu", waits),
            "device": recorded(name, device, waits),
        }
        for key, entry in found[name].items():
            print(name, key, entry.get("failure"), entry["waits"], len(entry.get("told", ())))
    Path(out).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
