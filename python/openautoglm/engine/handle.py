"""A model that is open in the library, for any number of threads, until it is closed.

Closing cancels what runs and waits for nobody: the thread that is the last to
leave the library frees the model.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import weakref
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from . import library
from .errors import ClosedError, LoadError


class Info(NamedTuple):
    """What a model is.

    folder: where it was read from; type: model_type of its config.json; device:
    "cpu" or "cuda"; context: most tokens of a prompt and its answer; max_requests:
    computed at the same time; vocabulary: token ids are below it; image_token:
    stands in every place of an image, -1 for a model that takes none; width:
    floats of an image token's features.
    """

    folder: str
    type: str
    device: str
    context: int
    max_requests: int
    vocabulary: int
    image_token: int
    width: int


class Handle:
    """Owns a struct openautoglm.  Use its pointer within `with handle.use() as pointer`."""

    def __init__(self, name: str | os.PathLike[str], weights: bool, options: Mapping[str, Any]) -> None:
        self.ffi, self.lib = library.load()
        given = {key: os.fspath(v) if isinstance(v, os.PathLike) else v for key, v in options.items()}
        error = self.ffi.new("struct openautoglm_error *")
        opens = self.lib.openautoglm_open if weights else self.lib.openautoglm_open_tokenizer
        pointer = opens(os.fspath(name).encode(), json.dumps(given).encode(), error)
        if not pointer:
            raise LoadError(library.text_of(self.ffi, error.message), int(error.status),
                            library.text_of(self.ffi, error.code), library.text_of(self.ffi, error.field))
        self._state = _State(self.lib, pointer)
        self._finalizer = weakref.finalize(self, self._state.close)
        self.info = self._read_info(pointer)

    def _read_info(self, pointer: Any) -> Info:
        about = self.ffi.new("struct openautoglm_info *")
        self.lib.openautoglm_about(pointer, about)

        def text(chars: Any) -> str:
            return library.text_of(self.ffi, chars)

        return Info(text(about.folder), text(about.type), text(about.device), int(about.context),
                    int(about.max_requests), int(about.vocabulary), int(about.image_token), int(about.width))

    @property
    def closed(self) -> bool:
        """Was it closed?"""
        return self._state.closed

    def close(self) -> None:
        """Ends what runs, and frees the model.  A second call does nothing."""
        self._finalizer()

    @contextlib.contextmanager
    def use(self) -> Iterator[Any]:
        """The pointer, which stays valid for the block.  ClosedError: it was closed before."""
        self._state.enter()
        try:
            yield self._state.pointer
        finally:
            self._state.leave()

    def watch(self, answer: Any) -> None:
        """From now on closing cancels this answer."""
        self._state.add(answer)

    def unwatch(self, answer: Any) -> None:
        """The answer is about to be freed."""
        self._state.remove(answer)


class _State:
    """What a Handle shares with its finalizer, which must not keep the Handle alive."""

    def __init__(self, lib: Any, pointer: Any) -> None:
        self.lib = lib
        self.pointer = pointer
        self.closed = False
        self.users = 0
        self.answers: set[Any] = set()
        self.lock = threading.RLock()      # a finalizer may run in the midst of a call of the same thread

    def enter(self) -> None:
        with self.lock:
            if self.closed:
                raise ClosedError("the model was closed", 503, "closed")
            self.users += 1

    def leave(self) -> None:
        with self.lock:
            self.users -= 1
            last = self.closed and self.users == 0
        if last:
            self.lib.openautoglm_close(self.pointer)

    def add(self, answer: Any) -> None:
        with self.lock:
            self.answers.add(answer)
            if self.closed:
                self.lib.openautoglm_cancel(answer)

    def remove(self, answer: Any) -> None:
        with self.lock:
            self.answers.discard(answer)

    def close(self) -> None:
        with self.lock:
            if self.closed:
                return
            self.closed = True
            for a in self.answers:
                self.lib.openautoglm_cancel(a)
            last = self.users == 0
        if last:
            self.lib.openautoglm_close(self.pointer)
