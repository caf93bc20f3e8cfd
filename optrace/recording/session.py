"""`optrace.record`: recording a block, a function, or between `start` and `stop`."""

from __future__ import annotations

import atexit
import contextlib
import copy
import functools
import json
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, TypeVar

from optrace.errors import RecordingError
from optrace.recording.children import Announcement, Parent, arm, disarm
from optrace.recording.facts import describe, reason
from optrace.recording.keeping import Keeping
from optrace.recording.lookout import Lookout
from optrace.recording.options import Options, checked
from optrace.recording.places import Place, claim, claim_beside, joins, place_of_rank
from optrace.trace.processes import MAIN

F = TypeVar("F", bound=Callable[..., Any])

_current: record | None = None
_expected: record | None = None


class record(Keeping):
    """Record training into a trace.

        with optrace.record("run.optrace"):
            train()

        @optrace.record("run.optrace")
        def train(): ...

        recording = optrace.record("run.optrace").start()
        ...
        recording.stop()

    Every call of a decorated function has a trace of its own: the second is `run-2.optrace`, and so on
    (with `overwrite`, each replaces the one before). What the function calls itself for is part of the same trace.
    `stop` on a recording that does not run, and `optrace.mark` and `optrace.log` while nothing is
    recorded, do nothing: they can stay in a script.

    Where several processes train together (torchrun), each records into a folder of its own in `path`:
    `run.optrace/rank-0`, `rank-1`, …

    Every model and optimizer is seen, made before or after. `model` (a module, several, or a
    mapping of names to modules) and `optimizer` only add what torch's own registries cannot tell:
    which names to use.

    `budget` is how large a process's trace may grow on disk (bytes, or "500MB"), and it never does grow
    larger by more than 5 %. `capture` says what is kept: "exact" every bit, "sampled" statistics and a fixed
    sample of the elements with whole keyframes between, "stats" statistics alone; "auto" is exact until half
    the budget, then sampled. Whatever it is, iterations are left out where there is no room, and the trace
    says which. `params` keeps the values of some parameters only ("layers.*.weight", "!*.bias"; patterns, or
    a list of them); what happens to the gradients of the others is still kept. `every`, `first` and `until`
    record one iteration in so many, from one on, until before another; outside, training is left alone.

    `last` keeps only so many of the last iterations, all of them exactly, as a flight recorder does: older ones make
    way. The recording ends, with what it holds, when a finding of severity error appears (but not one of the codes in
    `ignore`), when `optrace.keep` is called, or at the latest with the process, whatever ends it.

    Raises `OptraceError` for values that make no sense, and `RecordingError` when something is being
    recorded already, or when `path` exists and `overwrite` is false. If the path cannot be written, a
    line on stderr says so and the training goes on unrecorded; `failure` then says why.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        model: Any = None,
        optimizer: Any = None,
        *,
        budget: int | str | None = None,
        capture: str = "auto",
        params: str | Iterable[str] | None = None,
        every: int = 1,
        first: int = 0,
        until: int | None = None,
        last: int | None = None,
        ignore: Iterable[str] = (),
        overwrite: bool = False,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = self._asked = Path(path)
        self.failure: str | None = None
        self.raised: str | None = None
        """The class of the exception that the recorded program was left by."""
        self.last = True
        """When it has ended: whether all processes that record together have."""
        self._models = model
        self._optimizers = optimizer
        self._options = checked(budget, capture, params, every, first, until, last, ignore)
        self._overwrite = overwrite
        self._meta = dict(meta or {})
        self._recorder: Any = None
        self._patches: Any = None
        self._base: FrameType | None = None
        self._sources: dict[str, str] = {}
        self._pid = 0
        self._decorates: Any = None
        self._place: Place | None = None  # among processes that run together
        self._parent: Parent | None = None  # this process was started by a recorded one
        self._folder = ""  # that all processes share, absolute
        self._launch = uuid.uuid4().hex
        self._announcement = Announcement(self._as_parent)
        self._lookout = Lookout()
        self._ending = self._frozen = False

    # Ways to use it

    def __enter__(self) -> record:
        return self.start()

    def __exit__(self, kind: Any, error: BaseException | None, traceback: TracebackType | None) -> None:
        if error is not None:
            self.raised = type(error).__name__
        self.stop()

    def __call__(self, function: F) -> F:
        calls = 0

        @functools.wraps(function)
        def recorded(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            if _current is not None and _current._decorates is function:
                return function(*args, **kwargs)  # it calls itself, which is part of the same training
            calls += 1
            with self._for_call(calls, function):
                return function(*args, **kwargs)

        return recorded  # type: ignore[return-value]

    def _for_call(self, number: int, function: Any) -> record:
        """The recording of a decorated function's call: the first is this one, the others are made like it."""
        own = self
        if number > 1 and not self._overwrite:
            own = copy.copy(self)
            own._announcement, own._lookout = Announcement(own._as_parent), Lookout()
            own.path = own._asked = self._asked.with_name(f"{self._asked.stem}-{number}{self._asked.suffix}")
        own._decorates = function
        return own

    def start(self) -> record:
        """Begin recording."""
        global _current
        holder = _current or _expected
        if holder is not None and holder is not self:
            remedy = (
                f"run this script with plain python to record into {self.path}"
                if holder is _expected
                else f"stop that recording before starting one into {self.path}"
            )
            raise RecordingError(f"already recording into {holder.path}; {remedy}")
        if _current is self:
            raise RecordingError(f"already recording into {self.path}; it was started before")
        disarm()
        self._ending = self._frozen = False
        if self._folder:  # it has recorded before, which was a run of its own
            self._launch, self._folder = uuid.uuid4().hex, ""
        self._claim()
        self._folder = os.path.abspath(self.shared)
        _current = self
        self._announcement.make()
        self.failure = None
        self._pid = os.getpid()
        try:
            self._install()
        except Exception as error:
            self._report(f"cannot record into {self.path}, the training goes on: {reason(error)}")
            self.failure = reason(error)
            self._remove()
        atexit.register(self.stop)
        return self

    def stop(self) -> None:
        """End recording: take every wrapper out, write what is left, close the trace. Harmless when not recording."""
        global _current
        if os.getpid() == self._pid and not self._end():
            if self._frozen:
                self._settle()
            return
        if _current is not self:
            return
        _current = None
        self._announcement.withdraw()
        atexit.unregister(self.stop)
        if os.getpid() != self._pid:
            return  # a forked child: the trace is its parent's
        self._remove()

    # For `optrace run`

    def expect(self, sources: Mapping[str, str]) -> None:
        """Nobody else may record before this one starts. `sources` are texts that lie in no file."""
        global _expected
        _expected = self
        self._sources = dict(sources)
        self._announcement.make()

    def start_below(self, base: FrameType) -> None:
        """Begin recording, or say why not; `base` and the frames that called it are no part of the user's program."""
        self._base = base
        try:
            self.start()
        except (RecordingError, OSError) as error:
            self.failure = str(error) if isinstance(error, RecordingError) else reason(error)
            self._report(f"cannot record, the training goes on: {self.failure}")

    # For children of a recorded process

    @classmethod
    def of_child(cls, parent: Parent) -> record:
        """The recording of a process that a recorded one started."""
        recording = cls(parent.folder, meta=parent.meta)
        recording._options = Options(**parent.options)
        recording._parent, recording._sources = parent, parent.sources
        return recording

    def _as_parent(self) -> Parent:
        alone = self._place is None
        return Parent(
            folder=self._folder or os.path.abspath(self._asked),
            name=MAIN if self._place is None else self._place.name,
            launch=self._launch if self._place is None else self._place.launch,
            claimed=self._recorder is not None or not alone,
            overwrite=self._overwrite,
            options=asdict(self._options),
            meta=self._meta,
            sources=self._sources,
        )

    def _claim(self) -> None:
        """Find out where the trace goes, and make way there."""
        parent = self._parent
        if parent is not None or joins(self._asked, self._launch):
            known = parent or self._as_parent()
            self._place, self.path = claim_beside(
                Path(known.folder), known.name, known.launch, known.claimed, known.overwrite
            )
            return
        self._place = place_of_rank()
        self.path = claim(self._asked, self._overwrite, self._place)

    # What came of it

    @property
    def joined(self) -> bool:
        """Whether processes that this one started have recorded."""
        return self._place is None and joins(Path(self._folder or self._asked), self._launch)

    @property
    def events(self) -> int:
        """Events recorded so far."""
        return self._recorder.events if self._recorder is not None else 0

    @property
    def active(self) -> bool:
        """Whether events are being recorded."""
        return self._recorder is not None and self._recorder.active

    @property
    def shared(self) -> Path:
        """The folder that all processes that run together have their traces in; `path` where this one is alone."""
        return self.path if self._place is None else self.path.parent

    def mark(self, detail: dict[str, Any], frame: FrameType) -> None:
        """Put one of the user's own marks on the timeline."""
        recorder = self._recorder
        if recorder is None or not recorder.active:
            return
        from optrace.recording.given import copied  # imports torch

        try:
            scope = recorder.begin("mark", None, frame)
            if scope.recorded:
                scope.detail = {name: copied(value) for name, value in detail.items()}
            with recorder.lock:
                recorder.end(scope, [])
        except Exception as error:
            recorder.fail(error)

    # Inside

    def _install(self) -> None:
        import torch

        from optrace.recording import around, calls, graphs
        from optrace.recording.compiled import keep_out
        from optrace.recording.patches import Patches
        from optrace.recording.recorder import Recorder
        from optrace.recording.registry import model_items
        from optrace.recording.tracebacks import leave_out
        from optrace.trace.writer import TraceWriter

        options = self._options
        writer = TraceWriter(self.path, self._writing_failed, options.budget, options.last)
        recorder = self._recorder = Recorder(writer, options, self._report, self._base)
        patches = self._patches = Patches()
        with writer.lock:
            facts = {**describe(torch), **self._meta, "budget": options.budget, "capture": options.capture}
            for key, value in facts.items():
                writer.row("INSERT OR REPLACE INTO meta VALUES (?, ?)", key, json.dumps(value, default=repr))
            for prefix, module in model_items(self._models):
                recorder.registry.models.name_model(module, prefix)
            optimizers = self._optimizers
            if optimizers is not None:
                several = isinstance(optimizers, Iterable)
                for optimizer in optimizers if several else [optimizers]:
                    recorder.registry.saw_optimizer(optimizer)
            for file, text in self._sources.items():
                writer.row("INSERT OR IGNORE INTO source VALUES (?, ?)", file, text)
            recorder.registry.follow()
        patches.on_undo(recorder.registry.unfollow)
        keep_out(patches)
        leave_out(patches)
        calls.install(recorder, patches)
        around.install(recorder, patches)
        graphs.install(recorder, patches)
        patches.spread()
        if options.last is not None:
            if why := self._lookout.post(self.path, options.ignore):
                self._report(f"nobody looks for errors while this runs: {why}")
            self._watch()

    def _remove(self) -> None:
        recorder, patches = self._recorder, self._patches
        if patches is not None:
            patches.undo()
            self._patches = None
        if recorder is None:
            return
        try:
            recorder.abandon()
        except Exception as error:
            recorder.fail(error)
        recorder.active = False
        self.failure = self.failure or recorder.failure
        if recorder.parameters.count and not recorder.chosen:
            options = self._options
            said = ",".join([*options.include, *(f"!{pattern}" for pattern in options.exclude)])
            self._report(f"no values were kept: {said} fits no parameter's name")
        writer = recorder.writer
        ending = {"ended": time.time(), "failure": self.failure, "raised": self.raised}
        with writer.lock:
            for key, value in ending.items():
                writer.row("INSERT OR REPLACE INTO meta VALUES (?, ?)", key, json.dumps(value))
        self._settle()

    def _over(self) -> None:
        global _current
        if _current is self:
            _current = None
        self._announcement.withdraw()

    def _writing_failed(self, error: BaseException) -> None:
        self.failure = reason(error)
        if self._recorder is not None:
            self._recorder.active = False
            self._recorder.failure = self.failure
        self._report(f"recording stopped, the training goes on: {self.failure}")

    @staticmethod
    def _report(message: str) -> None:
        with contextlib.suppress(Exception):
            print(f"optrace: {message}", file=sys.stderr, flush=True)


def current() -> record | None:
    """The recording in progress in this process."""
    return _current


def _forget_in_child() -> None:
    """In a forked child the trace and its writer thread are the parent's; it gets its own once it trains."""
    global _current, _expected
    holder = _current or _expected
    if _current is not None:
        _current._lookout.dismiss()
    if _current is not None and _current._recorder is not None:
        _current._recorder.active = False
        if _current._patches is not None:
            _current._patches.undo()
    _current = _expected = None
    if holder is not None:
        holder._announcement.withdraw()
        arm(holder._as_parent(), holder._base, holder)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
