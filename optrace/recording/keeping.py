"""How a recording ends: once, by whoever comes first; one of the last iterations also where these are to be kept."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from types import FrameType
from typing import Any

from optrace.recording.lookout import Lookout
from optrace.recording.options import Options
from optrace.recording.places import Place, ended
from optrace.trace.format import KEPT
from optrace.trace.keeping import ask, asked


class Keeping:
    """A part of `optrace.record`."""

    path: Path
    last: bool
    _options: Options
    _place: Place | None
    _lookout: Lookout
    _recorder: Any
    _patches: Any
    _pid: int
    _ending: bool
    """Somebody ends it."""
    _frozen: bool
    """It was ended to be kept."""

    @property
    def joined(self) -> bool:
        raise NotImplementedError

    @property
    def shared(self) -> Path:
        raise NotImplementedError

    def mark(self, detail: dict[str, Any], frame: FrameType) -> None:
        raise NotImplementedError

    def _over(self) -> None:
        """It is not the recording in progress any more."""
        raise NotImplementedError

    @staticmethod
    def _report(message: str) -> None:
        raise NotImplementedError

    def _settle(self) -> None:
        """Wait until all is written."""
        self._recorder.writer.stop()
        self._lookout.dismiss()
        self.last = self._place is None or (bool(self._place.size) and ended(self.path.parent, self._place))

    def _end(self) -> bool:
        """Whether it is the caller's to end this recording: nobody else has begun to."""
        if self._recorder is None or os.getpid() != self._pid:
            return True
        with self._recorder.lock:
            mine, self._ending = not self._ending, True
        return mine

    def keep(self, reason: str, frame: FrameType) -> None:
        """End a recording of the last iterations and keep what it holds; in any other, put a mark there."""
        recorder = self._recorder
        if recorder is None or not recorder.active or os.getpid() != self._pid:
            return
        if self._options.last is None:
            self.mark({"name": "keep", "value": reason}, frame)
            return
        where = f"optrace.keep() at {os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"
        if self._end():
            if not recorder.scopes.any_running:
                try:
                    recorder.abandon()  # what was done by hand since the last event
                except Exception as error:
                    recorder.fail(error)
            why = f"{where}: {reason}" if reason else where
            self._freeze(why)
            self._settle()
            self._tell_kept(why)

    def _watch(self) -> None:
        """From now on nothing is let go of that was not looked at, and it is kept when somebody asks for it."""
        writer = self._recorder.writer
        writer.ring.seen = self._lookout.seen  # not only after the first commit, which may let iterations go
        writer.after_commit, writer.before_close = self._heed, self._look_again

    def _heed(self) -> None:
        """In the writer's thread: keep what is there, if somebody asks for it."""
        recorder = self._recorder
        recorder.writer.ring.seen = self._lookout.seen
        why = asked(self.shared)
        # The training may hold the lock and wait for the writer.
        if why is None or not recorder.lock.acquire(timeout=0.001):
            return
        try:
            mine, self._ending, self._frozen = not self._ending, True, self._frozen or not self._ending
            recorder.active = recorder.active and not mine
        finally:
            recorder.lock.release()
        if mine:
            self._freeze(why)
            recorder.writer.after_close = lambda: self._tell_kept(why)

    def _look_again(self) -> None:
        """In the writer's thread, at the end: let nothing go that may have led to an error."""
        recorder = self._recorder
        recorder.writer.ring.seen = self._lookout.look_again(recorder.events)

    def _freeze(self, why: str) -> None:
        """The recording ends with what it holds. Calls that are running are not part of it."""
        recorder, patches = self._recorder, self._patches
        writer = recorder.writer
        with writer.lock:
            recorder.close()
            ending = {KEPT: why, "ended": time.time(), "failure": recorder.failure, "raised": None}
            for key, value in ending.items():
                writer.row("INSERT OR REPLACE INTO meta VALUES (?, ?)", key, json.dumps(value))
            writer.finish()
        self._frozen = True
        self._over()
        if self._place is not None or self.joined:
            with contextlib.suppress(OSError):
                ask(self.shared, why)  # the others that run together keep theirs as well
        patches.undo()
        self._patches = None

    def _tell_kept(self, why: str) -> None:
        turns, first = self._recorder.turns, self._recorder.writer.ring.iteration
        last = turns.iteration if turns.index else turns.iteration - 1
        kept = f"iterations {first:,}-{last:,}" if last >= first else "no iteration"
        self._report(f"kept {kept} in {self.path}: {why}")
