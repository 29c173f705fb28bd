"""Finds libpantry: PANTRY_LIBRARY, the copy in this package, the build of a source tree, or the system's."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path

ABI = 0  # the number in the library's name; every version of it has these functions, or more


def library_name() -> str:
    return f"libpantry.{ABI}.dylib" if sys.platform == "darwin" else f"libpantry.so.{ABI}"


def _places() -> Iterator[str]:
    name, here = library_name(), Path(__file__).resolve().parent
    yield str(here / "lib" / name)
    root = here.parents[2]  # of a source tree: python/src/pantry
    if (root / "include" / "pantry.h").is_file():
        yield str(root / "build" / name)


def open_library() -> ctypes.CDLL:
    chosen = os.environ.get("PANTRY_LIBRARY")
    path = chosen or next(filter(os.path.exists, _places()), library_name())
    try:
        return ctypes.CDLL(path)
    except OSError as error:
        raise ImportError(f"libpantry cannot be loaded: {error}. PANTRY_LIBRARY names another file.") from error
