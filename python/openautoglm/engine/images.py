"""Pictures as people have them -> what the library takes: the bytes of a file, or pixels.

An image is a path, the bytes of a JPEG, PNG, WebP or GIF file, a file opened for
reading, an array of uint8, or a picture of Pillow.  Pillow itself is not needed.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Pixels: TypeAlias = npt.NDArray[np.uint8]


class Picture(NamedTuple):
    """Either the bytes of a file, or pixels (height, width, 3)."""

    file: bytes | None
    pixels: Pixels | None


def _from_array(a: npt.NDArray[Any]) -> Pixels:
    """(height, width), (height, width, 1), (height, width, 3), or (height, width, 4), whose alpha is put over white."""
    if a.dtype != np.uint8 or a.ndim not in (2, 3) or (a.ndim == 3 and a.shape[2] not in (1, 3, 4)) or 0 in a.shape:
        raise ValueError("an image's array must be of uint8 with the shape (height, width) or (height, width, 1, 3 or "
                         f"4), not of {a.dtype} with the shape {a.shape}")
    if a.ndim == 2:
        a = a[:, :, None]
    if a.shape[2] == 1:
        a = np.repeat(a, 3, axis=2)
    if a.shape[2] == 4:
        alpha = a[:, :, 3:].astype(np.uint32)
        t = a[:, :, :3] * alpha + 255 * (255 - alpha) + 128            # rounded as the engine and Pillow do
        a = ((t >> 8) + t >> 8).astype(np.uint8)
    return np.ascontiguousarray(a)


def _from_pillow(image: Any) -> Picture:
    """RGB as it is.  Everything else goes as a file: then palettes and transparency are read as they are in files."""
    if image.mode == "RGB":
        return Picture(None, _from_array(np.asarray(image)))
    file = io.BytesIO()
    (image if image.mode in ("L", "LA", "P", "RGBA", "1") else image.convert("RGB")).save(file, "PNG", compress_level=0)
    return Picture(file.getvalue(), None)


def picture(image: Any) -> Picture:
    """One image.  TypeError: it is none of those kinds; ValueError: an array of another shape; OSError: the file."""
    if isinstance(image, (bytes, bytearray, memoryview)):
        return Picture(bytes(image), None)
    if isinstance(image, (str, os.PathLike)):
        name = os.fspath(image)
        if isinstance(name, str) and name.startswith(("http://", "https://")):
            raise ValueError("images are not fetched: give a path, the bytes of the file, or a picture")
        with open(name, "rb") as f:
            return Picture(f.read(), None)
    if hasattr(image, "mode") and hasattr(image, "convert") and hasattr(image, "save"):
        return _from_pillow(image)
    if hasattr(image, "read"):
        return picture(image.read())
    if hasattr(image, "__array__"):
        return Picture(None, _from_array(np.asarray(image)))
    raise TypeError("an image must be a path, bytes, an array or a picture of Pillow, not " + type(image).__name__)


def _is_many(images: Any) -> bool:
    return isinstance(images, Sequence) and not isinstance(images, (str, bytes, bytearray, memoryview))


def rows_of_images(images: Any, texts: int) -> list[list[Picture]]:
    """The images of each of so many texts.

    None: no images.  For one text: an image, or a list of images.  For several: a
    list with an entry for each, which is an image, a list of images or None.
    """
    if images is None:
        return [[] for _ in range(texts)]
    if texts == 1 and not (_is_many(images) and len(images) == 1 and _is_many(images[0])):
        images = [images]
    if not _is_many(images) or len(images) != texts:
        raise ValueError(f"{texts} texts need a list of {texts} images, or lists of images"
                         + (f", not one of {len(images)}" if _is_many(images) else ""))
    return [[] if row is None else [picture(i) for i in row] if _is_many(row) else [picture(row)] for row in images]


def fill(ffi: Any, pictures: Sequence[Picture]) -> tuple[Any, list[Any]]:
    """struct openautoglm_image[n], and what must be kept alive as long as they are used."""
    out = ffi.new("struct openautoglm_image[]", max(len(pictures), 1))
    keep: list[Any] = [out]
    for to, p in zip(out, pictures, strict=False):
        data = ffi.from_buffer(p.file if p.pixels is None else p.pixels)
        keep.append(data)
        to.data = data
        to.size = len(data)
        if p.pixels is not None:
            to.height, to.width = p.pixels.shape[:2]
    return out, keep


def pixels_of(ffi: Any, image: Any) -> Pixels:
    """A copy of the pixels of a struct openautoglm_image, (height, width, 3): the image resized for the model, or,
    where the model sees several pictures of it, as it was given."""
    a = np.frombuffer(ffi.buffer(image.data, image.size), np.uint8)
    return a.reshape(image.height, image.width, 3).copy()
