"""All parameters at one glance."""

from __future__ import annotations

from optrace.recording.capture import version_of
from optrace.recording.entries import Tracked
from optrace.recording.forms import digest


class Glance:
    """Is any parameter not as it was last seen?

    The small ones are compared in one piece, the others by their digests, or their sketches where they are sampled.
    """

    def __init__(self, tracked: list[Tracked]) -> None:
        self.tracked = tracked
        self.refs = [entry.ref for entry in tracked]
        slots = [entry.parameter for entry in tracked]
        self.usable = all(slot.content is not None and slot.pointer != -1 for slot in slots) and not any(
            entry.spread for entry in tracked
        )
        self.pointers = [slot.pointer for slot in slots]
        self._small = [slot for slot in slots if slot.small]
        self._large = [(slot, entry.ref) for slot, entry in zip(slots, tracked, strict=True) if not slot.small]
        self._small_views = [slot.view for slot in self._small]
        self.seen()

    def seen(self) -> None:
        """Contents were looked at one by one: take over what was found."""
        if self.usable:
            self._bytes = b"".join([slot.content for slot in self._small])  # type: ignore[misc]

    def unchanged(self) -> bool:
        try:
            if [ref().data_ptr() for ref in self.refs] != self.pointers:  # type: ignore[union-attr]
                return False
        except (AttributeError, RuntimeError):
            return False
        if b"".join(self._small_views) != self._bytes:
            return False
        for slot, ref in self._large:
            sketch = slot.sketch
            if sketch is None:
                if digest(slot.view) != slot.content:
                    return False
            elif not sketch.holds(slot.view, version_of(ref())):
                return False
        return True
