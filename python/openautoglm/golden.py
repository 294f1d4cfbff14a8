"""Makes the fixtures that the C implementation is tested against.

    python -m openautoglm.golden models/open-autoglm-v1 tests/model/open_autoglm

Writes one folder per case: golden.safetensors, all computed in fp32 from bf16
weights, and the pixels once more as PNG.  Tensors of a case: `ids` (the
prompt, each image expanded to its image tokens), `image.N` (H, W, 3) bytes,
`fine.N` and `image_tokens.N` (the first KEPT rows), `logits` of the last ROWS
rows, `greedy` (the continuation without the end token), `embedding.N` per
image and `embedding.text`.  The cases tiny-* bring random weights of their
own, in odd shapes, one for each switch of config.json.
"""
import os
import random
import sys

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file

from . import export, fonts, preprocess, screens
from . import tokenizer as t
from .config import Config, VisionConfig
from .model import Model

KEPT, ROWS = 64, 8
SMALL_STEM = ((8, 2, 2), (8, 3, 1), (16, 2, 2), (24, 2, 2))
SMALL_VISION = dict(stem_channels=8, stem=SMALL_STEM, hidden_size=24, num_hidden_layers=1, num_attention_heads=3,
                    intermediate_size=40)
TINY = {
    "tiny-mean": dict(fusion="mean"),
    "tiny-concat": dict(fusion="concat", cross_attention_every=2, num_hidden_layers=3),
    "tiny-plain": dict(cross_attention=False, num_attention_heads=3, num_key_value_heads=1, head_dim=16),
    "tiny-wide": dict(num_attention_heads=6, num_key_value_heads=3, feature_norm=False, rms_norm_eps=1e-5,
                      vision_config=VisionConfig(**{**SMALL_VISION, "hidden_size": 40, "num_attention_heads": 5,
                                                    "num_hidden_layers": 2,
                                                    "rope_theta": 50., "position_frequencies": 5,
                                                    "position_max_cycles": 16.})),
}


def tiny(switches, seed):
    """A random model in the form that is served, rounded to bf16."""
    torch.manual_seed(seed)
    vision = switches.get("vision_config", VisionConfig(**SMALL_VISION))
    c = Config(**{**dict(vocab_size=128, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
                         num_key_value_heads=2, head_dim=8,
                         intermediate_size=56, projection_dim=48), **switches, "vision_config": vision})
    model = Model(c)
    with torch.no_grad():
        for name, p in model.named_parameters():     # biases and norms that do something
            if p.dim() == 1:
                p += .1 * torch.randn_like(p)
        for name, b in model.named_buffers():
            if name.endswith("running_mean"):
                b += .1 * torch.randn_like(b)
    return model.fold()


def embed_image(model, fine):
    """fine (cells, v) -> (projection_dim)"""
    return normalised(model, model.projection.image(fine.mean(0)))


def embed_text(model, ids):
    return normalised(model, model.projection.text(model(torch.tensor(ids)).mean(0)))


def normalised(model, x):
    return F.normalize(x, dim=-1) if model.c.feature_norm else x


@torch.no_grad()
def case(model, directory, images, ids):
    """ids: the prompt with one image token per image"""
    os.makedirs(directory, exist_ok=True)
    out, expanded, count = {}, [], iter(images)
    for token in ids:
        image = next(count) if token == t.IMAGE else None
        expanded += [token] * (image.width // 32 * (image.height // 32)) if image else [token]
    pixels = [preprocess.pixels(i) for i in images]
    for n, image in enumerate(images):
        image.save(os.path.join(directory, f"{n}.png"), optimize=True)
        out[f"image.{n}"] = torch.from_numpy(np.array(image))
        fine, tokens, _ = model.see(pixels[n][None])
        out[f"fine.{n}"], out[f"image_tokens.{n}"] = fine[0, :KEPT].contiguous(), tokens[0, :KEPT].contiguous()
        out[f"embedding.{n}"] = embed_image(model, fine[0])
    text = [i for i in ids if i != t.IMAGE]
    out["ids"] = torch.tensor(expanded, dtype=torch.int32)
    out["text"], out["embedding.text"] = torch.tensor(text, dtype=torch.int32), embed_text(model, text)
    out["logits"] = model.logits(model(torch.tensor(expanded), pixels)[-ROWS:])
    out["greedy"] = torch.tensor(model.generate(expanded, pixels), dtype=torch.int32)
    save_file(out, os.path.join(directory, "golden.safetensors"))


def noise(r, w, h):
    """Smooth colours: every pixel matters and PNG stays small"""
    return Image.fromarray(np.uint8([[[r.randrange(256) for _ in "rgb"] for _ in range(w // 16)]
                                     for _ in range(h // 16)])).resize((w, h), Image.BICUBIC)


def screen(r, w, h):
    s = screens.draw(r, w, h, scale=1)
    return s.image.quantize(64).convert("RGB"), s


def main(argv=None):
    directory, out = argv or sys.argv[1:]
    fonts.need()
    r, model = random.Random(7), export.load(directory)
    image, s = screen(r, 288, 640)
    ask = next(q for q in s.questions if q.task == "tap")
    case(model, os.path.join(out, "screen"), [image], [t.IMAGE, *t.prompt(ask.text)])
    case(model, os.path.join(out, "small"), [noise(r, 96, 64)], [t.IMAGE, *t.prompt("How many icons are there?")])
    case(model, os.path.join(out, "two"), [noise(r, 64, 96), screen(r, 128, 160)[0]],
         [t.IMAGE, *t.prompt("What is the title?"), *t.answer('finish(message="OK")'), t.IMAGE, *t.prompt('Tap "OK"')])
    case(model, os.path.join(out, "text"), [], t.prompt('Type "Hello"'))
    for n, (name, switches) in enumerate(TINY.items()):
        path = os.path.join(out, name)
        export.write_weights(tiny(switches, n), path)
        small, ids = export.load(path), [9, t.IMAGE, 100, 17, t.IMAGE, 55, 3, 127, 64]
        case(small, path, [noise(r, 64, 32), noise(r, 96, 64)], ids)


if __name__ == "__main__":
    main()
