"""Answers that have a form: a JSON schema, a pydantic model, a regular expression, or a grammar in llama.cpp's notation."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Mapping
from typing import Any, Optional, Union

from . import _capi
from ._handle import Owned
from .errors import InvalidError, call

Schema = Union[str, Mapping[str, Any], type]  # JSON, its value, or a pydantic model


def is_pydantic(schema: object) -> bool:
    return isinstance(schema, type) and hasattr(schema, "model_json_schema") and hasattr(schema, "model_validate_json")


class Grammar(Owned):
    """Which texts an answer may be. Any number of threads and answers may use one."""

    def __init__(self, kind: str, source: str, whitespace: str = "flexible", closed: bool = False) -> None:
        if whitespace not in _capi.WHITESPACE:
            raise InvalidError(f"whitespace: {whitespace!r} is not one of {', '.join(_capi.WHITESPACE)}")
        options, pointer, data = _capi.GrammarOptions(), ctypes.c_void_p(), source.encode()
        _capi.lib.pantry_grammar_options_init(options, ctypes.sizeof(options))
        options.whitespace, options.closed = _capi.WHITESPACE[whitespace], closed
        call(_capi.lib.pantry_grammar_new, _capi.GRAMMAR[kind], data, len(data), options, pointer)
        super().__init__(pointer.value, _capi.lib.pantry_grammar_free)

    @classmethod
    def json_schema(cls, schema: Schema, whitespace: str = "flexible", closed: bool = False) -> Grammar:
        """The JSON texts of a schema's values (draft 2020-12). `closed`: no properties that it does not name."""
        return cls("SCHEMA", schema_text(schema), whitespace, closed)

    @classmethod
    def regex(cls, pattern: str) -> Grammar:
        """The texts that the pattern matches as a whole."""
        return cls("REGEX", pattern)

    @classmethod
    def gbnf(cls, source: str) -> Grammar:
        return cls("GBNF", source)

    @classmethod
    def json(cls, whitespace: str = "flexible") -> Grammar:
        """Any JSON value."""
        return cls("JSON", "", whitespace)

    @classmethod
    def of(cls, form: Union[Grammar, Schema]) -> Grammar:
        """A schema is closed here: models would add properties for ever."""
        return form if isinstance(form, Grammar) else cls.json_schema(form, closed=True)

    @classmethod
    def adopt(cls, pointer: int) -> Grammar:
        """Owns a grammar of the library."""
        grammar = cls.__new__(cls)
        Owned.__init__(grammar, pointer, _capi.lib.pantry_grammar_free)
        return grammar

    def accepts(self, text: str) -> bool:
        accepted, data = ctypes.c_bool(), text.encode()
        call(_capi.lib.pantry_grammar_accepts, self.pointer, data, len(data), accepted)
        return accepted.value


def schema_text(schema: Schema) -> str:
    if isinstance(schema, str):
        return schema
    if isinstance(schema, Mapping):
        return json.dumps(schema)
    if is_pydantic(schema):
        return json.dumps(schema.model_json_schema())  # type: ignore[attr-defined]
    raise InvalidError(f"a schema is JSON, a dict or a pydantic model (found {schema!r})")


def parse_answer(text: str, schema: Optional[Any]) -> Any:
    """The value of an answer: an instance of a pydantic model, or what json.loads gives."""
    return schema.model_validate_json(text) if schema is not None and is_pydantic(schema) else json.loads(text)
