"""pantry.h for ctypes: the structs and functions that the package uses, in the header's order.

`python/tests/test_capi.py` compares every size, offset and number of arguments with the header. CDLL releases the GIL
during each call."""

from __future__ import annotations

import ctypes
from ctypes import (
    CFUNCTYPE,
    POINTER,
    c_bool,
    c_char,
    c_char_p,
    c_double,
    c_float,
    c_int,
    c_int32,
    c_int64,
    c_size_t,
    c_uint,
    c_uint64,
    c_void_p,
)
from typing import Any, ClassVar

from ._library import open_library

Handle = c_void_p
Status = c_int


class Struct(ctypes.Structure):
    """`c_name` is the struct's name in pantry.h."""

    c_name: ClassVar[str]


class Error(Struct):
    c_name = "pantry_error"
    _fields_ = [("status", Status), ("text", c_char * 1024)]


class ModelOptions(Struct):
    c_name = "pantry_model_options"
    _fields_ = [
        ("size", c_size_t),
        ("device", c_char_p),
        ("n_threads", c_int),
        ("isa", c_char_p),
        ("rope_scaling", c_char_p),
        ("rope_factor", c_float),
        ("rope_freq_base", c_float),
        ("kv_type", c_char_p),
        ("n_context", c_int),
        ("gpu_layers", c_int),
        ("chat_template", c_char_p),
        ("default_chat_template", c_char_p),
        ("cache_dir", c_char_p),
        ("cache_bytes", c_uint64),
        ("adapters", POINTER(c_char_p)),
        ("projector", c_char_p),
        ("maybe_projector", c_char_p),
    ]


class ModelInfo(Struct):
    c_name = "pantry_model_info"
    _fields_ = [
        ("size", c_size_t),
        ("architecture", c_char_p),
        ("name", c_char_p),
        ("license", c_char_p),
        ("format", c_char_p),
        ("tokenizer", c_char_p),
        ("device", c_char_p),
        ("n_params", c_uint64),
        ("size_bytes", c_uint64),
        ("step_bytes", c_uint64),
        ("n_vocab", c_int),
        ("n_layer", c_int),
        ("n_embd", c_int),
        ("n_head", c_int),
        ("n_head_kv", c_int),
        ("n_ff", c_int),
        ("n_context_train", c_int),
        ("has_tokenizer", c_bool),
        ("generates", c_bool),
        ("ranks", c_bool),
        ("n_embedding", c_int),
        ("pooling", c_int),
        ("sees", c_bool),
        ("device_bandwidth", c_double),
    ]


class TuneEvent(Struct):
    c_name = "pantry_tune_event"
    _fields_ = [
        ("kind", c_int),
        ("iter", c_int),
        ("n_iters", c_int),
        ("loss", c_double),
        ("learning_rate", c_float),
        ("tokens", c_int64),
        ("n_cut", c_int64),
        ("seconds", c_double),
        ("memory", c_uint64),
        ("n_trained", c_int64),
        ("n_rows", c_int64),
        ("n_left_out", c_int64),
        ("due", c_bool),
        ("mean_loss", c_double),
        ("best", c_bool),
    ]


TuneCallback = CFUNCTYPE(c_bool, c_void_p, POINTER(TuneEvent))


