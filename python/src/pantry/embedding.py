"""Vectors of texts, and texts ordered by a query."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Iterator, Sequence
from typing import Any, Optional, Union

from . import _capi
from .cancel import Cancel
from .errors import InvalidError, call
from .model import Model

Text = Union[str, Sequence[int]]


class Embeddings(Sequence[list[float]]):
    """Rows of float32. numpy.asarray(embeddings) shares the memory; `n_tokens` has the tokens of each input."""

    def __init__(self, struct: _capi.Embeddings) -> None:
        self._struct = struct
        self.shape: tuple[int, int] = (struct.n_rows, struct.n_dimensions)
        self.truncated: bool = struct.truncated
        weakref.finalize(self, _capi.lib.pantry_embeddings_free, struct)

    def __len__(self) -> int:
        return self.shape[0]

    def n_tokens(self, n_inputs: int) -> list[int]:
        values: list[int] = self._struct.n_tokens[:n_inputs]
        return values

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        if not -len(self) <= i < len(self):
            raise IndexError(f"row {i} of {len(self)}")
        at = (i % len(self)) * self.shape[1]
        return self._struct.rows[at : at + self.shape[1]]

    def __iter__(self) -> Iterator[list[float]]:
        return (self[i] for i in range(len(self)))

    def tolist(self) -> list[list[float]]:
        return list(self)

    @property
    def __array_interface__(self) -> dict[str, Any]:
        address = ctypes.cast(self._struct.rows, ctypes.c_void_p).value or 0
        return {"version": 3, "shape": self.shape, "typestr": "<f4", "data": (address, False)}


def _inputs(texts: Sequence[Text]) -> tuple[Any, list[Any]]:
    """An array of inputs, and what it points to."""
    keep: list[Any] = []
    rows = (_capi.Input * len(texts))()
    for row, text in zip(rows, texts):
        if isinstance(text, str):
            data = text.encode()
            row.text, row.len = data, len(data)
            keep.append(data)
        else:
            ids = (ctypes.c_int32 * len(text))(*text)
            row.ids, row.n_ids = ids, len(text)
            keep.append(ids)
    return rows, keep


def _options(
    pooling: str,
    normalize: bool,
    dimensions: int,
    max_tokens: int,
    truncate: bool,
    plain: bool,
    cancel: Optional[Cancel],
) -> _capi.EmbedOptions:
    if pooling not in _capi.POOLING:
        raise InvalidError(f"pooling: {pooling!r} is not one of {', '.join(_capi.POOLING)}")
    options = _capi.EmbedOptions()
    _capi.lib.pantry_embed_options_init(options, ctypes.sizeof(options))
    options.pooling, options.normalize, options.dimensions = _capi.POOLING[pooling], normalize, dimensions
    options.max_tokens, options.truncate, options.plain_text = max_tokens, truncate, plain
    options.cancel = cancel.pointer if cancel is not None else None
    return options


def embed(
    model: Model,
    texts: Union[str, Sequence[Text]],
    *,
    pooling: str = "auto",
    normalize: bool = True,
    dimensions: int = 0,
    max_tokens: int = 0,
    truncate: bool = False,
    plain_text: bool = False,
    cancel: Optional[Cancel] = None,
) -> Embeddings:
    """One row per text (or list of ids); with pooling "none" one per token. The arguments are the members of struct
    pantry_embed_options in pantry.h."""
    many: Sequence[Text] = [texts] if isinstance(texts, str) else list(texts)
    options = _options(pooling, normalize, dimensions, max_tokens, truncate, plain_text, cancel)
    rows, _keep = _inputs(many)
    out = _capi.Embeddings(size=ctypes.sizeof(_capi.Embeddings))
    call(_capi.lib.pantry_embed, model.pointer, rows, len(many), options, out)
    return Embeddings(out)


def rank(
    model: Model,
    query: str,
    documents: Sequence[str],
    *,
    pooling: str = "auto",
    dimensions: int = 0,
    max_tokens: int = 0,
    truncate: bool = False,
    plain_text: bool = False,
    cancel: Optional[Cancel] = None,
) -> list[float]:
    """How well each document answers the query, in their order; higher is better."""
    options = _options(pooling, True, dimensions, max_tokens, truncate, plain_text, cancel)
    (rows, _keep), (asked, _text) = _inputs(list(documents)), _inputs([query])
    scores = (ctypes.c_float * len(documents))()
    call(_capi.lib.pantry_rank, model.pointer, asked, rows, len(documents), options, scores)
    return list(scores)
