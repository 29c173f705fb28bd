"""generate, stream_generate and batch_generate, with mlx_lm's arguments."""

from __future__ import annotations

import ctypes
import resource
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Optional, Union

from . import _capi
from ._handle import Owned, ids_array, texts
from .cancel import Cancel
from .errors import UnsupportedError, call, error_of
from .model import Model
from .prompt_cache import PromptCache
from .sampling import LogitsProcessor, Sampler, fill
from .structured import Grammar
from .tokenizer import Prompt, Tokenizer

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._options import GenerateOptions, StreamOptions


# A wait in the library ends so often for the signals of Python (Ctrl-C).
_PATIENCE_MS = 100
_FINISH = {
    _capi.STOP["END"]: "stop",
    _capi.STOP["TEXT"]: "stop",
    _capi.STOP["LENGTH"]: "length",
    _capi.STOP["CANCELLED"]: "cancelled",
}
_RSS_BYTES = 1 if sys.platform == "darwin" else 1024
_NO_LOGPROBS: Mapping[int, float] = {}


def peak_memory() -> float:
    """The most memory that this process had so far, mapped weights included, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_BYTES / 1e9


@dataclass
class GenerationResponse:
    """One token, or the end of an answer.

    logprobs has the token and the likeliest ones, if `logprobs` asked for them. generation_tokens does not count the
    token that ends an answer. finish_reason is set in the last response: "stop", "length" or "cancelled"."""

    __slots__ = (
        "text",
        "token",
        "logprobs",
        "from_draft",
        "prompt_tokens",
        "prompt_tps",
        "generation_tokens",
        "generation_tps",
        "peak_memory",
        "finish_reason",
    )
    text: str
    token: int
    logprobs: Mapping[int, float]
    from_draft: bool
    prompt_tokens: int
    prompt_tps: float
    generation_tokens: int
    generation_tps: float
    peak_memory: float
    finish_reason: Optional[str]


@dataclass
class GenerationStats:
    """What the engine counted, after the end."""

    prompt_tokens: int = 0
    cached_tokens: int = 0  # of these, whose keys and values were in memory or on the disk
    generation_tokens: int = 0
    prompt_seconds: float = 0
    generation_seconds: float = 0


class Stream(Iterator[GenerationResponse]):
    """An answer while it is made. close() or the end of a `with` ends it; cancel(), from any thread, ends it within a
    step: what is ready still comes, then a last response with the finish reason "cancelled"."""

    def __init__(
        self,
        model: Model,
        tokenizer: Optional[Tokenizer],
        ids: list[int],
        options: _capi.RequestOptions,
        keep: list[Any],
        cache: Optional[PromptCache] = None,
        cancel: Optional[Cancel] = None,
        progress: Optional[Callable[[int, int], None]] = None,
    ) -> None:
        self._tokenizer, self._ids, self._cache, self._progress = tokenizer, ids, cache, progress
        self._pointer = ctypes.c_void_p()
        self._using, self._freeing = threading.Lock(), threading.RLock()  # cancel() may come from a signal
        self._max = options.max_tokens
        self._logprobs = bool(options.logprobs)
        self._made: list[int] = []
        self._held = ""  # text of no token, or of the last one
        self._last_logprobs = _NO_LOGPROBS
        self._ended = False
        self.stats = GenerationStats(prompt_tokens=len(ids))
        values = ids_array(ids)
        options.ids, options.n_ids = values, len(values)
        self._start = time.perf_counter()
        self._first = 0.0
        call(_capi.lib.pantry_submit, model.pointer, options, self._pointer)
        self._free_it = weakref.finalize(self, _capi.lib.pantry_request_free, self._pointer)
        keep.append(values)  # until here: the library has copied everything
        if cancel is not None:
            cancel.watch(self)

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> GenerationResponse:
        while True:
            response = self.next(_PATIENCE_MS)
            if response is not None:
                return response

    def next(self, timeout_ms: int) -> Optional[GenerationResponse]:
        """Waits at most so long for the next response."""
        with self._using:
            while True:
                if self._ended:
                    raise StopIteration
                event = _capi.lib.pantry_request_next(self._pointer, timeout_ms)
                if not event:
                    self._report()
                    return None
                event = event.contents
                response = self._token(event) if event.kind == _capi.EVENT_TOKEN else self._end(event)
                if response is not None:
                    return response

    def _report(self) -> None:
        if self._progress is not None and not self._made:
            read = ctypes.c_int()
            cached = ctypes.c_int()
            _capi.lib.pantry_request_progress(self._pointer, read, cached)
            self._progress(read.value, len(self._ids))

    def _token(self, event: Any) -> Optional[GenerationResponse]:
        token = event.token.contents
        text = ctypes.string_at(token.text, token.len).decode("utf-8", "replace") if token.len else ""
        if token.id < 0:
            self._held += text
            return None
        if not self._made:
            self._first = time.perf_counter()
            if self._progress is not None:
                self._progress(len(self._ids), len(self._ids))
        self._made.append(token.id)
        if self._logprobs:
            self._last_logprobs = {row.id: row.logprob for row in token.top[: token.n_top]}
            self._last_logprobs[token.id] = token.logprob
        if len(self._made) == self._max:  # the end follows at once, and the last response has both
            self._held += text
            return None
        return self._response(text, token.id, None)

    def _response(self, text: str, token: int, reason: Optional[str]) -> GenerationResponse:
        n, now = len(self._made), time.perf_counter()
        return GenerationResponse(
            text,
            token,
            self._last_logprobs,
            False,
            len(self._ids),
            len(self._ids) / max((self._first or now) - self._start, 1e-9),
            n,
            (n - 1) / max(now - self._first, 1e-9) if n > 1 else 0.0,
            peak_memory(),
            reason,
        )

    def _end(self, event: Any) -> GenerationResponse:
        self._ended = True
        status, message, stats = event.status, event.message, event.stats.contents
        stop = stats.stop
        self.stats = GenerationStats(
            stats.n_prompt, stats.n_cached, stats.n_generated, stats.prefill_seconds, stats.decode_seconds
        )
        self._free()
        if status:
            raise error_of(status, message)
        token = self._made[-1] if self._made else -1
        after = list(self._made)
        if stop == _capi.STOP["END"] and self._tokenizer is not None and self._tokenizer.eos_token_id is not None:
            token = self._tokenizer.eos_token_id
            after.append(token)
        if self._cache is not None:
            self._cache.tokens = self._ids + after
        if self._progress is not None and not self._made:
            self._progress(len(self._ids), len(self._ids))
        return self._response(self._held, token, _FINISH.get(stop, "stop"))

    @property
    def tokens(self) -> list[int]:
        """The ids of the answer so far."""
        return list(self._made)

    def cancel(self) -> None:
        with self._freeing:
            if self._pointer:
                _capi.lib.pantry_request_cancel(self._pointer)

    def close(self) -> None:
        self.cancel()
        with self._using:
            self._ended = True
            self._free()

    def _free(self) -> None:
        with self._freeing:
            self._pointer = ctypes.c_void_p()
            self._free_it()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass
class RequestSettings:
    """What a prompt needs besides its ids: the keyword arguments of stream_generate."""

    max_tokens: int = 256
    sampler: Optional[Sampler] = None
    logits_processors: Optional[Sequence[LogitsProcessor]] = None
    prompt_cache: Optional[PromptCache] = None
    prefill_step_size: int = 0
    prompt_progress_callback: Optional[Callable[[int, int], None]] = None
    seed: Optional[int] = None
    stop: Sequence[str] = ()
    grammar: Optional[Grammar] = None
    logprobs: Union[bool, int] = False
    think_budget: Optional[int] = None
    think_message: Optional[str] = None
    begin: Optional[str] = None
    n_context: int = 0
    ignore_eos: bool = False
    control_tokens: bool = False
    cancel: Optional[Cancel] = None
    prompt_handle: Optional[Owned] = field(default=None, repr=False)  # of a prompt with pictures


_REFUSED = {
    "max_kv_size": "a full context ends the answer; n_context bounds it",
    "kv_bits": "load(..., kv_type='q8_0') stores keys and values of all answers in 8 bits",
    "draft_model": "decoding does not use drafts",
    "input_embeddings": "prompts are texts or token ids",
}
# They say how MLX does something, or only have a meaning with what is refused.
_IGNORED = {"stream", "num_draft_tokens", "kv_group_size", "quantized_kv_start"}


def settings_of(call_name: str, arguments: dict[str, Any]) -> RequestSettings:
    given = {}
    for name, value in arguments.items():
        if name in _REFUSED:
            if value is not None:
                raise UnsupportedError(f"{call_name}: {name} is not supported: {_REFUSED[name]}")
        elif name not in _IGNORED:
            given[name] = value
    try:
        settings = RequestSettings(**given)
    except TypeError:
        unknown = next(name for name in given if name not in RequestSettings.__dataclass_fields__)
        raise TypeError(f"{call_name}() got an unexpected keyword argument {unknown!r}") from None
    if settings.max_tokens == 0 or settings.max_tokens < -1:
        raise ValueError(f"{call_name}: max_tokens must be positive, or -1 for no limit (found {settings.max_tokens})")
    return settings


def start(model: Model, tokenizer: Optional[Tokenizer], ids: list[int], settings: RequestSettings) -> Stream:
    s, options = settings, _capi.RequestOptions()
    _capi.lib.pantry_request_options_init(options, ctypes.sizeof(options))
    keep = fill(options, s.sampler, s.logits_processors)
    if s.seed is not None:
        options.sampling.seed = s.seed
    if s.prompt_cache is not None:
        ids = s.prompt_cache.tokens + ids
        options.cache_key = s.prompt_cache.key.encode()
    options.max_tokens = max(s.max_tokens, 0)
    options.n_batch, options.n_context = s.prefill_step_size, s.n_context
    options.ignore_eos, options.control_tokens = s.ignore_eos, s.control_tokens
    stops = texts([s.stop] if isinstance(s.stop, str) else s.stop)
    options.stop, options.n_stop = ctypes.cast(stops, ctypes.POINTER(ctypes.c_char_p)), len(stops)
    options.logprobs, options.top_logprobs = bool(s.logprobs), 0 if s.logprobs is True else int(s.logprobs)
    options.think_budget = -1 if s.think_budget is None else s.think_budget
    options.think_message = s.think_message.encode() if s.think_message is not None else None
    options.begin = s.begin.encode() if s.begin is not None else None
    options.grammar = s.grammar.pointer if s.grammar is not None else None
    options.prompt = s.prompt_handle.pointer if s.prompt_handle is not None else None
    keep.append(stops)
    return Stream(model, tokenizer, ids, options, keep, s.prompt_cache, s.cancel, s.prompt_progress_callback)


def stream_generate(
    model: Model, tokenizer: Tokenizer, prompt: Prompt, max_tokens: int = 256, **kwargs: Unpack[StreamOptions]
) -> Stream:
    """The answer to a prompt, token by token. max_tokens -1: until the model ends or the context is full.

    kwargs of mlx_lm: sampler, logits_processors, prompt_cache, prefill_step_size, prompt_progress_callback. Of pantry:
    seed, stop (texts), grammar, logprobs (True, or how many of the likeliest tokens besides), think_budget,
    think_message, begin, n_context, ignore_eos, control_tokens, cancel."""
    settings = settings_of("stream_generate", {"max_tokens": max_tokens, **kwargs})
    return start(model, tokenizer, tokenizer.prompt_ids(prompt), settings)


def generate(
    model: Model, tokenizer: Tokenizer, prompt: Prompt, verbose: bool = False, **kwargs: Unpack[GenerateOptions]
) -> str:
    """The whole answer to a prompt; `verbose` also prints it and its speed. kwargs: as stream_generate."""
    parts, response = [], None
    if verbose:
        print("=" * 10)
    with stream_generate(model, tokenizer, prompt, **kwargs) as stream:
        for response in stream:
            parts.append(response.text)
            if verbose:
                print(response.text, end="", flush=True)
    if verbose and response is not None:
        print(f"\n{'=' * 10}")
        print(f"Prompt: {response.prompt_tokens} tokens, {response.prompt_tps:.3f} tokens-per-sec")
        print(f"Generation: {response.generation_tokens} tokens, {response.generation_tps:.3f} tokens-per-sec")
        print(f"Peak memory: {response.peak_memory:.3f} GB")
    return "".join(parts)


@dataclass
class BatchStats:
    """Sums over a batch. prompt_time ends with its last first token, and generation_time goes on from there."""

    prompt_tokens: int = 0
    prompt_tps: float = 0
    prompt_time: float = 0
    generation_tokens: int = 0
    generation_tps: float = 0
    generation_time: float = 0
    peak_memory: float = 0


@dataclass
class BatchResponse:
    texts: list[str]
    stats: BatchStats
    caches: Optional[list[PromptCache]] = None
    token_ids: Optional[list[list[int]]] = None
    logprobs: Optional[list[list[float]]] = None


@dataclass
class _Answer:
    text: list[str] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    first: float = 0


class _Batch:
    """At most `width` prompts run together; the next one begins when one ends."""

    def __init__(self, begin: Callable[[int], Stream], n: int, width: int, verbose: bool) -> None:
        self.begin, self.width, self.verbose = begin, width, verbose
        self.waiting = list(range(n))[::-1]
        self.running: dict[int, Stream] = {}
        self.answers = [_Answer() for _ in range(n)]

    def run(self) -> None:
        try:
            while self.waiting or self.running:
                while self.waiting and len(self.running) < self.width:
                    i = self.waiting.pop()
                    self.running[i] = self.begin(i)
                took = [self.take(i) for i in list(self.running)]
                if not any(took):  # nothing is ready: the first one's next token is as good as any
                    self.take(next(iter(self.running)), _PATIENCE_MS)
        finally:
            for stream in self.running.values():
                stream.close()

    def take(self, i: int, patience: int = 0) -> bool:
        """Takes what is ready of an answer, or waits for its next token."""
        stream, answer, took = self.running[i], self.answers[i], False
        while (response := stream.next(patience)) is not None:
            took, patience = True, 0
            answer.text.append(response.text)
            answer.first = answer.first or time.perf_counter()
            if len(stream.tokens) > len(answer.tokens):
                answer.tokens.append(response.token)
                answer.logprobs.append(response.logprobs.get(response.token, 0.0))
            if response.finish_reason is not None:
                del self.running[i]
                self.show()
                break
        return took

    def show(self) -> None:
        if self.verbose:
            n = len(self.answers)
            print(f"[batch_generate] Finished processing {n - len(self.running) - len(self.waiting)}/{n} ...")


def batch_generate(
    model: Model,
    tokenizer: Tokenizer,
    prompts: Sequence[Sequence[int]],
    prompt_caches: Optional[Sequence[PromptCache]] = None,
    max_tokens: Union[int, Sequence[int]] = 128,
    verbose: bool = False,
    return_prompt_caches: bool = False,
    return_token_ids: bool = False,
    return_logprobs: bool = False,
    *,
    completion_batch_size: int = 32,
    prefill_batch_size: int = 0,
    **kwargs: Unpack[StreamOptions],
) -> BatchResponse:
    """The answers to many prompts, of which `completion_batch_size` share the steps of the model. Caches that are given
    stay as they are. kwargs: as stream_generate, for all prompts. `prefill_batch_size` changes nothing: the engine packs
    prompts into steps itself."""
    if completion_batch_size < 1:
        raise ValueError(f"completion_batch_size must be positive (found {completion_batch_size})")
    most = [max_tokens] * len(prompts) if isinstance(max_tokens, int) else list(max_tokens)
    for name, given in (("max_tokens", most), ("prompt_caches", prompt_caches or prompts)):
        if len(given) != len(prompts):
            raise ValueError(f"batch_generate: {len(given)} {name} for {len(prompts)} prompts")
    caches = [cache.copy() for cache in prompt_caches] if prompt_caches else [PromptCache() for _ in prompts]
    with_caches = bool(prompt_caches) or return_prompt_caches
    all_settings = [
        settings_of("batch_generate", {**kwargs, "max_tokens": n, "logprobs": return_logprobs}) for n in most
    ]

    def begin(i: int) -> Stream:
        settings, ids = all_settings[i], tokenizer.prompt_ids(prompts[i])
        settings.prompt_cache = caches[i] if with_caches else None
        if settings.max_tokens > 0 and not settings.n_context:  # no more memory than it can need
            settings.n_context = caches[i].offset + len(ids) + settings.max_tokens
        return start(model, tokenizer, ids, settings)

    batch, began = _Batch(begin, len(prompts), completion_batch_size, verbose), time.perf_counter()
    batch.run()
    ended, answers = time.perf_counter(), batch.answers
    prefilled = max((answer.first for answer in answers), default=ended)
    stats = BatchStats(sum(map(len, prompts)), 0, prefilled - began, sum(len(a.tokens) for a in answers))
    stats.generation_time, stats.peak_memory = ended - prefilled, peak_memory()
    stats.prompt_tps = stats.prompt_tokens / max(stats.prompt_time, 1e-9)
    stats.generation_tps = stats.generation_tokens / max(ended - began, 1e-9)
    if verbose:
        print(f"[batch_generate] Prompt: {stats.prompt_tokens} tokens, {stats.prompt_tps:.3f} tokens-per-sec")
        print(
            f"[batch_generate] Generation: {stats.generation_tokens} tokens, {stats.generation_tps:.3f} tokens-per-sec"
        )
        print(f"[batch_generate] Peak memory: {stats.peak_memory:.3f} GB")
    return BatchResponse(
        ["".join(answer.text) for answer in answers],
        stats,
        caches if return_prompt_caches else None,
        [answer.tokens for answer in answers] if return_token_ids else None,
        [answer.logprobs for answer in answers] if return_logprobs else None,
    )
