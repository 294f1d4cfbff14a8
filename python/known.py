"""The records of selftest/check.c: what the reference makes of the known picture.

    python/known.py          prints the rows of the two tables

The picture is arithmetic that C has as well.  `pixel values` are those of the
families' image processors with their published settings, at the size of the
start of a server and at that of a phone's screenshot; `bytes` are resizes
alone, which hold for every setting.

The settings are those that the checkpoints are known to have where they are not
the defaults of the class: those of Gemma 3 were compared with transformers'
own script that converts them, the others were written down without the checkpoints
at hand.
"""
import hashlib

import numpy as np
import torch
import transformers
from PIL import Image
from torchvision.transforms.v2 import InterpolationMode, functional

from openautoglm.preprocess import pixels, resize

SIZES = [(270, 600), (1080, 2400)]
TO = (151, 333)            # of the bytes
PUBLISHED = {
    "GLM-4.1V": ("Glm4vImageProcessor", {"size": {"shortest_edge": 112 * 112, "longest_edge": 28 * 28 * 2 * 6144}}),
    "Qwen2-VL": ("Qwen2VLImageProcessor", {"min_pixels": 56 * 56, "max_pixels": 28 * 28 * 16384}),
    "Qwen3-VL": ("Qwen2VLImageProcessor", {"size": {"shortest_edge": 65536, "longest_edge": 16777216}, "patch_size": 16,
                                           "image_mean": [.5] * 3, "image_std": [.5] * 3}),
}
def clip(side):
    return "CLIPImageProcessor", {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}


def siglip(side, resample=3):
    return "SiglipImageProcessor", {"size": {"height": side, "width": side}, "resample": resample,
                                    "image_mean": [.5] * 3, "image_std": [.5] * 3}


def idefics3(longest, tile):
    return "Idefics3ImageProcessor", {"size": {"longest_edge": longest}, "max_image_size": {"longest_edge": tile},
                                      "resample": 1, "image_mean": [.5] * 3, "image_std": [.5] * 3}


def pixtral(longest, patch):
    return "PixtralImageProcessor", {"size": {"longest_edge": longest}, "patch_size": {"height": patch, "width": patch}}


# Whose values are planes of whole pictures or of their tiles. The processor of Mistral Small asks for whole blocks of
# 2 x 2 patches of 14.
PLANES = {
    "CLIP base": clip(224), "CLIP large 336, LLaVA 1.5": clip(336),
    "SigLIP base": siglip(224), "SigLIP so400m": siglip(384),
    "Llama 3.2 Vision": ("MllamaImageProcessor", {"size": {"height": 560, "width": 560}, "max_image_tiles": 4}),
    "Idefics3": idefics3(1456, 364), "SmolVLM 2.2B": idefics3(1536, 384), "SmolVLM 256M, 500M": idefics3(2048, 512),
    "LLaVA-NeXT": ("LlavaNextImageProcessor", {
        **clip(336)[1], "image_grid_pinpoints": [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]}),
    "Gemma 3": siglip(896, 2), "Pixtral": pixtral(1024, 16), "Mistral Small 3.1": pixtral(1540, 28),
}
FILTERS = {"LANCZOS": InterpolationMode.LANCZOS, "BILINEAR": InterpolationMode.BILINEAR,
           "BICUBIC": InterpolationMode.BICUBIC}


def picture(w, h):
    x, y, c = (a.astype(np.uint32) for a in np.meshgrid(np.arange(w), np.arange(h), np.arange(3)))
    v = x * np.uint32(2654435761) ^ y * np.uint32(2246822519) ^ c * np.uint32(3266489917)
    v ^= v >> np.uint32(15)
    v = v * np.uint32(668265263) >> np.uint32(24)
    return ((v + 3 * ((x + y) // 16 % 256)) // 4).astype(np.uint8)


def sha(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def main():
    for w, h in SIZES:
        im = Image.fromarray(picture(w, h))
        for name, (kind, options) in PUBLISHED.items():
            p = getattr(transformers, kind)(**options)(images=[im], return_tensors="pt")
            v, (_, gh, gw) = p["pixel_values"].numpy().astype("<f4"), p["image_grid_thw"][0].tolist()
            print(f'{w} x {h} {name}: grid {gh} x {gw}, shape {v.shape}: "{sha(v)}"')
        for name, (kind, options) in PLANES.items():
            p = getattr(transformers, kind)(**options)(images=[im], return_tensors="pt")
            v = p["pixel_values"].numpy().astype("<f4")
            while v.shape[0] == 1:
                v = v[0]
            print(f'{w} x {h} {name}: shape {v.shape}: "{sha(v)}"')
        v = pixels(resize(im)).numpy().astype("<f4")
        print(f'{w} x {h} open-autoglm: shape {v.shape}: "{sha(v)}"')
    im = Image.fromarray(picture(*SIZES[0]))
    t = torch.from_numpy(np.array(im)).permute(2, 0, 1)
    for name, mode in FILTERS.items():
        print(f'PIL {name}: "{sha(np.array(im.resize(TO, getattr(Image.Resampling, name))))}"')
        out = functional.resize(t, TO[::-1], mode, antialias=True).permute(1, 2, 0).numpy()
        print(f'torchvision {name}: "{sha(out)}"')


if __name__ == "__main__":
    main()
