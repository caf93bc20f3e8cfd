"""CUDA graphs: nothing is recorded while one is captured, for reading a tensor would break the capture.

What a replay does is noticed at the next event, like what happens in compiled code.
"""

from __future__ import annotations

import functools
from typing import Any

import torch

from optrace.recording.patches import Patches
from optrace.recording.recorder import Recorder

_NOTE = "the calls that a CUDA graph captures are not recorded; what its replays do is seen at the next event"


def install(recorder: Recorder, patches: Patches) -> None:
    """Stand aside during every capture from now on."""

    def begin(original: Any) -> Any:
        @functools.wraps(original)
        def capture_begin(*args: Any, **kwargs: Any) -> Any:
            recorder.say(_NOTE)
            recorder.rest()
            return original(*args, **kwargs)

        return capture_begin

    def end(original: Any) -> Any:
        @functools.wraps(original)
        def capture_end(*args: Any, **kwargs: Any) -> Any:
            try:
                return original(*args, **kwargs)
            finally:
                recorder.resume()

        return capture_end

    def play(original: Any) -> Any:
        @functools.wraps(original)
        def replay(*args: Any, **kwargs: Any) -> Any:
            recorder.compiled.stepped = recorder.compiled.replayed = True
            return original(*args, **kwargs)

        return replay

    for name, wrap in (("capture_begin", begin), ("capture_end", end), ("replay", play)):
        patches.method(torch.cuda.CUDAGraph, name, wrap)
