"""Several answers at a time: begun together, read as they come, cancelled when the caller leaves."""

from __future__ import annotations

import collections
import select
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import images, library
from .errors import ClosedError, error_of
from .handle import Handle
from .inputs import Row

# Whoever waits looks up this often (ms).  A signal ends a wait at once; where none comes to this thread, because Python
# handles signals in another one, nothing has to be waited for.
LOOK_UP = 200

OnText = Callable[[int, str, "list[int]"], None]


class Answer:
    """What has come of one answer so far.

    tokens and logprobs belong together; logprobs stays empty where none were
    asked for.  finish_reason: "stop" or "length".  numbers: of a computation.
    """

    def __init__(self) -> None:
        self.text = ""
        self.tokens: list[int] = []
        self.logprobs: list[float] = []
        self.finish_reason = ""
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.seconds = 0.0
        self.numbers: npt.NDArray[np.float32] | None = None


def prompt_of(handle: Handle, pointer: Any, row: Row) -> Any:
    """A struct openautoglm_prompt of tokens and the pixels of their images."""
    ffi, lib = handle.ffi, handle.lib
    error = ffi.new("struct openautoglm_error *")
    given, _keep = images.fill(ffi, [images.Picture(None, p) for p in row.images])
    ids = ffi.from_buffer("int32_t[]", row.ids)
    prompt = lib.openautoglm_prompt_tokens(pointer, ids, len(row.ids), given, len(row.images), error)
    if not prompt:
        library.raise_error(ffi, error)
    return prompt


Begin = Callable[[Any, Any, Any], Any]     # model, prompt, error -> answer


class _Running:
    """The answers that are being computed.  Leaving the block frees them, which cancels those that still run."""

    def __init__(self, handle: Handle, pointer: Any, begin: Begin) -> None:
        self.handle = handle
        self.pointer = pointer
        self.how = begin
        self.answers: dict[int, tuple[int, Any]] = {}      # descriptor -> row, answer
        self.poll = select.poll()

    def __enter__(self) -> _Running:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in list(self.answers):
            self.end(fd)

    def begin(self, index: int, row: Row) -> None:
        """Begins the answer to a row."""
        error = self.handle.ffi.new("struct openautoglm_error *")
        answer = self.how(self.pointer, prompt_of(self.handle, self.pointer, row), error)
        if not answer:
            library.raise_error(self.handle.ffi, error)
        fd = int(self.handle.lib.openautoglm_descriptor(answer))
        self.answers[fd] = index, answer
        self.poll.register(fd, select.POLLIN)
        self.handle.watch(answer)

    def end(self, fd: int) -> None:
        """Frees an answer."""
        _, answer = self.answers.pop(fd)
        self.poll.unregister(fd)
        self.handle.unwatch(answer)
        self.handle.lib.openautoglm_answer_free(answer)

    def ready(self) -> Iterator[tuple[int, int, Any]]:
        """Descriptor, row and answer of those that have something new."""
        for fd, _ in self.poll.poll(LOOK_UP):
            yield fd, *self.answers[fd]


def _take(handle: Handle, event: Any, out: Answer) -> tuple[str, list[int]]:
    """Adds an event to what has come; its text and tokens."""
    ffi, lib = handle.ffi, handle.lib
    if event.kind == lib.OPENAUTOGLM_FAILED:
        library.raise_error(ffi, event.error)
    text = ffi.buffer(event.text, event.n_text)[:].decode()
    tokens = ffi.unpack(event.tokens, event.n_tokens) if event.n_tokens else []
    out.text += text
    out.tokens += tokens
    if event.logprobs:
        out.logprobs += ffi.unpack(event.logprobs, event.n_tokens)
    if event.kind == lib.OPENAUTOGLM_END:
        out.finish_reason = library.text_of(ffi, event.finish_reason)
        out.prompt_tokens, out.cached_tokens = int(event.prompt_tokens), int(event.cached_tokens)
        out.seconds = float(event.seconds)
        if event.n_numbers:
            data = ffi.buffer(event.numbers, event.n_numbers * 4)
            out.numbers = np.frombuffer(data, np.float32).copy()
        if out.finish_reason == "cancelled":
            raise ClosedError("the model was closed", 503, "closed") if handle.closed else error_of(
                "the answer was cancelled", 500, "cancelled", "")
    return text, tokens


def run(handle: Handle, rows: Sequence[Row], begin: Begin, on_text: OnText | None = None) -> list[Answer]:
    """Begins an answer to every row and reads them all.

    Twice as many as are computed together are under way at a time, so that the
    engine never waits for this thread and the queue has room for others.
    on_text(row, text, tokens) is called for what is new.  What it raises, and
    KeyboardInterrupt, cancels all answers and goes on to the caller.
    """
    event = handle.ffi.new("struct openautoglm_event *")
    out = [Answer() for _ in rows]
    to_begin = collections.deque(enumerate(rows))
    with handle.use() as pointer, _Running(handle, pointer, begin) as running:
        while to_begin or running.answers:
            while to_begin and len(running.answers) < 2 * handle.info.max_requests:
                running.begin(*to_begin.popleft())
            for fd, i, answer in running.ready():
                ended = False
                while not ended and handle.lib.openautoglm_next(answer, event, 0):
                    text, tokens = _take(handle, event, out[i])
                    ended = event.kind == handle.lib.OPENAUTOGLM_END
                    if on_text and (text or tokens):
                        on_text(i, text, tokens)
                if ended:
                    running.end(fd)
    return out