class TuneOptions(Struct):
    c_name = "pantry_tune_options"
    _fields_ = [
        ("size", c_size_t),
        ("data", c_char_p),
        ("valid", c_char_p),
        ("adapter_path", c_char_p),
        ("resume_adapter", c_char_p),
        ("kind", c_char_p),
        ("optimizer", c_char_p),
        ("schedule", c_char_p),
        ("keys", c_char_p),
        ("learning_rate", c_float),
        ("end_rate", c_float),
        ("clip", c_float),
        ("scale", c_float),
        ("iters", c_int),
        ("batch_size", c_int),
        ("max_length", c_int),
        ("accumulation", c_int),
        ("warmup", c_int),
        ("rank", c_int),
        ("n_layers", c_int),
        ("eval_every", c_int),
        ("val_batches", c_int),
        ("patience", c_int),
        ("save_every", c_int),
        ("mask_prompt", c_bool),
        ("given_order", c_bool),
        ("resume", c_bool),
        ("seed", c_uint64),
        ("device", c_char_p),
        ("isa", c_char_p),
        ("n_threads", c_int),
        ("callback", TuneCallback),
        ("user", c_void_p),
        ("lr_schedule", c_char_p),
        ("optimizer_config", c_char_p),
        ("long_rows", c_char_p),
        ("prompt_feature", c_char_p),
        ("completion_feature", c_char_p),
        ("chat_feature", c_char_p),
        ("text_feature", c_char_p),
        ("dropout", c_float),
        ("valid_split", c_float),
        ("test_batches", c_int),
        ("report_every", c_int),
        ("test", c_bool),
        ("no_train", c_bool),
        ("grad_checkpoint", c_bool),
    ]


class ParseEvent(Struct):
    c_name = "pantry_parse_event"
    _fields_ = [
        ("kind", c_int),
        ("text", c_void_p),
        ("len", c_size_t),
        ("name", c_char_p),
        ("arguments", c_char_p),
        ("id", c_char_p),
    ]


ParseCallback = CFUNCTYPE(None, c_void_p, POINTER(ParseEvent))
FetchCallback = CFUNCTYPE(None, c_void_p, c_uint64, c_uint64)


class Samplers(Struct):
    c_name = "pantry_samplers"
    _fields_ = [
        ("size", c_size_t),
        ("order", c_char_p),
        ("dynatemp_range", c_float),
        ("dynatemp_exponent", c_float),
        ("typical_p", c_float),
        ("top_n_sigma", c_float),
        ("xtc_probability", c_float),
        ("xtc_threshold", c_float),
        ("dry_multiplier", c_float),
        ("dry_base", c_float),
        ("dry_allowed_length", c_int),
        ("dry_penalty_last_n", c_int),
        ("dry_breaker", POINTER(c_char_p)),
        ("n_dry_breaker", c_size_t),
        ("mirostat", c_int),
        ("mirostat_tau", c_float),
        ("mirostat_eta", c_float),
        ("adaptive_target", c_float),
        ("adaptive_decay", c_float),
        ("banned", POINTER(c_char_p)),
        ("n_banned", c_size_t),
    ]


class Sampling(Struct):
    c_name = "pantry_sampling"
    _fields_ = [
        ("temperature", c_float),
        ("top_k", c_int),
        ("top_p", c_float),
        ("min_p", c_float),
        ("repeat_penalty", c_float),
        ("frequency_penalty", c_float),
        ("presence_penalty", c_float),
        ("penalty_last_n", c_int),
        ("seed", c_uint64),
        ("more", POINTER(Samplers)),
        ("reserved", c_uint64 * 5),
    ]


class LogitBias(Struct):
    c_name = "pantry_logit_bias"
    _fields_ = [("id", c_int32), ("bias", c_float)]


class Stats(Struct):
    c_name = "pantry_stats"
    _fields_ = [
        ("size", c_size_t),
        ("n_prompt", c_int),
        ("n_cached", c_int),
        ("n_generated", c_int),
        ("load_seconds", c_double),
        ("prefill_seconds", c_double),
        ("decode_seconds", c_double),
        ("first_token_seconds", c_double),
        ("bytes_per_token", c_double),
        ("stop", c_int),
        ("n_loaded", c_int),
        ("n_steps", c_int),
        ("device_bandwidth", c_double),
    ]


class Logprob(Struct):
    c_name = "pantry_logprob"
    _fields_ = [("id", c_int32), ("logprob", c_float)]


class Token(Struct):
    c_name = "pantry_token"
    _fields_ = [
        ("id", c_int32),
        ("text", c_void_p),
        ("len", c_size_t),
        ("logprob", c_float),
        ("n_top", c_int),
        ("top", POINTER(Logprob)),
    ]


