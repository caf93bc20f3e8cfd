"""The wrapped calls around the loop, and models as they are made."""

from __future__ import annotations

import sys
from typing import Any

from torch import nn

from optrace.recording import clipping, loading, scaling, schedulers
from optrace.recording.hidden import WRAPPERS, hidden
from optrace.recording.patches import Patches
from optrace.recording.recorder import Recorder

_getframe = sys._getframe


def install(recorder: Recorder, patches: Patches) -> None:
    """See what happens between the calls of the loop from now on."""
    for part in (clipping, schedulers, scaling, loading):
        part.install(recorder, patches)
    made = Made(recorder)
    patches.on_undo(nn.modules.module.register_module_parameter_registration_hook(made.made_module).remove)
    patches.on_undo(nn.modules.module.register_module_module_registration_hook(made.made_module).remove)


@hidden(WRAPPERS)
class Made:
    """Notes where each module was made."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def made_module(self, module: nn.Module, name: str, parameter: Any) -> None:
        recorder = self._recorder
        if not recorder.active:
            return
        try:
            with recorder.lock:
                frame = recorder.sites.made_at(_getframe(1))
                if frame is not None:
                    recorder.registry.models.note_site(module, recorder.sites.chain(frame))
        except Exception as error:
            recorder.fail(error)
