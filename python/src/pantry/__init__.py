"""pantry: run open-weight language models on this machine. The names and arguments are mlx_lm's where it has them:

from pantry import load, generate
model, tokenizer = load("smollm2:135m")
print(generate(model, tokenizer, "The capital of France is", max_tokens=20))
"""

from . import errors
from ._capi import lib as _lib
from .aio import AsyncStream, achat, agenerate, astream_chat, astream_generate
from .cancel import Cancel
from .chat import ChatDelta, ChatResponse, ChatStream, Conversation, ToolCall, chat, generate_structured, stream_chat
from .decisions import decide
from .embedding import Embeddings, embed, rank
from .errors import PantryError
from .generate import (
    BatchResponse,
    BatchStats,
    GenerationResponse,
    GenerationStats,
    Stream,
    batch_generate,
    generate,
    stream_generate,
)
from .model import Model, ModelInfo, limit_memory, load
from .prompt_cache import PromptCache, load_prompt_cache, make_prompt_cache, save_prompt_cache, trim_prompt_cache
from .sampling import LogitsProcessor, Sampler, make_logits_processors, make_sampler
from .structured import Grammar
from .tokenizer import Tokenizer
from .tuning import TuneEvent, export_adapter, fuse, tune

__version__: str = _lib.pantry_version().decode()

__all__ = [
    "AsyncStream",
    "BatchResponse",
    "BatchStats",
    "Cancel",
    "ChatDelta",
    "ChatResponse",
    "ChatStream",
    "Conversation",
    "Embeddings",
    "GenerationResponse",
    "GenerationStats",
    "Grammar",
    "LogitsProcessor",
    "Model",
    "ModelInfo",
    "PantryError",
    "PromptCache",
    "Sampler",
    "Stream",
    "Tokenizer",
    "ToolCall",
    "TuneEvent",
    "__version__",
    "achat",
    "agenerate",
    "astream_chat",
    "astream_generate",
    "batch_generate",
    "chat",
    "decide",
    "embed",
    "errors",
    "export_adapter",
    "fuse",
    "generate",
    "generate_structured",
    "limit_memory",
    "load",
    "load_prompt_cache",
    "make_logits_processors",
    "make_prompt_cache",
    "make_sampler",
    "rank",
    "save_prompt_cache",
    "stream_chat",
    "stream_generate",
    "trim_prompt_cache",
    "tune",
]
