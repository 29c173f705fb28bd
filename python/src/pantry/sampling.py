"""How tokens are chosen: make_sampler and make_logits_processors with mlx_lm's arguments, run by pantry's samplers."""

from __future__ import annotations

import ctypes
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional

from . import _capi
from ._handle import texts
from .errors import UnsupportedError


@dataclass(frozen=True)
class Sampler:
    """Made by make_sampler. The library draws; this is not a function of logits."""

    temp: float = 0.0
    top_p: float = 0.0
    min_p: float = 0.0
    top_k: int = 0
    seed: Optional[int] = None  # None: another one for each answer
    more: tuple[tuple[str, Any], ...] = ()  # members of struct pantry_samplers


@dataclass(frozen=True)
class LogitsProcessor:
    """Made by make_logits_processors."""

    logit_bias: tuple[tuple[int, float], ...] = ()
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    context_size: int = 20


# mlx_lm's order, with pantry's further samplers before the ones that cut.
_ORDER = "penalties;dry;top_n_sigma;typ_p;top_p;min_p;xtc;top_k;temperature"
_MORE = {name for name, *_ in _capi.Samplers._fields_} - {
    "size",
    "order",
    "n_dry_breaker",
    "n_banned",
    "xtc_probability",
    "xtc_threshold",
}


def make_sampler(
    temp: float = 0.0,
    top_p: float = 0.0,
    min_p: float = 0.0,
    min_tokens_to_keep: int = 1,
    top_k: int = 0,
    xtc_probability: float = 0.0,
    xtc_threshold: float = 0.1,
    xtc_special_tokens: Optional[Sequence[int]] = None,
    *,
    seed: Optional[int] = None,
    **more: Any,
) -> Sampler:
    """temp 0 takes the likeliest token. `more` are members of struct pantry_samplers in pantry.h: typical_p,
    top_n_sigma, dry_multiplier, mirostat, banned and so on."""
    if min_tokens_to_keep != 1:
        raise UnsupportedError("make_sampler: min_tokens_to_keep is not supported: min_p always keeps one token")
    if xtc_special_tokens:
        raise UnsupportedError("make_sampler: xtc_special_tokens is not supported: xtc treats all tokens alike")
    for name in more:
        if name not in _MORE:
            raise TypeError(f"make_sampler() got an unexpected keyword argument {name!r}")
    if xtc_probability > 0:
        more.update(xtc_probability=xtc_probability, xtc_threshold=xtc_threshold)
    frozen = tuple((k, tuple(v) if isinstance(v, (list, tuple)) else v) for k, v in sorted(more.items()))
    return Sampler(temp, top_p, min_p, top_k, seed, frozen)


def make_logits_processors(
    logit_bias: Optional[Mapping[int, float]] = None,
    repetition_penalty: Optional[float] = None,
    repetition_context_size: Optional[int] = 20,
    presence_penalty: Optional[float] = None,
    presence_context_size: Optional[int] = 20,
    frequency_penalty: Optional[float] = None,
    frequency_context_size: Optional[int] = 20,
) -> list[LogitsProcessor]:
    """The context sizes of the penalties that are used must be equal."""
    rows = (
        (repetition_penalty, repetition_context_size),
        (presence_penalty, presence_context_size),
        (frequency_penalty, frequency_context_size),
    )
    sizes = {size for penalty, size in rows if penalty}
    if len(sizes) > 1:
        raise UnsupportedError("make_logits_processors: penalties with different context sizes are not supported")
    if not sizes and not logit_bias:
        return []
    size = sizes.pop() if sizes else 20
    bias = tuple(sorted((int(k), float(v)) for k, v in (logit_bias or {}).items()))
    processor = LogitsProcessor(bias, repetition_penalty or 1.0, presence_penalty or 0.0, frequency_penalty or 0.0)
    return [replace(processor, context_size=-1 if size is None else size)]


def fill(
    options: _capi.RequestOptions, sampler: Optional[Sampler], processors: Optional[Sequence[LogitsProcessor]]
) -> list[Any]:
    """Sets the members of a request's options; returns what must live until it is submitted."""
    sampler = sampler or Sampler()
    processors = list(processors or ())
    if not isinstance(sampler, Sampler):
        raise UnsupportedError("sampler: only what make_sampler returns is supported, not a function of logits")
    if len(processors) > 1 or not all(isinstance(p, LogitsProcessor) for p in processors):
        raise UnsupportedError("logits_processors: only what one make_logits_processors returns is supported")
    processor = processors[0] if processors else LogitsProcessor()
    more = _capi.Samplers()
    _capi.lib.pantry_samplers_init(more, ctypes.sizeof(more))
    more.order = _ORDER.encode()
    for name, value in sampler.more:
        if isinstance(value, tuple):
            setattr(more, "n_" + name, len(value))
            value = ctypes.cast(texts(value), ctypes.POINTER(ctypes.c_char_p))
        setattr(more, name, value)
    chosen = options.sampling
    chosen.temperature, chosen.top_k, chosen.min_p = sampler.temp, sampler.top_k, sampler.min_p
    chosen.top_p = sampler.top_p if 0 < sampler.top_p < 1 else 1
    chosen.repeat_penalty, chosen.penalty_last_n = processor.repetition_penalty, processor.context_size
    chosen.presence_penalty, chosen.frequency_penalty = processor.presence_penalty, processor.frequency_penalty
    chosen.seed = random.getrandbits(64) if sampler.seed is None else sampler.seed
    if sampler.temp or sampler.more:
        chosen.more = ctypes.pointer(more)
    bias = (_capi.LogitBias * len(processor.logit_bias))(*(_capi.LogitBias(*row) for row in processor.logit_bias))
    options.logit_bias, options.n_logit_bias = bias, len(bias)
    return [more, bias]
