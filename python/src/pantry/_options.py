"""The keyword arguments of calls with many, for type checkers. A test compares them with what the calls take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Optional, TypedDict, Union

if TYPE_CHECKING:
    from ._handle import Owned
    from .cancel import Cancel
    from .prompt_cache import PromptCache
    from .sampling import LogitsProcessor, Sampler
    from .structured import Grammar, Schema


class AnswerOptions(TypedDict, total=False):
    """Of an answer, without its length."""

    sampler: Optional[Sampler]
    logits_processors: Optional[Sequence[LogitsProcessor]]
    prefill_step_size: int
    prompt_progress_callback: Optional[Callable[[int, int], None]]
    seed: Optional[int]
    stop: Sequence[str]
    logprobs: Union[bool, int]
    think_budget: Optional[int]
    think_message: Optional[str]
    begin: Optional[str]
    n_context: int
    ignore_eos: bool
    control_tokens: bool
    cancel: Optional[Cancel]
    prompt_handle: Optional[Owned]
    # mlx_lm's, refused unless they are None, or without a meaning here.
    max_kv_size: None
    kv_bits: None
    draft_model: None
    input_embeddings: None
    stream: Any
    num_draft_tokens: int
    kv_group_size: int
    quantized_kv_start: int


class StreamOptions(AnswerOptions, total=False):
    """Of stream_generate."""

    prompt_cache: Optional[PromptCache]
    grammar: Optional[Grammar]


class GenerateOptions(StreamOptions, total=False):
    """Of generate."""

    max_tokens: int


class ChatOptions(AnswerOptions, total=False):
    """Of chats, besides tools and the form of the answer."""

    max_tokens: int


class ChatArguments(ChatOptions, total=False):
    """Of chats."""

    tools: Optional[Sequence[Mapping[str, Any]]]
    tool_choice: Union[str, Mapping[str, Any]]
    response_format: Optional[Union[Grammar, Schema]]
    template_kwargs: Optional[Mapping[str, Any]]


class LoadOptions(TypedDict, total=False):
    """Members of struct pantry_model_options."""

    device: Optional[str]
    n_threads: int
    isa: Optional[str]
    rope_scaling: Optional[str]
    rope_factor: float
    rope_freq_base: float
    kv_type: Optional[str]
    n_context: int
    gpu_layers: int
    chat_template: Optional[str]
    default_chat_template: Optional[str]
    cache_dir: Optional[str]
    cache_bytes: int
    projector: Optional[str]


class TuneOptions(TypedDict, total=False):
    """Members of struct pantry_tune_options."""

    valid: Optional[str]
    resume_adapter: Optional[str]
    kind: str
    optimizer: str
    schedule: str
    keys: Optional[str]
    learning_rate: float
    end_rate: float
    clip: float
    scale: float
    iters: int
    batch_size: int
    max_length: int
    accumulation: int
    warmup: int
    rank: int
    n_layers: int
    eval_every: int
    val_batches: int
    patience: int
    save_every: int
    mask_prompt: bool
    given_order: bool
    resume: bool
    seed: int
    device: Optional[str]
    isa: Optional[str]
    n_threads: int
    lr_schedule: Optional[str]
    optimizer_config: Optional[str]
    long_rows: Optional[str]
    prompt_feature: Optional[str]
    completion_feature: Optional[str]
    chat_feature: Optional[str]
    text_feature: Optional[str]
    dropout: float
    valid_split: float
    test_batches: int
    report_every: int
    test: bool
    no_train: bool
    grad_checkpoint: bool
