"""An exception class for each pantry_status. Each is a PantryError, and what Python raises for the same mistake."""

from __future__ import annotations

from typing import Any, ClassVar

from . import _capi


class PantryError(Exception):
    """`status` is the number in pantry.h; the text is one sentence that says what is wrong, and where."""

    status: ClassVar[int]


class InvalidError(PantryError, ValueError):
    """An argument is wrong."""

    status = -1


class FormatError(PantryError, ValueError):
    """A file or text is malformed."""

    status = -2


class UnsupportedError(PantryError, NotImplementedError):
    """Well-formed, but not supported here."""

    status = -3


class NotFoundError(PantryError, FileNotFoundError):
    """No such file, model or device."""

    status = -4


class InputOutputError(PantryError, OSError):
    """Reading or writing failed."""

    status = -5


class NoMemoryError(PantryError, MemoryError):
    """It does not fit into memory."""

    status = -6


class LimitError(PantryError):
    """A bound on work or size was reached."""

    status = -7


class CancelledError(PantryError):
    """A Cancel was set. Generations return what they have instead."""

    status = -8


class ContextFullError(PantryError, ValueError):
    """The prompt, or an input, does not fit the context."""

    status = -9


class TemplateRaisedError(PantryError, ValueError):
    """The chat template refuses the messages; the text is its message."""

    status = -10


class InternalError(PantryError, RuntimeError):
    """A mistake of the library."""

    status = -11


BY_STATUS: dict[int, type[PantryError]] = {
    kind.status: kind
    for kind in (
        InvalidError,
        FormatError,
        UnsupportedError,
        NotFoundError,
        InputOutputError,
        NoMemoryError,
        LimitError,
        CancelledError,
        ContextFullError,
        TemplateRaisedError,
        InternalError,
    )
}


def error_of(status: int, text: bytes) -> PantryError:
    return BY_STATUS.get(status, InternalError)(text.decode("utf-8", "replace"))


def call(function: Any, *arguments: Any) -> None:
    """Calls a function whose last argument is the error, and raises it."""
    error = _capi.Error()
    if function(*arguments, error):
        raise error_of(error.status, error.text)
