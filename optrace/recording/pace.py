"""How much is recorded, decided as the room on disk goes: the promise that a trace stays within its budget.

Everything is kept exactly until half of the budget is used. Past that, large values are kept as
statistics and a sample, with whole keyframes in between, spaced so that they take no more room than the
samples do. Whenever an eighth of what is left has been used up again, half as many iterations are recorded, in
bursts of a few in a row, and at last statistics alone: so a run may go on for ever, and what is recorded gets
sparser, never more than fits.
"""

from __future__ import annotations

from collections.abc import Callable

from optrace.recording.frame import Frame
from optrace.recording.options import Options
from optrace.recording.size import format_size
from optrace.trace.format import SMALL
from optrace.trace.writer import TraceWriter

BURST = 4
"""Iterations recorded in a row where others are left out: a stale gradient shows only in two of them."""
SHARE = 8
"""Each time one part in so many of what is left is used up, half as many iterations are recorded."""
FEW = 16
"""Where there is not room for so many iterations any more, samples are given up for statistics alone."""
CLOSING = 64 << 10
"""Bytes kept back for what a trace needs at its end."""
SPARE = 64 << 20
"""Bytes of a disk that are left free for others."""
STATISTICS_BYTES = 6 * 8
ROOMY = 16 << 10
"""Bytes up to which a value is kept whole where samples were asked for, until a quarter of the budget is used: a copy
takes less time than statistics."""
COMPLETE = 8
"""Where values are sampled, all statistics are taken in one recorded iteration of so many; no more are keyframes."""
LEAST_LOOK = 2048
_LATER = 1 << 62
_WORDS = {"auto": "exact", "exact": "exact", "sampled": "sampled", "stats": "stats"}


