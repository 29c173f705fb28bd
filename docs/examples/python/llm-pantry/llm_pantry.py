"""Models of this machine in Simon Willison's `llm`: chats and vectors, with schemas.

    pip install docs/examples/python/llm-pantry     # into the environment of llm, with pantry
    llm -m pantry/smollm2:135m "Why is the sky blue?"
    llm embed -m pantry/smollm2:135m -c "a cat"

LLM_PANTRY_MODELS names the models, separated by spaces: names of the store, files or folders."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, Optional, Union

import llm
import pantry
from llm.models import EmbeddingModel
from llm.parts import TextPart
from pydantic import Field

DEFAULT = "qwen2.5-coder:1.5b smollm2:135m"
load = lru_cache(maxsize=4)(pantry.load)


def names() -> list[str]:
    return os.environ.get("LLM_PANTRY_MODELS", DEFAULT).split()


@llm.hookimpl
def register_models(register: Callable[..., None]) -> None:
    for name in names():
        register(PantryModel(name))


@llm.hookimpl
def register_embedding_models(register: Callable[..., None]) -> None:
    for name in names():
        register(PantryEmbeddings(name))


class PantryModel(llm.Model):
    can_stream = True
    supports_schema = True

    class Options(llm.Options):
        max_tokens: int = Field(description="most tokens of an answer; -1: no limit", default=1024)
        temperature: float = Field(description="0: always the likeliest token", ge=0, default=0)
        top_p: float = Field(description="share of the likeliest tokens; 0: off", ge=0, le=1, default=0)
        seed: Optional[int] = Field(description="the same seed gives the same answer", default=None)

    def __init__(self, name: str) -> None:
        self.model_id, self.name = f"pantry/{name}", name

    def execute(self, prompt: Any, stream: bool, response: Any, conversation: Any) -> Iterator[str]:
        model, tokenizer = load(self.name)
        messages = [
            {"role": m.role, "content": "".join(part.text for part in m.parts if isinstance(part, TextPart))}
            for m in prompt.messages
        ]
        o = prompt.options
        sampler = pantry.make_sampler(o.temperature, o.top_p, seed=o.seed)
        settings: dict[str, Any] = {"max_tokens": o.max_tokens, "sampler": sampler}
        if model.template is None:  # a base model continues the text
            text = "\n".join(str(message["content"]) for message in messages)
            settings["grammar"] = pantry.Grammar.of(prompt.schema) if prompt.schema else None
            with pantry.stream_generate(model, tokenizer, text, **settings) as pieces:
                yield from (piece.text for piece in pieces)
            stats = pieces.stats
        else:
            with pantry.stream_chat(model, tokenizer, messages, response_format=prompt.schema, **settings) as parts:
                yield from (delta.content for delta in parts)
            stats = parts.response.stats
        response.set_usage(input=stats.prompt_tokens, output=stats.generation_tokens)


class PantryEmbeddings(EmbeddingModel):
    def __init__(self, name: str) -> None:
        self.model_id, self.name = f"pantry/{name}", name

    def embed_batch(self, items: Iterable[Union[str, bytes]], *, key: Optional[str] = None) -> Iterator[list[float]]:
        model, _ = load(self.name)
        texts = [item if isinstance(item, str) else item.decode() for item in items]
        return iter(pantry.embed(model, texts))
