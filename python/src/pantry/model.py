"""Models, and `load`."""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Optional, Union, overload

from . import _capi
from ._handle import Owned, take_text, text_or_none, texts
from .cancel import Cancel
from .errors import InvalidError, NotFoundError, UnsupportedError, call
from .tokenizer import Message, Tokenizer

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._options import LoadOptions


Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ModelInfo:
    """What pantry_model_info says; pantry.h describes the members."""

    architecture: str
    name: str
    license: str
    format: str
    tokenizer: str
    device: str
    n_params: int
    size_bytes: int
    step_bytes: int
    n_vocab: int
    n_layer: int
    n_embd: int
    n_head: int
    n_head_kv: int
    n_ff: int
    n_context_train: int
    has_tokenizer: bool
    generates: bool
    ranks: bool
    n_embedding: int
    pooling: int
    sees: bool
    device_bandwidth: float


class Model(Owned):
    """A loaded model. Any number of threads may use it at once."""

    def __init__(
        self, path: str, options: _capi.ModelOptions, stored: Optional[Stored], synthetic: bool = False
    ) -> None:
        pointer = ctypes.c_void_p()
        load_it = _capi.lib.pantry_model_synthetic if synthetic else _capi.lib.pantry_model_load
        call(load_it, path.encode(), options, pointer)
        super().__init__(pointer.value, _capi.lib.pantry_model_free)
        self.path, self._stored = path, stored
        info = _capi.ModelInfo(size=ctypes.sizeof(_capi.ModelInfo))
        call(_capi.lib.pantry_model_info, self.pointer, info)
        values: dict[str, Any] = {name: getattr(info, name) for name, *_ in info._fields_ if name != "size"}
        values.update({name: value.decode() for name, value in values.items() if isinstance(value, bytes)})
        self.info = ModelInfo(**values)

    @classmethod
    def synthetic(cls, spec: str, n_threads: int = 0) -> Model:
        """A model with the shape of a known one and random weights ("smollm2-135m:q4_0"); it has no tokenizer."""
        return cls(spec, _model_options(n_threads=n_threads), None, synthetic=True)

    @property
    def template(self) -> Optional[str]:
        """The source of its chat template."""
        n = ctypes.c_size_t()
        text = _capi.lib.pantry_model_template(self.pointer, n)
        return ctypes.string_at(text, n.value).decode() if text else None

    @property
    def tokenizer(self) -> Tokenizer:
        pointer = _capi.lib.pantry_model_tokenizer(self.pointer)
        if not pointer:
            raise UnsupportedError(f"{self.path}: the model has no tokenizer")
        return Tokenizer(pointer, self.path, self, self)

    def conversation(self, messages: Sequence[Message]) -> list[Message]:
        """The messages with what a model of the store carries before them: its system message, for example."""
        return self._stored.conversation(messages) if self._stored else list(messages)

    def describe(self) -> dict[str, Any]:
        """The file as `pantry show --json` describes it."""
        text = ctypes.c_void_p()
        call(_capi.lib.pantry_describe, self.path.encode(), text)
        described: dict[str, Any] = json.loads(take_text(text))
        return described


class Stored(Owned):
    """What a name means, and what that model carries besides its weights."""

    def __init__(self, name: str, fetch: bool, cancel: Optional[Cancel], progress: Optional[Progress]) -> None:
        def report(_user: Optional[int], done: int, total: int) -> None:
            if progress is not None:
                progress(done, total)

        pointer, callback = ctypes.c_void_p(), _capi.FetchCallback(report)
        stop = cancel.pointer if cancel else None
        call(_capi.lib.pantry_find, name.encode(), fetch, stop, callback, None, pointer)
        super().__init__(pointer.value, _capi.lib.pantry_stored_free)

    def __getitem__(self, what: str) -> Optional[bytes]:
        text: Optional[bytes] = getattr(_capi.lib, f"pantry_stored_{what}")(self.pointer)
        return text

    @property
    def path(self) -> str:
        return os.fsdecode(self["path"] or b"")

    @property
    def adapters(self) -> list[str]:
        found: list[str] = []
        while (path := _capi.lib.pantry_stored_adapter(self.pointer, len(found))) is not None:
            found.append(os.fsdecode(path))
        return found

    def conversation(self, messages: Sequence[Message]) -> list[Message]:
        text = ctypes.c_void_p()
        call(_capi.lib.pantry_stored_conversation, self.pointer, json.dumps(list(messages)).encode(), text)
        found: list[Message] = json.loads(take_text(text))
        return found


def _find(name: str, fetch: bool, cancel: Optional[Cancel], progress: Optional[Progress]) -> Stored:
    """USER/REPO is a repository of Hugging Face, as in mlx_lm, unless the store or a folder has that name."""
    if name.count("/") != 1 or os.path.exists(name) or name.startswith((".", "/", "~")):
        return Stored(name, fetch, cancel, progress)
    try:
        return Stored(name, False, None, None)
    except NotFoundError:
        return Stored(f"hf.co/{name}", fetch, cancel, progress)