class Pace:
    """The rules of one recording. `sizes` says how many bytes all values together have now."""

    def __init__(self, options: Options, writer: TraceWriter, frame: Frame, sizes: Callable[[], int]) -> None:
        self.options = options
        self.stride = 1
        self.spent = False
        """No room is left: nothing more is recorded."""
        self.selective = options.windowed
        """Whether there are iterations that are not recorded."""
        self.look_at = 0
        """How many appended bytes make it time to `look` again."""
        self.complete = True
        """Whether all statistics of sampled values are taken in this iteration."""
        self.capture = _WORDS[options.capture]
        self._writer = writer
        self._frame = frame
        self._sizes = sizes
        self._turns = 0  # recorded iterations
        self._next = 0  # how many of them there must be for another keyframe
        self._iteration = 0  # bytes of the last iteration, if the next one will be captured in the same way
        self._changed = False  # it will not
        self._since = 0  # bytes appended at the last keyframe
        self._cost = 1  # bytes of a keyframe
        self._began = 0  # bytes appended when this iteration began
        self._mark = 0  # bytes used at which half as many iterations are recorded
        frame.whole = self.capture == "exact"
        frame.whole_until = _LATER  # unless `look` says otherwise
        if self.capture == "stats":
            frame.small = STATISTICS_BYTES
        elif self.capture == "sampled":
            frame.small = ROOMY
        frame.sample = self.capture != "stats"
        asked = options.windowed or options.last or options.capture != "auto"
        self.note(0, 0, f"asked for: {options.why}" if asked else "there is room for everything")
        self.look(0, 0)

    def wants(self, iteration: int) -> bool:
        """Whether an iteration is to be recorded."""
        if self.spent or not self.options.wants(iteration):
            return False
        if self.stride == 1:
            return True
        return ((iteration - self.options.first) // self.options.every // BURST) % self.stride == 0

    def why(self) -> str:
        """Why iterations are left out just now."""
        if self.spent:
            return "no room is left in the budget"
        if self.stride > 1:
            return f"the budget has room for one iteration in {self.stride * self.options.every:,}"
        return f"asked for was {self.options.why}"

    def limit(self) -> int:
        """Bytes the trace may take: its budget, or less where the disk has no more."""
        return max(0, min(self.options.budget, self._writer.used + self._writer.free - SPARE))

    def turn(self, iteration: int, event: int) -> bool:
        """A recorded iteration begins after event `event`; whether it is a keyframe."""
        appended = self._writer.appended
        self._iteration, self._began = (0 if self._changed else appended - self._began), appended
        self._changed = False
        if appended > self.look_at:
            self.look(iteration, event)
        keyframe = self.capture == "sampled" and self._keyframe(appended)
        self._changed = self._changed or keyframe
        self._turns += 1
        self.complete = self.capture != "sampled" or keyframe or self._turns % COMPLETE == 0
        return keyframe

    def reduced(self, iteration: int, event: int) -> None:
        """A value was not kept whole for want of room: say from when on."""
        if self.capture == "exact" and self.options.capture == "auto":
            self._sample(iteration, event)

    def look(self, iteration: int, event: int) -> None:
        """See how much room is left, and what that means from event `event` on."""
        writer, frame = self._writer, self._frame
        used, limit = writer.used, self.limit()
        left = limit - used
        half = limit // 2
        if self._mark == 0:
            self._mark = half + half // SHARE
        if self.capture == "exact" and self.options.capture == "auto":
            frame.whole_until = writer.tensors.size + half - used
            if used >= half:
                self._sample(iteration, event)
        if self.capture == "sampled" and self.options.capture == "auto" and left < FEW * self._iteration:
            self._describe(iteration, event, left)
        if frame.small > SMALL and writer.appended >= limit // 4:
            frame.small = SMALL
            self.note(iteration, event, f"a quarter of {format_size(limit)} is used")
        if left < CLOSING + self._iteration and not self.spent:
            self.spent = self.selective = True
            self.note(iteration, event, f"no room is left in {format_size(limit)}", "nothing")
        elif used >= self._mark and not self.spent:
            self._mark = used + left // SHARE
            self.stride *= 2
            self.selective = True
            self.note(iteration, event, f"{format_size(max(left, 0))} of {format_size(limit)} are left")
        frame.until = writer.tensors.size + left - CLOSING // 2
        until = limit // 4 - writer.appended if frame.small > SMALL else self._mark - used
        self.look_at = _LATER if self.spent else writer.appended + max(LEAST_LOOK, min(until, left) // 4)

    def _sample(self, iteration: int, event: int) -> None:
        used, limit = self._writer.used, self.limit()
        self.capture, self._changed, self._iteration = "sampled", True, 0
        self._frame.whole = False
        self._since = self._writer.appended
        self._mark = max(self._mark, used + (limit - used) // SHARE)
        self.note(iteration, event, f"half of {format_size(limit)} is used")

    def _describe(self, iteration: int, event: int, left: int) -> None:
        self.capture, self._changed, self._iteration = "stats", True, 0
        self._frame.sample, self._frame.small = False, STATISTICS_BYTES
        self.note(iteration, event, f"{format_size(max(left, 0))} are left, too little for samples")

    def _keyframe(self, appended: int) -> bool:
        """Keyframes take as much room as what lies between them."""
        if self.spent or self._turns < self._next or appended - self._since < self._cost:
            return False
        self._cost = 2 * self._sizes()
        if not self._cost:  # everything is whole: see again before long
            self._since, self._cost = appended, CLOSING
            return False
        if self._cost > (self.limit() - self._writer.used) // 4:
            self._cost = _LATER  # and what is left only gets less
        if self._since and appended - self._since < self._cost:
            return False
        self._since, self._next = appended + self._cost, self._turns + COMPLETE
        return self._cost < _LATER

    def note(self, iteration: int, event: int, reason: str, capture: str = "") -> None:
        """Say how much is recorded from event `event` on, and why."""
        row = (event, iteration, capture or self.capture, self.stride * self.options.every, reason)
        self._writer.row("INSERT OR REPLACE INTO phase VALUES (?, ?, ?, ?, ?)", *row)