class RequestOptions(Struct):
    c_name = "pantry_request_options"
    _fields_ = [
        ("size", c_size_t),
        ("ids", POINTER(c_int32)),
        ("n_ids", c_size_t),
        ("sampling", Sampling),
        ("max_tokens", c_int),
        ("n_context", c_int),
        ("n_batch", c_int),
        ("ignore_eos", c_bool),
        ("stop", POINTER(c_char_p)),
        ("n_stop", c_size_t),
        ("cache_key", c_char_p),
        ("logprobs", c_bool),
        ("top_logprobs", c_int),
        ("logit_bias", POINTER(LogitBias)),
        ("n_logit_bias", c_size_t),
        ("think_budget", c_int),
        ("think_message", c_char_p),
        ("end_thinking", Handle),
        ("begin", c_char_p),
        ("grammar", Handle),
        ("prompt", Handle),
        ("control_tokens", c_bool),
    ]


class Event(Struct):
    c_name = "pantry_event"
    _fields_ = [
        ("kind", c_int),
        ("token", POINTER(Token)),
        ("status", Status),
        ("message", c_char_p),
        ("stats", POINTER(Stats)),
    ]


class Input(Struct):
    c_name = "pantry_input"
    _fields_ = [("text", c_char_p), ("len", c_size_t), ("ids", POINTER(c_int32)), ("n_ids", c_size_t)]


class EmbedOptions(Struct):
    c_name = "pantry_embed_options"
    _fields_ = [
        ("size", c_size_t),
        ("pooling", c_int),
        ("normalize", c_bool),
        ("dimensions", c_int),
        ("max_tokens", c_int),
        ("truncate", c_bool),
        ("plain_text", c_bool),
        ("n_batch", c_int),
        ("cancel", Handle),
    ]


class Embeddings(Struct):
    c_name = "pantry_embeddings"
    _fields_ = [
        ("size", c_size_t),
        ("rows", POINTER(c_float)),
        ("n_rows", c_size_t),
        ("n_dimensions", c_int),
        ("n_tokens", POINTER(c_int)),
        ("truncated", c_bool),
        ("seconds", c_double),
    ]


class GrammarOptions(Struct):
    c_name = "pantry_grammar_options"
    _fields_ = [("size", c_size_t), ("whitespace", c_int), ("closed", c_bool)]


class DecideOptions(Struct):
    c_name = "pantry_decide_options"
    _fields_ = [("size", c_size_t), ("cache_key", c_char_p), ("cancel", Handle)]


STRUCTS: list[type[Struct]] = [
    Error,
    ModelOptions,
    ModelInfo,
    TuneEvent,
    TuneOptions,
    ParseEvent,
    Samplers,
    Sampling,
    LogitBias,
    Stats,
    Logprob,
    Token,
    RequestOptions,
    Event,
    Input,
    EmbedOptions,
    Embeddings,
    GrammarOptions,
    DecideOptions,
]