def _model_options(**options: Any) -> _capi.ModelOptions:
    out = _capi.ModelOptions()
    _capi.lib.pantry_model_options_init(out, ctypes.sizeof(out))
    for name, value in options.items():
        setattr(out, name, text_or_none(value) if isinstance(value, str) else value)
    return out


def _refuse(name: str, why: str) -> None:
    raise UnsupportedError(f"load: {name} is not supported: {why}")


@overload
def load(
    path_or_hf_repo: str,
    tokenizer_config: Optional[Mapping[str, Any]] = ...,
    model_config: Optional[Mapping[str, Any]] = ...,
    adapter_path: Optional[str] = ...,
    lazy: bool = ...,
    return_config: Literal[False] = ...,
    revision: Optional[str] = ...,
    trust_remote_code: bool = ...,
    **options: Unpack[LoadOptions],
) -> tuple[Model, Tokenizer]: ...
@overload
def load(
    path_or_hf_repo: str,
    tokenizer_config: Optional[Mapping[str, Any]] = ...,
    model_config: Optional[Mapping[str, Any]] = ...,
    adapter_path: Optional[str] = ...,
    lazy: bool = ...,
    *,
    return_config: Literal[True],
    revision: Optional[str] = ...,
    trust_remote_code: bool = ...,
    **options: Unpack[LoadOptions],
) -> tuple[Model, Tokenizer, dict[str, Any]]: ...


def load(
    path_or_hf_repo: str,
    tokenizer_config: Optional[Mapping[str, Any]] = None,
    model_config: Optional[Mapping[str, Any]] = None,
    adapter_path: Optional[str] = None,
    lazy: bool = False,
    return_config: bool = False,
    revision: Optional[str] = None,
    trust_remote_code: bool = False,
    *,
    adapters: Sequence[str] = (),
    fetch: bool = True,
    cancel: Optional[Cancel] = None,
    progress: Optional[Progress] = None,
    **options: Unpack[LoadOptions],
) -> Union[tuple[Model, Tokenizer], tuple[Model, Tokenizer, dict[str, Any]]]:
    """Loads a model: a name of the store, a GGUF file, a Hugging Face or MLX directory, or USER/REPO on Hugging Face.

    `adapters` are "PATH" or "PATH=SCALE"; `adapter_path` is one of them. `fetch`: download what is not here, and call
    progress(done, total) meanwhile. `options` are members of struct pantry_model_options in pantry.h: device,
    n_threads, isa, rope_scaling, rope_factor, rope_freq_base, kv_type, n_context, gpu_layers, chat_template,
    cache_dir, cache_bytes, projector. `lazy` and `trust_remote_code` change nothing: weights are mapped, and no code
    of a model is ever run."""
    settings = dict(tokenizer_config or {})
    settings.pop("trust_remote_code", None)
    options.setdefault("chat_template", settings.pop("chat_template", None))
    wanted_eos = settings.pop("eos_token", None)
    for name in settings:
        _refuse(f"tokenizer_config[{name!r}]", "the tokenizer is as the model's file says")
    if model_config:
        _refuse("model_config", "the model is as its file says; the options of pantry_model_options change some of it")
    if revision is not None:
        _refuse("revision", "download it and give its path")
    known = {name for name, *_ in _capi.ModelOptions._fields_} - {"size", "maybe_projector", "adapters"}
    for name in options:
        if name not in known:
            raise TypeError(f"load() got an unexpected keyword argument {name!r}")
    stored = _find(os.fspath(path_or_hf_repo), fetch, cancel, progress)
    files = [*stored.adapters, *([adapter_path] if adapter_path else []), *adapters]
    struct = _model_options(**options)
    struct.chat_template = struct.chat_template or stored["template"]
    struct.default_chat_template = struct.default_chat_template or stored["default_template"]
    struct.maybe_projector = None if struct.projector else stored["projector"]
    struct.adapters = ctypes.cast((list_ := texts(files + [""])), ctypes.POINTER(ctypes.c_char_p))
    list_[len(files)] = None
    model = Model(stored.path, struct, stored)
    tokenizer = model.tokenizer
    if wanted_eos is not None and tokenizer.encode(wanted_eos, False) not in [[i] for i in tokenizer.eos_token_ids]:
        raise InvalidError(f"load: eos_token {wanted_eos!r} is not a token that ends this model's answers")
    return (model, tokenizer, model.describe()) if return_config else (model, tokenizer)


def limit_memory(bytes_: int) -> None:
    """The most bytes that all models of this process may use together; 0: what the system has."""
    _capi.lib.pantry_limit_memory(bytes_)
