#!/usr/bin/env python3
"""Compares image/ with Pillow and torchvision on random pictures, byte for byte.

    python tests/image/against_reference.py [--cases 2000] [--seed 1] [--plain] [--decode]

Builds image/*.c into a temporary shared library. `--plain` leaves the AVX2
loops out; `--decode` encodes the pictures in random ways and compares the
decoded pixels instead of resizing. Not part of `make test`: it needs torch.
Prints the first differences and the counts; exits with 1 if there are any.
"""
import argparse
import ctypes
import glob
import io
import os
import random
import subprocess
import sys
import tempfile

import numpy as np
import torch
from make_fixtures import to_rgb
from PIL import Image, ImageFile
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tvf

ImageFile.MAXBLOCK = 1 << 26  # Pillow cannot encode noise with less
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FILTERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}
TORCH = {0: InterpolationMode.NEAREST_EXACT, 1: InterpolationMode.LANCZOS, 2: InterpolationMode.BILINEAR,
         3: InterpolationMode.BICUBIC}
SIZES = [((37, 211), (56, 224)), ((1, 1000), (28, 140)), ((1000, 1), (140, 28)), ((1080, 2400), (1092, 2408)),
         ((1080, 2400), (288, 640)), ((1080, 2400), (1008, 2240)), ((4096, 4096), (336, 336)), ((4096, 4096), (1, 1)),
         ((1, 1), (300, 200)), ((1, 1), (1, 1)), ((1280, 720), (1288, 728)), ((640, 480), (224, 224)),
         ((3, 4000), (3, 5)), ((4000, 3), (5, 3)), ((100, 100), (100, 37)), ((100, 100), (37, 100))]


class Pixels(ctypes.Structure):
    _fields_ = [("data", ctypes.POINTER(ctypes.c_uint8)), ("width", ctypes.c_int), ("height", ctypes.c_int)]


class Err(ctypes.Structure):
    _fields_ = [("status", ctypes.c_int), ("code", ctypes.c_char * 48), ("field", ctypes.c_char * 128),
                ("text", ctypes.c_char * 512), ("have", ctypes.c_long), ("most", ctypes.c_long)]


def library(folder, plain):
    out = os.path.join(folder, "image.so")
    flags = ["-std=gnu11", "-O2", "-fPIC", "-shared", "-ffp-contract=off", "-D_GNU_SOURCE", "-I" + ROOT]
    objects = []
    for c in glob.glob(ROOT + "/image/*.c") + glob.glob(ROOT + "/base/*.c"):
        o = os.path.join(folder, os.path.basename(c) + ".o")
        isa = ["-mavx2"] if c.endswith("_avx2.c") else []
        define = ["-D__builtin_cpu_supports(x)=0"] if plain else []
        subprocess.check_call(["cc", "-c", "-o", o, c] + flags + isa + define)
        objects.append(o)
    subprocess.check_call(["cc", "-shared", "-o", out] + objects + ["-ljpeg", "-lpng", "-lz", "-lwebp", "-lgif",
                                                                    "-ljansson", "-lm"])
    return ctypes.CDLL(out)


def as_pixels(a):
    return Pixels(a.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8)), a.shape[1], a.shape[0])


def ours(lib, a, size, number, how):
    out, e, px = Pixels(), Err(), as_pixels(a)
    if lib.pixels_resize(ctypes.byref(out), ctypes.byref(px), size[0], size[1], number, how, ctypes.byref(e)):
        raise RuntimeError(e.text.decode())
    got = np.ctypeslib.as_array(out.data, shape=(out.height, out.width, 3)).copy()
    lib.pixels_free(ctypes.byref(out))
    return got


def reference(a, size, number, how, layout):
    if how == 0:
        return np.asarray(Image.fromarray(a).resize(size, number))
    t = torch.from_numpy(a).permute(2, 0, 1)
    if layout == "contiguous":
        t = t.contiguous()
    return tvf.resize(t, [size[1], size[0]], interpolation=TORCH[number], antialias=True).permute(1, 2, 0).numpy()