# Enumerations: the prefix of their constants in pantry.h, and the numbers by name.
ENUMS: dict[str, dict[str, int]] = {
    "PANTRY_": {
        "OK": 0,
        "INVALID": -1,
        "FORMAT": -2,
        "UNSUPPORTED": -3,
        "NOT_FOUND": -4,
        "IO": -5,
        "NO_MEMORY": -6,
        "LIMIT": -7,
        "CANCELLED": -8,
        "CONTEXT_FULL": -9,
        "RAISED": -10,
        "INTERNAL": -11,
    },
    "PANTRY_POOLING_": {"AUTO": 0, "MEAN": 1, "CLS": 2, "LAST": 3, "NONE": 4},
    "PANTRY_TUNE_": {"STEP": 0, "VALIDATION": 1, "SAVED": 2, "PLANNED": 3, "TEST": 4},
    "PANTRY_TOKENIZE_": {"SPECIAL": 1, "BOS": 2},
    "PANTRY_DETOKENIZE_": {"SPECIAL": 1},
    "PANTRY_TOOL_": {"AUTO": 0, "REQUIRED": 1, "NONE": 2},
    "PANTRY_PARSE_": {"REASONING": 0, "CONTENT": 1, "TOOL_CALL": 2},
    "PANTRY_STOP_": {"NONE": 0, "END": 1, "TEXT": 2, "LENGTH": 3, "CANCELLED": 4, "CALLBACK": 5},
    "PANTRY_EVENT_": {"TOKEN": 0, "END": 1},
    "PANTRY_GRAMMAR_": {"SCHEMA": 0, "GBNF": 1, "REGEX": 2, "JSON": 3, "JSON_OBJECT": 4},
    "PANTRY_WHITESPACE_": {"FLEXIBLE": 0, "COMPACT": 1, "INDENTED": 2},
}

POOLING = {name.lower(): number for name, number in ENUMS["PANTRY_POOLING_"].items()}
TUNE_KIND = {number: name.lower() for name, number in ENUMS["PANTRY_TUNE_"].items()}
TOOL_CHOICE = {name.lower(): number for name, number in ENUMS["PANTRY_TOOL_"].items()}
WHITESPACE = {name.lower(): number for name, number in ENUMS["PANTRY_WHITESPACE_"].items()}
STOP = ENUMS["PANTRY_STOP_"]
GRAMMAR = ENUMS["PANTRY_GRAMMAR_"]
PARSE = ENUMS["PANTRY_PARSE_"]
TOKENIZE_SPECIAL, TOKENIZE_BOS, DETOKENIZE_SPECIAL = 1, 2, 1
EVENT_TOKEN = ENUMS["PANTRY_EVENT_"]["TOKEN"]

_error = POINTER(Error)
_out = POINTER(Handle)
_ids = POINTER(c_int32)
_len = POINTER(c_size_t)

