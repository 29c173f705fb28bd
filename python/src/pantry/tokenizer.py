"""Texts to tokens and back, and chat templates, with the names of Hugging Face's tokenizers."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Optional, Union, overload

from . import _capi
from ._handle import Owned, ids_array, take_text
from .errors import UnsupportedError, call

if TYPE_CHECKING:
    from .model import Model

Message = Mapping[str, Any]
Prompt = Union[str, Sequence[int]]


class Tokenizer:
    """The tokenizer of a model (`load`), or of a file alone (`Tokenizer.from_file`), which has no chat template."""

    def __init__(self, pointer: int, path: str, owner: Owned, model: Optional[Model]) -> None:
        self._pointer, self._path, self._owner, self._model = pointer, path, owner, model
        self._facts: Optional[dict[str, Any]] = None
        self._eos: Optional[set[int]] = None

    @classmethod
    def from_file(cls, path: str) -> Tokenizer:
        pointer = ctypes.c_void_p()
        call(_capi.lib.pantry_tokenizer_load, path.encode(), pointer)
        owner = Owned(pointer.value, _capi.lib.pantry_tokenizer_free)
        return cls(owner.pointer, path, owner, None)

    @property
    def _handle(self) -> int:
        self._owner.pointer  # raises if it is closed
        return self._pointer

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """The ids of a text. Special tokens in it, such as <|im_end|>, become those tokens."""
        data, ids, n = text.encode(), ctypes.POINTER(ctypes.c_int32)(), ctypes.c_size_t()
        flags = _capi.TOKENIZE_SPECIAL | (_capi.TOKENIZE_BOS if add_special_tokens else 0)
        call(_capi.lib.pantry_tokenize, self._handle, data, len(data), flags, ids, n)
        try:
            return ids[: n.value]
        finally:
            _capi.lib.pantry_free(ids)

    def decode(self, token_ids: Union[int, Iterable[int]], skip_special_tokens: bool = False) -> str:
        values = ids_array([token_ids] if isinstance(token_ids, int) else token_ids)
        text, n = ctypes.c_void_p(), ctypes.c_size_t()
        flags = 0 if skip_special_tokens else _capi.DETOKENIZE_SPECIAL
        call(_capi.lib.pantry_detokenize, self._handle, values, len(values), flags, text, n)
        return take_text(text, n.value)

    @overload
    def apply_chat_template(
        self,
        conversation: Sequence[Message],
        tools: Optional[Sequence[Mapping[str, Any]]] = ...,
        *,
        tokenize: Literal[False],
        add_generation_prompt: bool = ...,
        **variables: Any,
    ) -> str: ...
    @overload
    def apply_chat_template(
        self,
        conversation: Sequence[Message],
        tools: Optional[Sequence[Mapping[str, Any]]] = ...,
        *,
        tokenize: Literal[True] = ...,
        add_generation_prompt: bool = ...,
        **variables: Any,
    ) -> list[int]: ...

    def apply_chat_template(
        self,
        conversation: Sequence[Message],
        tools: Optional[Sequence[Mapping[str, Any]]] = None,
        *,
        tokenize: bool = True,
        add_generation_prompt: bool = False,
        **variables: Any,
    ) -> Union[str, list[int]]:
        """The prompt of a conversation: its ids, or its text with tokenize=False. `variables` go to the template
        (enable_thinking=False)."""
        if self._model is None:
            raise UnsupportedError("a tokenizer of a file has no chat template; load() gives one with it")
        context = {"messages": list(conversation), "add_generation_prompt": add_generation_prompt, **variables}
        if tools:
            context["tools"] = list(tools)
        text, n = ctypes.c_void_p(), ctypes.c_size_t()
        call(_capi.lib.pantry_model_render, self._model.pointer, json.dumps(context).encode(), text, n)
        rendered = take_text(text, n.value)
        return self.encode(rendered, add_special_tokens=False) if tokenize else rendered

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """The ids of a prompt as mlx_lm makes them: a text gets a beginning token unless it has one."""
        if isinstance(prompt, str):
            begins = bool(self.bos_token) and prompt.startswith(self.bos_token or "")
            return self.encode(prompt, add_special_tokens=not begins)
        return [int(token) for token in prompt]

    def _fact(self, name: str) -> Any:
        if self._facts is None:
            text = ctypes.c_void_p()
            call(_capi.lib.pantry_describe, self._path.encode(), text)
            self._facts = json.loads(take_text(text)).get("tokenizer", {})
        return (self._facts or {}).get(name)

    def _token(self, token: Optional[int]) -> Optional[str]:
        return None if token is None else self.decode(token)

    @property
    def bos_token_id(self) -> Optional[int]:
        token: Optional[int] = self._fact("bos")
        return token

    @property
    def eos_token_id(self) -> Optional[int]:
        token: Optional[int] = self._fact("eos")
        return token

    @property
    def bos_token(self) -> Optional[str]:
        return self._token(self.bos_token_id)

    @property
    def eos_token(self) -> Optional[str]:
        return self._token(self.eos_token_id)

    @property
    def eos_token_ids(self) -> set[int]:
        """All tokens that end an answer."""
        if self._eos is None:
            ends, handle = _capi.lib.pantry_token_ends_generation, self._handle
            self._eos = {token for token in range(len(self)) if ends(handle, token)}
        return self._eos

    @property
    def vocab_size(self) -> int:
        return int(self._fact("n_vocab") or 0)

    def __len__(self) -> int:
        return self.vocab_size

    @property
    def chat_template(self) -> Optional[str]:
        return self._model.template if self._model else None
