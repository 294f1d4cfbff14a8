"""PaliGemma and PaliGemma 2 for golden.py, tiny.py and published.py: configurations, a tokenizer, inputs.

The published checkpoints have no chat template.  templates/paligemma.jinja is the server's own: images, bos, the texts
and a line break, as the reference's processor builds a prompt.
"""
import copy
import json
import os

import torch
from PIL import Image
from tokenizers import AddedToken
from transformers import PaliGemmaProcessor, SiglipImageProcessor

import gemma

FAMILY = "paligemma"
SECOND = "second"                    # the variant whose text model is Gemma 2
PLACES = [f"<loc{i:04d}>" for i in range(16)] + [f"<seg{i:03d}>" for i in range(4)]      # published: 1024 and 128
IMAGE = "<image>"
NAMED = {"unk_token": "<unk>", "mask_token": "<mask>", "extra_special_tokens": {"image_token": IMAGE}}
CHAT = [{"role": "user", "content": [{"type": "image"}, {"type": "image"},
                                     {"type": "text", "text": "detect cafe\u0301 <loc0003><seg001> ; 2"}]}]
CONVERSATION = [{"role": "system", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "Where's the cafe\u0301? 在哪里？"},
                                             {"type": "image"}, {"type": "text", "text": " It's 12345 🙂\n\n?"}]}]
PLAIN = [{"role": "user", "content": "Where is it?"}]


def backend(text, merges, renamed=None):
    """Gemma's, and behind it tokens for places, which are ordinary text, and that of an image."""
    t = gemma.backend(text, merges, renamed, ())
    t.add_tokens([AddedToken(s, special=False, normalized=True) for s in PLACES])
    t.add_special_tokens([AddedToken((renamed or {}).get(IMAGE, IMAGE), special=True, normalized=False)])
    return t


def shape(like, backend_of):
    """`like`: Gemma's"""
    return like | {"special": gemma.FIRST + [IMAGE], "plain": PLACES, "normalized": PLACES, "template": "paligemma",
                   "file": None, "eos": ["<eos>"], "named": NAMED, "backend": backend_of}


def case(text, kind, vision, side, patch, **more):
    """text: text_config; vision: width, layers, heads, inner."""
    width, depth, heads, inner = vision
    return {"text_config": {"model_type": kind, **text, **more}, "projection_dim": text["hidden_size"],
            "hidden_size": text["hidden_size"], "image_token_index": 0,
            "vision_config": {"model_type": "siglip_vision_model", "hidden_size": width, "num_hidden_layers": depth,
                              "num_attention_heads": heads, "intermediate_size": inner, "image_size": side,
                              "patch_size": patch, "vision_use_head": False}}


def cases(texts, configure):
    """`texts`: gemma.texts(); configure: published.configure"""
    first = case(texts["gemma"]["grouped"][0], "gemma", (24, 2, 3, 32), 24, 4, hidden_act="gelu_pytorch_tanh")
    second = configure(FAMILY, case(texts["gemma2"]["windows"][0], "gemma2", (16, 1, 2, 40), 12, 4))
    second["text_config"]["num_hidden_layers"] = 3
    return {"published": (configure(FAMILY, first), {"side": 24, "tokens": 36}),
            SECOND: (second, {"sides": 12, "tokens": 9})}


def save_processor(told, out):
    side = told.get("side") or told["sides"]
    p = SiglipImageProcessor(size={"height": side, "width": side})
    d = {k: v for k, v in json.loads(p.to_json_string()).items() if not k.startswith("_")}
    with open(os.path.join(out, "preprocessor_config.json"), "w") as f:
        json.dump(d | {"image_seq_length": told["tokens"], "processor_class": "PaliGemmaProcessor"}, f, indent=1)
    p.image_seq_length = told["tokens"]
    return p


def words(messages):
    parts = [m["content"] for m in messages]
    return " ".join(p["text"] for c in parts for p in ([{"text": c}] if isinstance(c, str) else c) if "text" in p)


def kinds(x, n):
    """0 for the n tokens of the prompt, which see each other both ways, and 1 behind them."""
    return (torch.arange(x.shape[1]) >= n).int()[None]


def without_images(ids):
    """How the model is called for a prompt of text alone."""
    x = torch.tensor([ids])
    return {"input_ids": x, "attention_mask": torch.ones_like(x), "token_type_ids": kinds(x, len(ids))}


def inputs(model, proc, images, ids, tok, messages):
    """As golden.INPUTS. The prompt is the processor's own; it changes the tokenizer that it is given."""
    place, each = model.config.image_token_id, proc.image_seq_length
    known = len(tok)
    processor = PaliGemmaProcessor(proc, copy.deepcopy(tok))
    p = processor(images=[[Image.fromarray(i) for i in images]], text=[IMAGE * len(images) + words(messages)],
                  return_tensors="pt")
    ours, pixels = p["input_ids"][0].tolist(), p["pixel_values"]
    assert max(ours) < known
    expanded = [i for t in ids for i in ([place] * each if t == place else [t])]
    assert ours == expanded, "the template is not the processor's way"
    assert p["token_type_ids"][0].tolist() == [0] * len(ours)
    assert all(list(pixels.shape[2:]) == list(i.shape[:2]) for i in images), "not of the final size"

    def more(x):
        return {"pixel_values": pixels, "token_type_ids": kinds(x, len(ours))}

    with torch.no_grad():
        features = model.model.get_image_features(pixels).pooler_output
    out = {"positions": torch.arange(1, len(ours) + 1).int().expand(3, -1).contiguous()}
    for i, (im, px, f) in enumerate(zip(images, pixels, features)):
        out |= {f"image.{i}": torch.from_numpy(im), f"pixels.{i}": px.flatten(1), f"image_tokens.{i}": f}
    return ours, more, out
