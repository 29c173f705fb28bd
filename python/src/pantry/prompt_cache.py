"""Prompt caches with mlx_lm's names. The engine keeps keys and values of prompts itself; a PromptCache says which tokens
a conversation has, and shares memory with no other one."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Mapping
from typing import Optional, Union

from .errors import FormatError, UnsupportedError
from .model import Model

_numbers = itertools.count(1)


class PromptCache:
    """The tokens that a conversation has so far. Prompts with it continue them."""

    def __init__(self, key: Optional[str] = None, tokens: tuple[int, ...] = ()) -> None:
        self.key = key or f"python-{os.getpid()}-{next(_numbers)}"
        self.tokens: list[int] = list(tokens)

    @property
    def offset(self) -> int:
        return len(self.tokens)

    def copy(self) -> PromptCache:
        """Goes on from the same tokens, whose memory both share."""
        return PromptCache(self.key, tuple(self.tokens))


def make_prompt_cache(model: Model, max_kv_size: Optional[int] = None) -> PromptCache:
    if max_kv_size is not None:
        raise UnsupportedError("make_prompt_cache: max_kv_size is not supported: a full context ends the answer")
    return PromptCache()


def can_trim_prompt_cache(cache: PromptCache) -> bool:
    return True


def trim_prompt_cache(cache: PromptCache, num_tokens: int) -> int:
    """Forgets the last tokens; returns how many."""
    n = min(max(num_tokens, 0), cache.offset)
    del cache.tokens[cache.offset - n :]
    return n


def save_prompt_cache(file_name: str, cache: PromptCache, metadata: Optional[Mapping[str, str]] = None) -> None:
    """Writes its tokens, not their keys and values: those are computed again, or come from the folder `cache_dir` of the
    model."""
    with open(file_name, "w", encoding="utf-8") as file:
        json.dump({"format": "pantry prompt cache", "tokens": cache.tokens, "metadata": dict(metadata or {})}, file)


def load_prompt_cache(
    file_name: str, return_metadata: bool = False
) -> Union[PromptCache, tuple[PromptCache, dict[str, str]]]:
    try:
        with open(file_name, encoding="utf-8") as file:
            saved = json.load(file)
        cache, metadata = PromptCache(tokens=tuple(int(i) for i in saved["tokens"])), dict(saved["metadata"])
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{file_name}: not a prompt cache of pantry ({error})") from error
    return (cache, metadata) if return_metadata else cache
