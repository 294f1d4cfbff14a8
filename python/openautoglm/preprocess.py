"""A screenshot into the pixels that the model sees."""
import math

import numpy as np
import torch
from PIL import Image

FACTOR = 32               # pixels per image token, along each axis
MAX_IMAGE_TOKENS = 200

CONFIG = {"image_processor_type": "OpenAutoGLMImageProcessor", "factor": FACTOR, "max_image_tokens": MAX_IMAGE_TOKENS,
          "resample": 3, "image_mean": [.5, .5, .5], "image_std": [.5, .5, .5], "rescale_factor": 1 / 255}


def target_size(w, h, limit=MAX_IMAGE_TOKENS):
    """Width and height after resizing: never larger, multiples of 32, at most `limit` tokens."""
    s = min(1, math.sqrt(limit * FACTOR ** 2 / (w * h)))
    a, b = int(w * s // FACTOR), int(h * s // FACTOR)
    if a < 1:
        a, b = 1, min(max(1, b), limit)
    if b < 1:
        a, b = min(a, limit), 1
    return a * FACTOR, b * FACTOR


def resize(image, limit=MAX_IMAGE_TOKENS):
    """Any PIL image -> RGB of the target size; transparent pixels lie over white."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image, size = image.convert("RGB"), target_size(*image.size, limit)
    return image if image.size == size else image.resize(size, Image.BICUBIC)


def pixels(image):
    """Bytes (..., H, W, 3) -> float (..., 3, H, W) in [-1, 1], channels last in memory"""
    if isinstance(image, Image.Image):
        image = torch.from_numpy(np.array(image))
    return ((image.float() / 255 - .5) / .5).movedim(-1, -3)
