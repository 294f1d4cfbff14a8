"""Texts and images -> what the model takes, and tokens -> text."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from . import images, library
from .handle import Handle, Info
from .inputs import Inputs, make_inputs, to_numpy

Messages = Sequence[Mapping[str, Any]]


def _padding_id(folder: str) -> int:
    """The token that rows are filled up with: the checkpoint's, or else its end of text; 0 where it names neither."""
    for name in ("generation_config.json", "config.json"):
        try:
            config = json.loads((Path(folder) / name).read_text())
        except (OSError, ValueError):
            continue
        for key in ("pad_token_id", "eos_token_id"):
            value = config.get(key)
            value = value[0] if isinstance(value, list) and value else value
            if isinstance(value, int) and value >= 0:
                return value
    return 0


class AutoGLMTokenizer:
    """Turns texts with their images into a model's inputs, and tokens into text.

        tokenizer = AutoGLMTokenizer.from_pretrained("open-autoglm-v1")
        inputs = tokenizer(text="What is this?", images="screen.png", return_tensors="np")

    It needs no weights.  Any number of threads may use it at a time.  close(), or
    the end of a `with` block, frees it.
    """

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self.pad_token_id = _padding_id(handle.info.folder)

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str], **options: Any) -> AutoGLMTokenizer:
        """Opens the tokenizer of a model.

        name: the folder of a checkpoint, ORG/NAME[@REVISION] on a hub, or
        "open-autoglm-v1", the shipped model.  options: settings of the engine as
        in config/default.json, such as chat_template="FILE" or max_pixels=1000000;
        they should be those of the model.  LoadError (an OSError): it cannot be
        opened.
        """
        return cls(Handle(name, False, options))

    @property
    def info(self) -> Info:
        """What the model is."""
        return self._handle.info

    @property
    def vocab_size(self) -> int:
        """Token ids are below it."""
        return self.info.vocabulary

    @property
    def image_token_id(self) -> int:
        """The token that stands in every place of an image; -1: the model takes none."""
        return self.info.image_token

    def __call__(self, text: str | Sequence[str] | None = None, images: Any = None, *,
                 return_tensors: str | None = None, system: str | None = None, **request: Any) -> Inputs:
        """A turn of the user, or a turn for each of several texts, as the chat template writes it, ready for an answer.

        text: one text or a list of texts.  images: for one text an image or a list
        of images, for several a list with an entry (an image, a list of images, or
        None) for each; they stand before the text.  An image is a path, the bytes
        of a file, an array of uint8 (height, width[, 1, 3 or 4]), or a picture of
        Pillow.  return_tensors: "np" for arrays of numpy, "pt" for tensors of
        PyTorch, None for lists.  system: a system message.  request: further
        fields of a request that make a prompt, such as chat_template_kwargs or
        mm_processor_kwargs.  Gives Inputs: input_ids (rows, longest) and the rest
        that its documentation names.
        """
        texts = [text] if isinstance(text, str) else [""] if text is None else list(text)
        rows = images_of(images, len(texts))
        chats = []
        for t, row in zip(texts, rows, strict=True):
            if not isinstance(t, str):
                raise TypeError("text must be a string or a list of strings, not " + type(t).__name__)
            content: list[dict[str, str]] = [{"type": "image"} for _ in row]
            if t or not row:
                content.append({"type": "text", "text": t})
            before = [{"role": "system", "content": system}] if system is not None else []
            chats.append([*before, {"role": "user", "content": content if row else t}])
        return self._inputs(chats, rows, return_tensors, request)

    def apply_chat_template(self, messages: Messages | Sequence[Messages], images: Any = None, *,
                            return_tensors: str | None = None, **request: Any) -> Inputs:
        """The same for whole conversations: a list of messages, or a list of such lists.

        Messages are those of /v1/chat/completions.  In their contents a part
        {"type": "image"} stands for the next of `images`, which are given as for
        __call__(); a part {"type": "image", "image": ...} has its image itself.
        request: further fields, such as tools or add_generation_prompt=False.
        """
        many = bool(messages) and not isinstance(messages[0], Mapping)
        given: list[Any] = list(messages) if many else [messages]
        taken = [_take_images(chat) for chat in given]
        if images is not None and any(own for _, own in taken):
            raise ValueError("images stand in the messages or beside them, not both")
        rows = [own for _, own in taken] if images is None else images_of(images, len(taken))
        return self._inputs([chat for chat, _ in taken], rows, return_tensors, request)

    def _inputs(self, chats: list[Any], rows: Sequence[Sequence[images.Picture]], kind: str | None,
                request: Mapping[str, Any]) -> Inputs:
        with self._handle.use() as pointer:
            made = [self._prompt(pointer, c, r, request) for c, r in zip(chats, rows, strict=True)]
        return make_inputs([ids for ids, _ in made], [pixels for _, pixels in made], self.pad_token_id, kind)

    def _prompt(self, pointer: Any, messages: Any, pictures: Sequence[images.Picture],
                request: Mapping[str, Any]) -> tuple[npt.NDArray[np.int32], list[images.Pixels]]:
        """Token ids (n,) and the pixels of the images of one conversation."""
        ffi, lib = self._handle.ffi, self._handle.lib
        error = ffi.new("struct openautoglm_error *")
        given, _keep = images.fill(ffi, pictures)
        body = json.dumps({"messages": messages, **request}).encode()
        prompt = lib.openautoglm_prompt_chat(pointer, body, given, len(pictures), error)
        if not prompt:
            library.raise_error(ffi, error)
        try:
            n = ffi.new("size_t *")
            ids = lib.openautoglm_prompt_ids(prompt, n)
            row = np.frombuffer(ffi.buffer(ids, n[0] * 4), np.int32).copy()
            seen = ffi.new("struct openautoglm_image *")
            pixels = []
            for i in range(lib.openautoglm_prompt_images(prompt)):
                lib.openautoglm_prompt_image(prompt, i, seen)
                pixels.append(images.pixels_of(ffi, seen))
            return row, pixels
        finally:
            lib.openautoglm_prompt_free(prompt)

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """The tokens of a text as it is, without a template."""
        ffi, lib = self._handle.ffi, self._handle.lib
        error = ffi.new("struct openautoglm_error *")
        ids, n = ffi.new("int32_t **"), ffi.new("size_t *")
        data = text.encode()
        with self._handle.use() as pointer:
            if lib.openautoglm_tokenize(pointer, data, len(data), add_special_tokens, ids, n, error) != 0:
                library.raise_error(ffi, error)
        try:
            return [int(i) for i in ffi.unpack(ids[0], n[0])] if n[0] else []
        finally:
            lib.openautoglm_free(ids[0])

    def decode(self, token_ids: Any, skip_special_tokens: bool = False) -> str:
        """The text of tokens (n,): a list, an array or a tensor; skip_special_tokens leaves out special ones."""
        ffi, lib = self._handle.ffi, self._handle.lib
        error = ffi.new("struct openautoglm_error *")
        a = to_numpy(token_ids).reshape(-1)
        if a.size and not np.issubdtype(a.dtype, np.integer):
            raise ValueError("decode() takes token ids")
        row = np.ascontiguousarray(a, np.int32)
        text, n = ffi.new("char **"), ffi.new("size_t *")
        with self._handle.use() as pointer:
            ids = ffi.from_buffer("int32_t[]", row)
            if lib.openautoglm_detokenize(pointer, ids, len(row), skip_special_tokens, text, n, error) != 0:
                library.raise_error(ffi, error)
        try:
            return str(ffi.buffer(text[0], n[0])[:].decode("utf-8", "replace"))
        finally:
            lib.openautoglm_free(text[0])

    def batch_decode(self, sequences: Any, skip_special_tokens: bool = False) -> list[str]:
        """The texts of several rows of tokens."""
        return [self.decode(row, skip_special_tokens) for row in sequences]

    def close(self) -> None:
        """Frees the tokenizer; using it afterwards is a ClosedError."""
        self._handle.close()

    def __enter__(self) -> AutoGLMTokenizer:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"AutoGLMTokenizer({self.info.folder!r})"


images_of = images.rows_of_images


def _take_images(messages: Sequence[Mapping[str, Any]]) -> tuple[list[Any], list[images.Picture]]:
    """The messages without the images that stand in their parts, and these images."""
    found: list[images.Picture] = []
    out = []
    for message in messages:
        content = message.get("content")
        if isinstance(content, Sequence) and not isinstance(content, str):
            parts = []
            for part in content:
                if isinstance(part, Mapping) and part.get("type") == "image" and part.get("image") is not None:
                    found.append(images.picture(part["image"]))
                    part = {k: v for k, v in part.items() if k != "image"}
                parts.append(part)
            message = {**message, "content": parts}
        out.append(message)
    return out, found
