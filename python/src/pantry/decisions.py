"""Typed questions about a state, answered with probabilities."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Mapping
from typing import Any, Optional

from . import _capi
from ._handle import take_text, text_or_none
from .cancel import Cancel
from .errors import call
from .model import Model


def decide(
    model: Model, request: Mapping[str, Any], *, cache_key: Optional[str] = None, cancel: Optional[Cancel] = None
) -> dict[str, Any]:
    """`request` and the result are those of pantry_decide in pantry.h: {"state": ..., "questions": {name: question}},
    and {"answers": {name: answer}, "usage": ...}."""
    options, text = _capi.DecideOptions(), ctypes.c_void_p()
    _capi.lib.pantry_decide_options_init(options, ctypes.sizeof(options))
    options.cache_key, options.cancel = text_or_none(cache_key), cancel.pointer if cancel is not None else None
    call(_capi.lib.pantry_decide, model.pointer, json.dumps(request).encode(), options, text)
    answers: dict[str, Any] = json.loads(take_text(text))
    return answers
