"""Exceptions, with the server's words.

Every error of the engine is an OpenAutoGLMError.  Each is also the exception of
Python that a caller would expect: ValueError for what was asked wrongly,
MemoryError where memory is out, OSError for a model that cannot be opened.
"""

from __future__ import annotations

from typing import Any


class OpenAutoGLMError(Exception):
    """An error of the engine.

    status: of HTTP, as the server would answer; code: "context_length_exceeded"
    and the like, or ""; field: of the request at fault, or "".
    """

    def __init__(self, message: str, status: int = 400, code: str = "", field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.field = field

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.status, self.code, self.field)


class RequestError(OpenAutoGLMError, ValueError):
    """What was asked for is wrong: a value out of its range, an image that is none, a prompt that is too long."""


class OutOfMemoryError(OpenAutoGLMError, MemoryError):
    """There is no memory for this at the moment.  The model goes on with everything else."""


class BusyError(OpenAutoGLMError, RuntimeError):
    """So many requests run and wait that no other one is taken (max_num_seqs, max_queue)."""


class ClosedError(OpenAutoGLMError, RuntimeError):
    """The model was closed."""


class DeviceError(OpenAutoGLMError, RuntimeError):
    """The device has failed."""


class LoadError(OpenAutoGLMError, OSError):
    """The model cannot be opened: it is not there, is damaged, does not fit, or an option is wrong."""


def error_of(message: str, status: int, code: str, field: str) -> OpenAutoGLMError:
    """The exception for an error of the library."""
    if code == "closed":
        kind: type[OpenAutoGLMError] = ClosedError
    elif code == "out_of_memory":
        kind = OutOfMemoryError
    else:
        kind = {400: RequestError, 429: BusyError, 500: DeviceError}.get(status, OpenAutoGLMError)
    return kind(message, status, code, field)
