#!/usr/bin/env python3
"""Decoding and resizing a phone screenshot: image/ beside Pillow and
torchvision, one thread each, best of --rounds runs.

    python tests/bench/image_bench.py [--rounds 15] [--plain]
"""
import argparse
import io
import os
import sys
import tempfile
import time

import numpy as np
import torch
from PIL import Image, ImageDraw

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, ROOT + "/tests/image")
import against_reference as ref  # noqa: E402


def screenshot():
    im = Image.new("RGB", (1080, 2400), (245, 246, 248))
    d, rng = ImageDraw.Draw(im), np.random.default_rng(1)
    for i in range(24):
        x, y = 60 + i % 4 * 250, 200 + i // 4 * 320
        d.rounded_rectangle((x, y, x + 180, y + 180), 40, fill=tuple(int(v) for v in rng.integers(0, 256, 3)))
        d.text((x + 20, y + 200), f"Application {i}", fill=(20, 20, 20), font_size=26)
    y, x = np.mgrid[0:400, 0:1080]
    photo = np.stack([x / 5 + rng.normal(0, 9, x.shape), y / 2 + 20, 128 + 90 * np.sin(x / 60)], -1).clip(0, 255)
    im.paste(Image.fromarray(photo.astype(np.uint8)), (0, 1990))
    return im


def best(rounds, f):
    times = []
    for _ in range(rounds):
        t = time.perf_counter()
        f()
        times.append(time.perf_counter() - t)
    return min(times) * 1e3


def row(name, theirs, own):
    print(f"{name:44} {own:8.2f} ms   reference {theirs:8.2f} ms   {theirs / own:5.2f} x")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--rounds", type=int, default=15)
    p.add_argument("--plain", action="store_true")
    args = p.parse_args()
    torch.set_num_threads(1)
    im, n = screenshot(), args.rounds
    a = np.asarray(im).copy()
    t = torch.from_numpy(a).permute(2, 0, 1).contiguous()
    with tempfile.TemporaryDirectory() as folder:
        lib = ref.library(folder, args.plain)
        for kind, options in (("PNG", {}), ("PNG", {"rgba": True}), ("JPEG", {"quality": 90}),
                              ("WEBP", {"quality": 80})):
            out = io.BytesIO()
            alpha = options.pop("rgba", False)
            (im.convert("RGBA") if alpha else im).save(out, kind, **options)
            data = out.getvalue()
            row(f"decode {kind}{' RGBA' if alpha else ''}, {len(data) >> 10} KiB, Pillow",
                best(n, lambda: ref.to_rgb(Image.open(io.BytesIO(data)))), best(n, lambda: ref.decoded(lib, data)))
        for size in ((1092, 2408), (288, 640), (1008, 2240)):
            for name, number in (("bicubic", 3), ("lanczos", 1), ("bilinear", 2)):
                row(f"{name} to {size[0]}x{size[1]}, Pillow", best(n, lambda: im.resize(size, number)),
                    best(n, lambda: ref.ours(lib, a, size, number, 0)))
                row(f"{name} to {size[0]}x{size[1]}, torchvision",
                    best(n, lambda: ref.reference(a, size, number, 1, "contiguous")),
                    best(n, lambda: ref.ours(lib, a, size, number, 1)))


if __name__ == "__main__":
    main()
