"""InternVL in transformers' form for golden.py, tiny.py and published.py: configurations, and the inputs of a model
that looks at tiles of a picture and at a small one of all."""
import json
import os

import torch
from PIL import Image
from transformers import GotOcr2ImageProcessor

from llava15 import text

FAMILY = "internvl"
TOKENS = ["<img>", "</img>", "<IMG_CONTEXT>"]
PICTURES = [(40, 18), (17, 50)]
ROPE = {"rope_type": "default", "rope_theta": 1e6}


def vision(width, heads, layers, inner, side, patch, **more):
    return {"hidden_size": width, "num_attention_heads": heads, "num_hidden_layers": layers, "intermediate_size": inner,
            "image_size": [side, side], "patch_size": [patch, patch], **more}


CASES = {
    "tiles": ({"text_config": text("qwen2", 320, 32, 4, 2, 2, 48, tie_word_embeddings=False, rope_parameters=ROPE),
               "vision_config": vision(24, 3, 2, 32, 16, 4), "image_token_id": 266, "tie_word_embeddings": False},
              {"pictures": PICTURES, "side": 16, "most": 4}),
    "norms": ({"text_config": text("qwen3", 288, 24, 2, 1, 2, 40, head_dim=16, tie_word_embeddings=True,
                                   rope_parameters=ROPE),
               "vision_config": vision(32, 2, 3, 40, 12, 3, use_qk_norm=True, norm_type="rms_norm", attention_bias=True,
                                       use_mean_pooling=False), "image_token_id": 266},
              {"pictures": PICTURES, "side": 12, "most": 6}),
}


def save_processor(told, out):
    p = GotOcr2ImageProcessor(size={"height": told["side"], "width": told["side"]}, crop_to_patches=True, min_patches=1,
                              max_patches=told["most"])
    with open(os.path.join(out, "preprocessor_config.json"), "w") as f:
        json.dump({k: v for k, v in json.loads(p.to_json_string()).items() if not k.startswith("_")}, f, indent=1)
    return p


def inputs(model, proc, images, ids, tok, messages):
    """As golden.INPUTS: every picture's tiles follow one another, and marks stand around their places."""
    c = model.config
    begin, end, place = tok.convert_tokens_to_ids(TOKENS)
    assert place == c.image_token_id
    p = proc(images=[Image.fromarray(i) for i in images], return_tensors="pt")
    pixels, tiles = p["pixel_values"], [int(n) for n in p["num_patches"]]
    with torch.no_grad():
        features = model.get_image_features(pixels).pooler_output
    at, out, left = 0, {}, list(tiles)
    each = features.shape[1]
    ids = [i for t in ids for i in ([begin] + [place] * (each * left.pop(0)) + [end] if t == place else [t])]
    for i, image in enumerate(images):
        v = pixels[at:at + tiles[i]].flatten(1)
        out |= {f"image.{i}": torch.from_numpy(image), f"pixels.{i}": v[[0, 1, -1]],
                f"image_tokens.{i}": features[at:at + tiles[i]].flatten(0, 1)}
        at += tiles[i]
    out["extents"] = torch.tensor([2 + each * n for n in tiles], dtype=torch.int32)
    out["positions"] = torch.arange(len(ids)).int().expand(3, -1).contiguous()
    return ids, lambda x: {"pixel_values": pixels}, out
