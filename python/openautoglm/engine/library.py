"""libopenautoglm.so through cffi: where it is, and what its header declares.

The declarations are those of openautoglm.h, which lies beside the library in an
installed package, so that nothing is said twice.  Every call lets other threads
of Python run.
"""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from .errors import error_of

PACKAGE = Path(__file__).resolve().parent.parent
CHECKOUT = PACKAGE.parent.parent
NAME = "libopenautoglm.so"


class Library(NamedTuple):
    """The loaded library, and the cffi object that knows its types.  Both are without types of their own."""

    ffi: Any
    lib: Any


def _places() -> list[tuple[Path, Path]]:
    """Where library and header may be: named by the environment, in the package, in a checkout of the sources."""
    places = [(PACKAGE / "lib" / NAME, PACKAGE / "lib" / "openautoglm.h"),
              (CHECKOUT / "build" / NAME, CHECKOUT / "library" / "openautoglm.h")]
    named = os.environ.get("OPENAUTOGLM_LIBRARY")
    if named:
        return [(Path(named), header) for _, header in places]
    return places


def _declarations(header: str) -> str:
    """A C header without what only the preprocessor understands."""
    header = re.sub(r"#ifdef __cplusplus.*?#endif", "", header, flags=re.S)
    header = re.sub(r"^#.*$", "", header, flags=re.M)
    return header.replace("OPENAUTOGLM_API ", "")


@functools.cache
def load() -> Library:
    """Loads the library once.  ImportError: it is not there, or what it needs is not."""
    try:
        import cffi
    except ImportError as e:
        raise ImportError("openautoglm needs the package cffi to run models: pip install cffi") from e
    for path, header in _places():
        if path.exists() and header.exists():
            ffi = cffi.FFI()
            ffi.cdef(_declarations(header.read_text()))
            try:
                return Library(ffi, ffi.dlopen(str(path)))
            except OSError as e:
                raise ImportError(f"{path} cannot be loaded: {e}") from e
    tried = ", ".join(str(path) for path, _ in _places())
    raise ImportError(f"there is no {NAME} (looked for {tried}): `make library` builds it, and OPENAUTOGLM_LIBRARY "
                      "may name it")


def version() -> str:
    """The version of the engine, "0.1.0"."""
    ffi, lib = load()
    return str(ffi.string(lib.openautoglm_version()).decode())


def text_of(ffi: Any, chars: Any) -> str:
    """A C string that may be NULL."""
    return str(ffi.string(chars).decode("utf-8", "replace")) if chars else ""


def raise_error(ffi: Any, error: Any) -> NoReturn:
    """Raises what a struct openautoglm_error says."""
    raise error_of(text_of(ffi, error.message), int(error.status), text_of(ffi, error.code),
                   text_of(ffi, error.field))
