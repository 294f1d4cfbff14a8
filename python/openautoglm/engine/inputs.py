"""What a tokenizer makes and a model takes: token ids in rows, and the pixels of their images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .images import Pixels

Ids = npt.NDArray[np.int64]


def to_numpy(value: Any) -> npt.NDArray[Any]:
    """An array of numpy from one, from a tensor of PyTorch on whatever device, or from lists."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    return np.asarray(value)


def is_torch(value: Any) -> bool:
    """Is it a tensor of PyTorch?  Does not import it."""
    return type(value).__module__.partition(".")[0] == "torch"


def as_tensors(value: npt.NDArray[Any], kind: str | None) -> Any:
    """The array as it was asked for: "np", "pt", or None, which makes lists."""
    if kind == "np":
        return value
    if kind is None:
        return value.tolist()
    try:
        import torch
    except ImportError as e:
        raise ImportError('return_tensors="pt" needs PyTorch; return_tensors="np" gives arrays of numpy, which '
                          "generate() takes as well") from e
    return torch.from_numpy(value)


class Inputs(dict[str, Any]):
    """A dict whose members are also attributes, for `model.generate(**inputs)`.

    input_ids: (rows, longest) of int64, shorter rows filled up on the left;
    attention_mask: the same shape, 1 where a token stands, 0 where a row was
    filled up.  With images also pixel_values: a list with an array of uint8
    (height, width, 3) for each image, as the model sees it (or, where it sees
    several pictures of an image, such as tiles, as the image was given), in the
    order of the rows; and image_counts: (rows,) of int64, how many of these each
    row has.
    """

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def to(self, *_args: Any, **_kwargs: Any) -> Inputs:
        """Itself: the engine moves data where it computes."""
        return self


def padded(rows: Sequence[npt.NDArray[Any]], pad: int, left: bool) -> tuple[Ids, Ids]:
    """Rows of different lengths as one array, and where tokens stand in it; both (rows, longest)."""
    longest = max((len(r) for r in rows), default=0)
    ids = np.full((len(rows), longest), pad, np.int64)
    mask = np.zeros_like(ids)
    for i, r in enumerate(rows):
        at = slice(longest - len(r), None) if left else slice(0, len(r))
        ids[i, at] = r
        mask[i, at] = 1
    return ids, mask


def make_inputs(rows: Sequence[npt.NDArray[Any]], images: Sequence[Sequence[Pixels]], pad: int,
                kind: str | None) -> Inputs:
    """Inputs of these rows and the images of each."""
    if kind not in (None, "np", "pt"):
        raise ValueError(f'return_tensors must be "np", "pt" or None, not {kind!r}')
    if kind is None:
        out = Inputs(input_ids=[r.tolist() for r in rows], attention_mask=[[1] * len(r) for r in rows])
    else:
        ids, mask = padded(rows, pad, left=True)
        out = Inputs(input_ids=as_tensors(ids, kind), attention_mask=as_tensors(mask, kind))
    if any(images):
        counts = np.array([len(r) for r in images], np.int64)
        out["pixel_values"] = [p if kind is None else as_tensors(p, kind) for r in images for p in r]
        out["image_counts"] = as_tensors(counts, kind)
    return out


class Row:
    """One prompt: token ids (n,) of int32, its images, and how many places it was filled up by on the left."""

    def __init__(self, ids: npt.NDArray[np.int32], images: list[Pixels], before: int) -> None:
        self.ids = ids
        self.images = images
        self.before = before


def _lists(input_ids: Any) -> list[npt.NDArray[Any]]:
    """Rows of ids from an array or tensor of one or two dimensions, or from lists."""
    if isinstance(input_ids, Sequence) and any(isinstance(r, Sequence) for r in input_ids):
        rows = [np.asarray(r) for r in input_ids]
    else:
        a = to_numpy(input_ids)
        rows = [a] if a.ndim == 1 else list(a)
    for r in rows:
        if r.ndim != 1 or not np.issubdtype(r.dtype, np.integer) or (r.size and (r.min() < 0 or r.max() > 2**31 - 1)):
            raise ValueError("input_ids must be token ids of the shape (rows, n) or (n,)")
    return rows


def read_rows(input_ids: Any, attention_mask: Any, pixel_values: Any, image_counts: Any) -> list[Row]:
    """The prompts of what came as **inputs.  ValueError: the parts do not fit to each other."""
    ids = _lists(input_ids)
    masks = [np.ones(len(r), bool) for r in ids]
    if attention_mask is not None:
        given = [to_numpy(m) for m in attention_mask] if len(ids) > 1 else [to_numpy(attention_mask).reshape(-1)]
        if [len(m) for m in given] != [len(r) for r in ids]:
            raise ValueError("attention_mask must have the shape of input_ids")
        masks = [m.astype(bool) for m in given]
    pixels = [] if pixel_values is None else list(pixel_values)
    counts = [len(pixels)] if image_counts is None and len(ids) == 1 else []
    if image_counts is not None:
        counts = [int(n) for n in to_numpy(image_counts).reshape(-1)]
    if (pixels or counts) and (len(counts) != len(ids) or sum(counts) != len(pixels) or min(counts) < 0):
        raise ValueError(f"image_counts must say for each of {len(ids)} rows how many of the {len(pixels)} "
                         "pixel_values are its own")
    rows = []
    for i, (r, m) in enumerate(zip(ids, masks, strict=True)):
        n = counts[i] if counts else 0
        own, pixels = pixels[:n], pixels[n:]
        before = int(np.argmax(m)) if m.any() else 0
        rows.append(Row(np.ascontiguousarray(r[m], np.int32), [pixels_in(p) for p in own], before))
    return rows


def pixels_in(value: Any) -> Pixels:
    """One of the pixel_values.  ValueError: it is no array of uint8 (height, width, 3)."""
    a = to_numpy(value)
    if a.dtype != np.uint8 or a.ndim != 3 or a.shape[2] != 3:
        raise ValueError("each of the pixel_values must be an array of uint8 with the shape (height, width, 3), "
                         f"not of {a.dtype} with the shape {a.shape}")
    return np.ascontiguousarray(a)