# Name: (result, arguments). Texts that the library returns are c_void_p where they must be freed.
FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "pantry_version": (c_char_p, []),
    "pantry_free": (None, [c_void_p]),
    "pantry_cancel_new": (Handle, []),
    "pantry_cancel_set": (None, [Handle]),
    "pantry_cancel_clear": (None, [Handle]),
    "pantry_cancel_is_set": (c_bool, [Handle]),
    "pantry_cancel_free": (None, [Handle]),
    "pantry_find": (Status, [c_char_p, c_bool, Handle, FetchCallback, c_void_p, _out, _error]),
    "pantry_stored_path": (c_char_p, [Handle]),
    "pantry_stored_template": (c_char_p, [Handle]),
    "pantry_stored_default_template": (c_char_p, [Handle]),
    "pantry_stored_projector": (c_char_p, [Handle]),
    "pantry_stored_adapter": (c_char_p, [Handle, c_size_t]),
    "pantry_stored_conversation": (Status, [Handle, c_char_p, _out, _error]),
    "pantry_stored_free": (None, [Handle]),
    "pantry_model_options_init": (None, [POINTER(ModelOptions), c_size_t]),
    "pantry_model_load": (Status, [c_char_p, POINTER(ModelOptions), _out, _error]),
    "pantry_model_synthetic": (Status, [c_char_p, POINTER(ModelOptions), _out, _error]),
    "pantry_model_free": (None, [Handle]),
    "pantry_model_info": (Status, [Handle, POINTER(ModelInfo), _error]),
    "pantry_describe": (Status, [c_char_p, _out, _error]),
    "pantry_tune_options_init": (None, [POINTER(TuneOptions), c_size_t]),
    "pantry_tune": (Status, [c_char_p, POINTER(TuneOptions), _error]),
    "pantry_tune_file_open": (Status, [c_char_p, _out, _error]),
    "pantry_tune_file_apply": (None, [Handle, POINTER(TuneOptions)]),
    "pantry_tune_file_model": (c_char_p, [Handle]),
    "pantry_tune_file_free": (None, [Handle]),
    "pantry_export_adapter": (Status, [c_char_p, c_char_p, c_char_p, c_char_p, _error]),
    "pantry_fuse": (Status, [c_char_p, c_char_p, c_char_p, _error]),
    "pantry_limit_memory": (None, [c_uint64]),
    "pantry_tokenizer_load": (Status, [c_char_p, _out, _error]),
    "pantry_tokenizer_free": (None, [Handle]),
    "pantry_model_tokenizer": (Handle, [Handle]),
    "pantry_tokenize": (Status, [Handle, c_char_p, c_size_t, c_uint, POINTER(_ids), _len, _error]),
    "pantry_detokenize": (Status, [Handle, _ids, c_size_t, c_uint, _out, _len, _error]),
    "pantry_token_ends_generation": (c_bool, [Handle, c_int32]),
    "pantry_model_template": (c_void_p, [Handle, _len]),
    "pantry_model_render": (Status, [Handle, c_char_p, _out, _len, _error]),
    "pantry_parser_new": (
        Status,
        [c_char_p, c_size_t, c_char_p, c_char_p, c_size_t, c_uint, c_int, ParseCallback, c_void_p, _out, _error],
    ),
    "pantry_parser_push": (Status, [Handle, c_char_p, c_size_t, _error]),
    "pantry_parser_finish": (Status, [Handle, _error]),
    "pantry_parser_free": (None, [Handle]),
    "pantry_prompt_chat": (Status, [Handle, c_char_p, _out, _out, _len, _error]),
    "pantry_prompt_ids": (_ids, [Handle, _len]),
    "pantry_prompt_free": (None, [Handle]),
    "pantry_samplers_init": (None, [POINTER(Samplers), c_size_t]),
    "pantry_sampling_default": (Sampling, []),
    "pantry_request_options_init": (None, [POINTER(RequestOptions), c_size_t]),
    "pantry_submit": (Status, [Handle, POINTER(RequestOptions), _out, _error]),
    "pantry_request_next": (POINTER(Event), [Handle, c_int]),
    "pantry_request_progress": (None, [Handle, POINTER(c_int), POINTER(c_int)]),
    "pantry_request_cancel": (None, [Handle]),
    "pantry_request_free": (None, [Handle]),
    "pantry_embed_options_init": (None, [POINTER(EmbedOptions), c_size_t]),
    "pantry_embed": (
        Status,
        [Handle, POINTER(Input), c_size_t, POINTER(EmbedOptions), POINTER(Embeddings), _error],
    ),
    "pantry_embeddings_free": (None, [POINTER(Embeddings)]),
    "pantry_rank": (
        Status,
        [Handle, POINTER(Input), POINTER(Input), c_size_t, POINTER(EmbedOptions), POINTER(c_float), _error],
    ),
    "pantry_grammar_options_init": (None, [POINTER(GrammarOptions), c_size_t]),
    "pantry_grammar_new": (Status, [c_int, c_char_p, c_size_t, POINTER(GrammarOptions), _out, _error]),
    "pantry_grammar_free": (None, [Handle]),
    "pantry_grammar_for_tools": (Status, [Handle, c_char_p, c_char_p, c_bool, c_bool, _out, _error]),
    "pantry_grammar_for_answer": (Status, [Handle, Handle, c_char_p, c_bool, _out, _error]),
    "pantry_grammar_accepts": (Status, [Handle, c_char_p, c_size_t, POINTER(c_bool), _error]),
    "pantry_decide_options_init": (None, [POINTER(DecideOptions), c_size_t]),
    "pantry_decide": (Status, [Handle, c_char_p, POINTER(DecideOptions), _out, _error]),
}


def _declare() -> ctypes.CDLL:
    library = open_library()
    for name, (result, arguments) in FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


lib = _declare()