def picture(rng, w, h):
    kind = rng.integers(4)
    if kind == 0:
        return rng.integers(0, 256, (h, w, 3), dtype=np.uint8)
    if kind == 1:  # black and white: the filters overshoot
        return (rng.integers(0, 2, (h, w, 3)) * 255).astype(np.uint8)
    if kind == 2:  # smooth
        y, x = np.mgrid[0:h, 0:w]
        return np.stack([(x * 3 + y) % 256, (x + y * 2) // 3 % 256, (x * y) % 256], -1).astype(np.uint8)
    return np.full((h, w, 3), rng.integers(0, 256, 3), dtype=np.uint8)


class Limits(ctypes.Structure):
    _fields_ = [("max_bytes", ctypes.c_size_t), ("max_side", ctypes.c_int), ("max_pixels", ctypes.c_size_t)]


def decoded(lib, data):
    out, e, limits = Pixels(), Err(), Limits(1 << 30, 4096, 4096 * 4096)
    if lib.image_decode(data, ctypes.c_size_t(len(data)), ctypes.byref(limits), None, ctypes.byref(out),
                        ctypes.byref(e)):
        raise RuntimeError(e.text.decode())
    got = np.ctypeslib.as_array(out.data, shape=(out.height, out.width, 3)).copy()
    lib.pixels_free(ctypes.byref(out))
    return got


def encoded(r, rng, w, h):
    """A random picture in a random format, and a word that names the way."""
    mode = r.choice(["RGB", "RGB", "L", "CMYK", "RGBA"])
    im = Image.fromarray(np.ascontiguousarray(picture(rng, w, h))).convert(mode)
    if mode == "RGBA":
        im.putalpha(Image.fromarray(rng.integers(0, 256, (h, w), dtype=np.uint8)))
    kind = r.choice(["JPEG", "JPEG", "WEBP", "PNG", "GIF"])
    options, word = {}, kind
    if kind == "JPEG":
        im = im.convert("RGB") if mode == "RGBA" else im
        options = {"quality": r.randint(1, 100), "progressive": r.random() < 0.4, "optimize": r.random() < 0.3}
        if mode in ("RGB", "RGBA"):
            options["subsampling"] = r.choice([0, 1, 2])
        word = f"JPEG {im.mode}"
    elif mode == "CMYK":
        im = im.convert("RGB")
    if kind == "WEBP":
        options = {"lossless": r.random() < 0.3, "quality": r.randint(0, 100), "method": r.randint(0, 4),
                   "exact": r.random() < 0.5}
        word = f"WebP {im.mode}"
    if kind == "GIF":
        options = {"interlace": r.random() < 0.5, "optimize": r.random() < 0.3}
        word = f"GIF {im.mode}"
    out = io.BytesIO()
    im.save(out, kind, **options)
    return out.getvalue(), word


def compare_decoding(lib, r, rng, cases):
    count = {}
    for _ in range(cases):
        top = r.choice([8, 40, 300, 1200])
        data, word = encoded(r, rng, r.randint(1, top), r.randint(1, top))
        same = np.array_equal(to_rgb(Image.open(io.BytesIO(data))), decoded(lib, data))
        n, d = count.get((word, "pil"), (0, 0))
        count[word, "pil"] = (n + 1, d + (not same))
    return count


def sides(r, i):
    if i < len(SIZES):
        return SIZES[i]
    top = r.choice([8, 40, 300, 1200])
    if r.random() < 0.2:  # small to larger: where the rounding of nearest shows
        return (r.randint(1, 12) * 2, r.randint(1, 12) * 2), (r.randint(20, 300), r.randint(20, 300))
    return tuple((r.randint(1, top), r.randint(1, top)) for _ in range(2))


def compare_resizing(lib, r, rng, cases):
    count, shown = {}, 0
    for i in range(cases):
        (w, h), size = sides(r, i)
        a = np.ascontiguousarray(picture(rng, w, h))
        ways = [(n, 0, "-") for n in FILTERS.values()]
        ways += [(n, 1, layout) for n in TORCH for layout in ("contiguous", "channels_last")]
        for number, how, layout in ways:
            name = next(k for k, v in FILTERS.items() if v == number)
            try:
                want = reference(a, size, number, how, layout)
            except RuntimeError as e:  # an assertion inside torch, when the result is 1x1
                print(f"the reference fails: {name} {layout} {w}x{h} -> {size}: {str(e)[:80]}")
                continue
            got = ours(lib, a, size, number, how)
            key = (name, "pil" if how == 0 else "torchvision " + layout)
            n, d = count.get(key, (0, 0))
            same = np.array_equal(want, got)
            count[key] = (n + 1, d + (not same))
            if not same and shown < 20:
                shown += 1
                diff = np.abs(want.astype(int) - got.astype(int))
                print(f"differs: {key} {w}x{h} -> {size}: {(diff > 0).mean():.4%} of the bytes, up to {diff.max()}")
    return count


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--cases", type=int, default=2000)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--plain", action="store_true")
    p.add_argument("--decode", action="store_true")
    args = p.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        compare = compare_decoding if args.decode else compare_resizing
        count = compare(library(folder, args.plain), random.Random(args.seed), np.random.default_rng(args.seed),
                        args.cases)
    for key, (n, d) in sorted(count.items()):
        print(f"{key[0]:9} {key[1]:26} {n - d} of {n} equal")
    sys.exit(1 if any(d for _, d in count.values()) else 0)


if __name__ == "__main__":
    main()
