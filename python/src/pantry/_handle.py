"""Owning pointers of the library, and texts that it returns."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Iterable
from typing import Any, Optional

from . import _capi


class Owned:
    """Frees a handle of the library when it is collected, or by close()."""

    def __init__(self, pointer: Any, free: Any) -> None:
        self._pointer: Optional[int] = pointer
        self._finalizer = weakref.finalize(self, free, pointer)

    @property
    def pointer(self) -> int:
        if self._pointer is None:
            raise ValueError(f"this {type(self).__name__} is closed")
        return self._pointer

    def close(self) -> None:
        self._pointer = None
        self._finalizer()


def take_text(pointer: Any, length: Optional[int] = None) -> str:
    """A text that the library returned, which is freed. `pointer`: a c_void_p."""
    try:
        return (ctypes.string_at(pointer.value, -1 if length is None else length)).decode("utf-8", "replace")
    finally:
        _capi.lib.pantry_free(pointer)


def text_or_none(text: Optional[str]) -> Optional[bytes]:
    return None if text is None else text.encode()


def texts(values: Iterable[str]) -> Any:
    """An array of C strings."""
    data = [value.encode() for value in values]
    return (ctypes.c_char_p * len(data))(*data)


def ids_array(ids: Iterable[int]) -> Any:
    data = list(ids)
    return (ctypes.c_int32 * len(data))(*data)
