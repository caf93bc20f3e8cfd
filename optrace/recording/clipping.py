"""Clipping gradients: by norm, by a given norm, by value."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.utils import clip_grad

from optrace.recording.frame import Change
from optrace.recording.groups import plain
from optrace.recording.hidden import WRAPPERS, hidden
from optrace.recording.patches import Patches
from optrace.recording.placements import is_spread, whole_number
from optrace.recording.recorder import Recorder
from optrace.recording.scopes import Scope
from optrace.recording.wrapped import Wrapped, reading


def install(recorder: Recorder, patches: Patches) -> None:
    """See every clipping from now on."""
    clipping = Clipping(recorder)
    transparent = recorder.compiled.transparent
    patches.function(clip_grad.clip_grad_norm_, lambda f: transparent(f, clipping.clip_norm(f)))
    patches.function(clip_grad.clip_grad_value_, lambda f: transparent(f, clipping.clip_value(f)))
    if hasattr(nn.utils, "clip_grads_with_norm_"):
        patches.function(nn.utils.clip_grads_with_norm_, lambda f: transparent(f, clipping.clip_with_norm(f)))


@hidden(WRAPPERS)
class Clipping:
    """What happens around each of these calls."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._events = Wrapped(recorder)

    def clip_norm(self, original: Any) -> Any:
        @functools.wraps(original)
        def clip_grad_norm_(parameters: Any, max_norm: Any, norm_type: Any = 2.0, *args: Any, **kwargs: Any) -> Any:
            if self._recorder.running("clip") is not None:
                return original(parameters, max_norm, norm_type, *args, **kwargs)
            parameters = _listed(parameters)
            return self._clip(
                parameters,
                lambda: original(parameters, max_norm, norm_type, *args, **kwargs),
                {"max_norm": plain(max_norm), "norm_type": plain(norm_type)},
                norm_type,
            )

        return clip_grad_norm_

    def clip_with_norm(self, original: Any) -> Any:
        @functools.wraps(original)
        def clip_grads_with_norm_(parameters: Any, max_norm: Any, total_norm: Any, *args: Any, **kwargs: Any) -> Any:
            if self._recorder.running("clip") is not None:
                return original(parameters, max_norm, total_norm, *args, **kwargs)
            parameters = _listed(parameters)
            return self._clip(
                parameters,
                lambda: original(parameters, max_norm, total_norm, *args, **kwargs),
                {"max_norm": plain(max_norm), "norm_type": 2.0},
                2.0,
            )

        return clip_grads_with_norm_

    def clip_value(self, original: Any) -> Any:
        @functools.wraps(original)
        def clip_grad_value_(parameters: Any, clip_value: Any, *args: Any, **kwargs: Any) -> Any:
            if self._recorder.running("clip") is not None:
                return original(parameters, clip_value, *args, **kwargs)
            parameters = _listed(parameters)
            return self._clip(
                parameters,
                lambda: original(parameters, clip_value, *args, **kwargs),
                {"clip_value": plain(clip_value), "norm_type": 2.0},
                2.0,
            )

        return clip_grad_value_

    def _clip(self, parameters: Any, call: Callable[[], Any], detail: dict[str, Any], norm_type: Any) -> Any:
        recorder = self._recorder
        tensors = [parameters] if isinstance(parameters, torch.Tensor) else parameters

        def before(scope: Scope) -> None:
            known = [recorder.registry.of(t) for t in tensors if isinstance(t, torch.Tensor)]
            detail["parameters"] = [t.id for t in known if t is not None]
            if not any(map(is_spread, tensors)):
                detail["norm_before"] = total_norm(tensors, norm_type)
            scope.detail = detail

        def after(scope: Scope, result: Any) -> tuple[list[Change], int]:
            if "norm_before" in detail:
                detail["norm_after"] = total_norm(tensors, norm_type)
            elif isinstance(result, torch.Tensor):  # over shards only all processes together can tell: they just have
                detail["norm_before"] = reading(whole_number(result))
            return self._events.gradients(scope, result)

        return self._events.call("clip", None, call, before, after)


def total_norm(tensors: Any, norm_type: Any) -> Any:
    """The norm over all gradients as torch computes it; a number, or a tensor where reading it would wait."""
    gradients = [t.grad for t in tensors if isinstance(t, torch.Tensor) and t.grad is not None]
    if not gradients:
        return 0.0
    with torch.no_grad():
        norms = [torch.linalg.vector_norm(_values(g.detach()), float(norm_type)) for g in gradients]
        if len(norms) == 1:
            return reading(norms[0])
        first = norms[0].device
        return reading(torch.linalg.vector_norm(torch.stack([n.to(first) for n in norms]), float(norm_type)))


def _values(gradient: torch.Tensor) -> torch.Tensor:
    return gradient.coalesce().values() if gradient.layout is torch.sparse_coo else gradient


def _listed(parameters: Any) -> Any:
    """Parameters that can be gone through more than once."""
    return parameters if isinstance(parameters, torch.Tensor) else list(parameters)
