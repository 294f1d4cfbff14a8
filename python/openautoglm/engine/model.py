"""A vision-language model on the C engine."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from . import generation, library
from .generation import Answer
from .handle import Handle, Info
from .inputs import Ids, Row, as_tensors, is_torch, padded, pixels_in, read_rows
from .tokenizer import _padding_id

Floats = npt.NDArray[np.float32]


@runtime_checkable
class TokenStreamer(Protocol):
    """A streamer in the form of transformers: it is given token ids and decodes them itself."""

    def put(self, value: Any) -> None:
        """New tokens (n,)."""

    def end(self) -> None:
        """That was all."""


Streamer: TypeAlias = "Callable[[str], object] | TokenStreamer"


class ModelOutput(NamedTuple):
    """What a forward pass gives.

    logits: (rows, longest, vocabulary) of float32, behind each token; zeros where
    a row was filled up.
    """

    logits: Floats


class GenerateOutput(NamedTuple):
    """Answers with what is known of them, one entry a row.

    sequences: (rows, longest) of int64, filled up on the right; texts: of the
    answers, without special tokens and without the stop string that ended them;
    finish_reasons: "stop" or "length"; logprobs: of the tokens of each answer, or
    empty lists where none were asked for; prompt_tokens, cached_tokens: of the
    prompt, and of these known from an earlier one; seconds: that the answer took.
    """

    sequences: Any
    texts: list[str]
    finish_reasons: list[str]
    logprobs: list[list[float]]
    prompt_tokens: list[int]
    cached_tokens: list[int]
    seconds: list[float]


class AutoGLMVisionModel:
    """A model that looks at images and answers with text.

        model = AutoGLMVisionModel.from_pretrained("open-autoglm-v1")
        outputs = model.generate(**inputs, max_new_tokens=200)

    It computes on the C engine, in threads of its own; PyTorch is not needed.  Any
    number of threads may use one model at a time: what they ask for is computed
    together, and no answer depends on what else is being computed.  close(), or the
    end of a `with` block, frees it.
    """

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._pad = _padding_id(handle.info.folder)

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str], **options: Any) -> AutoGLMVisionModel:
        """Opens a model.

        name: the folder of a checkpoint, ORG/NAME[@REVISION] on a hub, which is
        fetched if it is not here yet, or "open-autoglm-v1", the shipped model.
        options: settings of the engine under their names in config/default.json,
        such as device="cpu", threads=2, weights="int8", max_num_seqs=8, and
        log_level.  LoadError (an OSError): it cannot be opened; OutOfMemoryError
        where that is the reason.
        """
        return cls(Handle(name, True, options))

    @property
    def info(self) -> Info:
        """What the model is."""
        return self._handle.info

    @property
    def device(self) -> str:
        """What computes: "cpu" or "cuda".  Inputs need not be moved there."""
        return self.info.device

    def generate(self, input_ids: Any, attention_mask: Any = None, pixel_values: Any = None,
                 image_counts: Any = None, *, max_new_tokens: int | None = None, min_new_tokens: int | None = None,
                 do_sample: bool | None = None, temperature: float | None = None, top_p: float | None = None,
                 top_k: int | None = None, min_p: float | None = None, seed: int | None = None,
                 stop: str | Sequence[str] | None = None, repetition_penalty: float | None = None,
                 presence_penalty: float | None = None, frequency_penalty: float | None = None,
                 streamer: Streamer | Sequence[Streamer] | None = None, request: Mapping[str, Any] | None = None,
                 include_prompt: bool = False, return_dict_in_generate: bool = False) -> Any:
        """Answers.

        input_ids, attention_mask, pixel_values, image_counts: as a tokenizer gives
        them (Inputs); rows are computed at the same time.  All else has the meaning
        of the server's fields, and None leaves the model's default.
        max_new_tokens: as many as the context leaves, if not given;
        do_sample=False: always the likeliest token; seed: row i is drawn with
        seed + i; stop: one text or several that end an answer.  streamer: is called
        with each piece of text as it comes, or has put() and end() as in
        transformers; for several rows a list of as many.  request: further fields,
        such as {"response_format": ...}, {"logit_bias": ...} or {"logprobs": True}.

        Gives token ids (rows, longest) of int64, a tensor of PyTorch if input_ids
        is one: the answers alone, including what ended them, filled up on the right;
        with include_prompt the prompts before them.  With
        return_dict_in_generate=True a GenerateOutput.

        RequestError (a ValueError): something is wrong, said in the server's words;
        OutOfMemoryError, BusyError, ClosedError, DeviceError.  KeyboardInterrupt
        and what a streamer raises cancel the answers.
        """
        rows = read_rows(input_ids, attention_mask, pixel_values, image_counts)
        fields = dict(request or {}) | {k: v for k, v in {
            "max_tokens": max_new_tokens, "min_tokens": min_new_tokens, "temperature": temperature, "top_p": top_p,
            "top_k": top_k, "min_p": min_p, "stop": stop if stop is None or isinstance(stop, str) else list(stop),
            "repetition_penalty": repetition_penalty, "presence_penalty": presence_penalty,
            "frequency_penalty": frequency_penalty, "seed": seed}.items() if v is not None}
        if do_sample is False:
            fields["temperature"] = 0
        elif do_sample and not fields.get("temperature"):
            fields["temperature"] = 1.0
        streamers = _streamers(streamer, len(rows))
        answers = self._answers(rows, fields, streamers)
        for s in streamers:
            if isinstance(s, TokenStreamer):
                s.end()
        return self._output(rows, answers, is_torch(input_ids), include_prompt, return_dict_in_generate)

    def _answers(self, rows: Sequence[Row], fields: dict[str, Any],
                 streamers: Sequence[Streamer | None]) -> list[Answer]:
        lib, count = self._handle.lib, iter(range(len(rows)))

        def begin(model: Any, prompt: Any, error: Any) -> Any:
            i = next(count)
            own = fields | {"seed": fields["seed"] + i} if i and isinstance(fields.get("seed"), int) else fields
            return lib.openautoglm_generate(model, prompt, json.dumps(own).encode(), error)

        def on_text(row: int, text: str, tokens: list[int]) -> None:
            s = streamers[row]
            if isinstance(s, TokenStreamer):
                if tokens:
                    s.put(np.array(tokens, np.int64))
            elif s is not None and text:
                s(text)

        return generation.run(self._handle, rows, begin, on_text if any(streamers) else None)

    def _output(self, rows: Sequence[Row], answers: Sequence[Answer], torch: bool, prompts: bool,
                everything: bool) -> Any:
        made = [np.array(a.tokens, np.int64) for a in answers]
        if prompts:
            made = [np.concatenate([np.full(r.before, self._pad, np.int64), r.ids.astype(np.int64), m])
                    for r, m in zip(rows, made, strict=True)]
        ids: Ids = padded(made, self._pad, left=False)[0]
        sequences = as_tensors(ids, "pt" if torch else "np")
        if not everything:
            return sequences
        return GenerateOutput(sequences, [a.text for a in answers], [a.finish_reason for a in answers],
                              [a.logprobs for a in answers], [a.prompt_tokens for a in answers],
                              [a.cached_tokens for a in answers], [a.seconds for a in answers])

    def __call__(self, input_ids: Any, attention_mask: Any = None, pixel_values: Any = None,
                 image_counts: Any = None) -> ModelOutput:
        """A forward pass, without a token being drawn.

        Takes Inputs; `.logits` is (rows, longest, vocabulary) of float32.  The
        numbers are the model's own, before temperature and penalties.
        """
        rows = read_rows(input_ids, attention_mask, pixel_values, image_counts)
        answers = self._compute(rows, self._handle.lib.OPENAUTOGLM_LOGITS)
        longest = max(r.before + len(r.ids) for r in rows)
        logits = np.zeros((len(rows), longest, self.info.vocabulary), np.float32)
        for i, (row, numbers) in enumerate(zip(rows, answers, strict=True)):
            logits[i, row.before:row.before + len(row.ids)] = numbers.reshape(-1, self.info.vocabulary)
        return ModelOutput(logits)

    def get_image_features(self, pixel_values: Any, **_inputs: Any) -> list[Floats]:
        """The features of images as they take the places of tokens.

        pixel_values: as a tokenizer gives them, one image or several; other members
        of Inputs are passed over.  Gives a list with an array (image tokens, width)
        of float32 for each image, width being info.width.
        """
        given = list(pixel_values) if isinstance(pixel_values, (list, tuple)) else [pixel_values]
        if len(given) == 1 and getattr(given[0], "ndim", 3) == 4:
            given = list(given[0])
        rows = []
        for p in given:
            pixels = pixels_in(p)
            rows.append(Row(self._places(pixels), [pixels], 0))
        features = self._compute(rows, self._handle.lib.OPENAUTOGLM_IMAGE_FEATURES)
        return [f.reshape(-1, self.info.width) for f in features]

    def _places(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
        """The tokens of a prompt that is nothing but this image."""
        n = self._handle.ffi.new("int32_t *")
        error = self._handle.ffi.new("struct openautoglm_error *")
        with self._handle.use() as pointer:
            height, width = pixels.shape[:2]
            if self._handle.lib.openautoglm_image_tokens(pointer, width, height, n, error) != 0:
                library.raise_error(self._handle.ffi, error)
        return np.full(n[0], self.info.image_token, np.int32)

    def _compute(self, rows: Sequence[Row], what: int) -> list[Floats]:
        def begin(model: Any, prompt: Any, error: Any) -> Any:
            return self._handle.lib.openautoglm_compute(model, prompt, what, error)

        answers = generation.run(self._handle, rows, begin)
        return [np.zeros(0, np.float32) if a.numbers is None else a.numbers for a in answers]

    def close(self) -> None:
        """Ends what runs with a ClosedError, and frees the model."""
        self._handle.close()

    def __enter__(self) -> AutoGLMVisionModel:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"AutoGLMVisionModel({self.info.folder!r}, {self.info.type}, {self.info.device})"


def _streamers(streamer: Any, rows: int) -> list[Streamer | None]:
    """One for each row."""
    if streamer is None:
        return [None] * rows
    many = list(streamer) if isinstance(streamer, (list, tuple)) else [streamer]
    if len(many) != rows:
        raise ValueError(f"{rows} rows need a list of {rows} streamers")
    for s in many:
        if not callable(s) and not isinstance(s, TokenStreamer):
            raise TypeError("a streamer is called with text, or has put() and end()")
    return many
