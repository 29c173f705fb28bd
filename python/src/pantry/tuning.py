"""Fine-tuning, and what is done with its adapters."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional

from . import _capi
from ._handle import Owned
from .cancel import Cancel
from .errors import CancelledError, InvalidError, call

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._options import TuneOptions


@dataclass(frozen=True)
class TuneEvent:
    """`kind`: "planned", "step", "validation", "saved" or "test". The others are the members of struct
    pantry_tune_event in pantry.h."""

    kind: str
    iter: int
    n_iters: int
    loss: float
    learning_rate: float
    tokens: int
    n_cut: int
    seconds: float
    memory: int
    n_trained: int
    n_rows: int
    n_left_out: int
    due: bool
    mean_loss: float
    best: bool


TuneCallback = Callable[[TuneEvent], Optional[bool]]
_KNOWN = {name for name, *_ in _capi.TuneOptions._fields_} - {"size", "callback", "user"}


class _Config(Owned):
    def __init__(self, path: str) -> None:
        pointer = ctypes.c_void_p()
        call(_capi.lib.pantry_tune_file_open, os.fsencode(path), pointer)
        super().__init__(pointer.value, _capi.lib.pantry_tune_file_free)

    @property
    def model(self) -> Optional[str]:
        model = _capi.lib.pantry_tune_file_model(self.pointer)
        return os.fsdecode(model) if model is not None else None


def _event(struct: Any) -> TuneEvent:
    values = {name: getattr(struct, name) for name, *_ in struct._fields_}
    return TuneEvent(**{**values, "kind": _capi.TUNE_KIND.get(struct.kind, str(struct.kind))})


def tune(
    model: Optional[str] = None,
    data: Optional[str] = None,
    adapter_path: Optional[str] = None,
    *,
    config: Optional[str] = None,
    callback: Optional[TuneCallback] = None,
    cancel: Optional[Cancel] = None,
    **options: Unpack[TuneOptions],
) -> TuneEvent:
    """Trains an adapter of the model at a path and writes it as mlx_lm does; returns the last event.

    `config` is a YAML file as mlx_lm.lora reads it; arguments go before it. `options` are members of struct
    pantry_tune_options in pantry.h: iters, batch_size, learning_rate, kind, rank, n_layers and so on. The callback gets
    each event; returning False, or setting the Cancel, ends the call with CancelledError after the step."""
    given = {**options, "data": data, "adapter_path": adapter_path}
    for name in options:
        if name not in _KNOWN:
            raise TypeError(f"tune() got an unexpected keyword argument {name!r}")
    struct = _capi.TuneOptions()
    _capi.lib.pantry_tune_options_init(struct, ctypes.sizeof(struct))
    file = _Config(config) if config is not None else None
    if file is not None:
        _capi.lib.pantry_tune_file_apply(file.pointer, struct)
    for name, value in given.items():
        if value is not None:
            setattr(struct, name, os.fsencode(value) if isinstance(value, (str, os.PathLike)) else value)
    path = model if model is not None else file.model if file is not None else None
    if path is None:
        raise InvalidError("tune: neither the call nor its config names a model")
    last: list[TuneEvent] = []
    raised: list[BaseException] = []

    def report(_user: Optional[int], event: Any) -> bool:
        try:
            last[:] = [_event(event.contents)]
            go_on = callback(last[0]) is not False if callback is not None else True
            return go_on and not (cancel is not None and cancel.is_set())
        except BaseException as error:  # it goes through the library, which stops
            raised.append(error)
            return False

    struct.callback = _capi.TuneCallback(report)
    try:
        call(_capi.lib.pantry_tune, os.fsencode(path), struct)
    except CancelledError:
        if raised:
            raise raised[0] from None
        raise
    return last[0]


def fuse(model: str, adapter: str, out: str) -> None:
    """Writes a Hugging Face or MLX directory whose weights have the adapter in them."""
    call(_capi.lib.pantry_fuse, os.fsencode(model), os.fsencode(adapter), os.fsencode(out))


def export_adapter(model: str, adapter: str, format: str, out: str) -> None:
    """Writes an adapter as "gguf" (a file, for llama.cpp) or "peft" (a folder)."""
    arguments = (os.fsencode(model), os.fsencode(adapter), format.encode(), os.fsencode(out))
    call(_capi.lib.pantry_export_adapter, *arguments)
