"""Ends long calls from another thread."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING

from . import _capi
from ._handle import Owned
from .errors import NoMemoryError

if TYPE_CHECKING:
    from .generate import Stream


class Cancel(Owned):
    """Pass it as `cancel` to any number of calls, and set() it from any thread: generations then end with what they have
    and the finish reason "cancelled", other calls raise CancelledError. It stays set until clear()."""

    def __init__(self) -> None:
        pointer = _capi.lib.pantry_cancel_new()
        if not pointer:
            raise NoMemoryError("out of memory for a cancel")
        super().__init__(pointer, _capi.lib.pantry_cancel_free)
        self._lock = threading.RLock()  # set() may come from a signal
        self._streams: weakref.WeakSet[Stream] = weakref.WeakSet()

    def set(self) -> None:
        with self._lock:
            _capi.lib.pantry_cancel_set(self.pointer)
            streams = list(self._streams)
        for stream in streams:
            stream.cancel()

    def clear(self) -> None:
        _capi.lib.pantry_cancel_clear(self.pointer)

    def is_set(self) -> bool:
        return bool(_capi.lib.pantry_cancel_is_set(self.pointer))

    def watch(self, stream: Stream) -> None:
        """Cancels the stream when this is set, or now."""
        with self._lock:
            self._streams.add(stream)
            now = self.is_set()
        if now:
            stream.cancel()
