"""InternVL in the form of the code that was published with it, for golden.py, tiny.py and published.py.

The reference is transformers' InternVL with the weights as its convert_internvl_weights_to_hf.py names and cuts them.
Tiles are chosen and resized as dynamic_preprocess() of the model cards does it.
"""
import json
import os

import torch
from safetensors.torch import load_file, save_file
from transformers import GotOcr2ImageProcessor

import internvl
from llava15 import text

FAMILY = "internvl_chat"
PLACE = internvl.TOKENS[2]
# Parts of names: transformers' on the disk, and what its conversion makes them of
NAMES = [("vision_tower.", "vision_model."), ("multi_modal_projector.layer_norm.", "mlp1.0."),
         ("multi_modal_projector.linear_1.", "mlp1.1."), ("multi_modal_projector.linear_2.", "mlp1.3.")]
TOWER = [("encoder.layer.", "encoder.layers."), ("cls_token", "class_embedding"),
         ("position_embeddings", "position_embedding"), ("patch_embeddings.projection", "patch_embedding"),
         ("attention.projection_layer", "attn.proj"), ("attention.", "attn."), ("layernorm_before", "norm1"),
         ("layernorm_after", "norm2"), (".lambda_", ".ls")]
# Likewise fields of vision_config, and those that the published one does not have
FIELDS = {"use_qk_norm": "qk_normalization", "attention_bias": "qkv_bias"}
DROPPED = {"use_absolute_position_embeddings", "use_mask_token", "use_mean_pooling", "layer_scale_init_value",
           "projection_dropout"}
MEAN, STD = [.485, .456, .406], [.229, .224, .225]


def case(text_config, vision, most, least=1, thumbnail=True, **more):
    return ({"text_config": text_config, "vision_config": vision, "image_token_id": 266, **more},
            {"pictures": internvl.PICTURES, "side": vision["image_size"][0], "least": least, "most": most,
             "thumbnail": thumbnail})


CASES = {
    "tiles": case(text("qwen2", 320, 32, 4, 2, 2, 40, tie_word_embeddings=False, rope_parameters=internvl.ROPE),
                  internvl.vision(24, 3, 2, 32, 16, 4, attention_bias=True), 4, tie_word_embeddings=False),
    "norms": case(text("llama", 288, 24, 2, 1, 2, 40, tie_word_embeddings=True, rope_parameters=internvl.ROPE),
                  internvl.vision(32, 2, 2, 40, 12, 3, use_qk_norm=True, norm_type="rms_norm"), 6, 2, False),
}


def flat(messages, place=PLACE):
    """Contents as strings, which is all that the templates know: images first, one a line, then the texts."""
    def one(content):
        if isinstance(content, str):
            return content
        return "\n".join([place for p in content if p["type"] == "image"] +
                         [p["text"] for p in content if p["type"] == "text"])

    return [m | {"content": one(m["content"])} if m.get("content") else m for m in messages]


def renamed(name, back=False):
    for new, old in NAMES + (TOWER if "vision" in name else []):
        name = name.replace(old, new) if back else name.replace(new, old)
    return name


def converted(tensors):
    """The published form's tensors as transformers' conversion names and cuts them."""
    out = {}
    for name, t in tensors.items():
        name = renamed(name, back=True)
        parts = dict(zip("qkv", t.chunk(3))) if ".qkv." in name else {"": t}
        out |= {name.replace(".qkv.", f".{p}_proj."): x.contiguous() for p, x in parts.items()}
    return out


def unconverted(tensors):
    """The tensors that the conversion would make these of."""
    out = {}
    for name, t in tensors.items():
        projection = next((p for p in "qkv" if f".attention.{p}_proj." in name), None)
        if projection == "q":
            parts = [tensors[name.replace(".q_proj.", f".{p}_proj.")] for p in "qkv"]
            out[renamed(name).replace(".q_proj.", ".qkv.")] = torch.cat(parts)
        elif not projection:
            out[renamed(name)] = t
    assert set(converted(out)) == set(tensors) and all(torch.equal(converted(out)[k], v) for k, v in tensors.items())
    return out


def shapes(of):
    """Name -> shape of the published form; of: those of transformers' class in memory."""
    out = {}
    for name, shape in of.items():
        name = name.removeprefix("model.").replace("language_model.", "language_model.model.")
        name = renamed(name.replace("lm_head", "language_model.lm_head"))
        if ".attn.q_proj." in name:
            out[name.replace(".q_proj.", ".qkv.")] = (3 * shape[0], *shape[1:])
        elif not (".attn.k_proj." in name or ".attn.v_proj." in name):
            out[name] = shape
    return out


def configuration(config, told):
    """That of the published form: config.json of transformers' form, and what the image processor is told."""
    vision = {FIELDS.get(k, k): v[0] if isinstance(v, list) else v for k, v in config["vision_config"].items()
              if k not in DROPPED}
    llm = dict(config["text_config"])
    rope = llm.pop("rope_parameters")
    return {"model_type": FAMILY, "architectures": ["InternVLChatModel"], "downsample_ratio": .5,
            "dynamic_image_size": True, "force_image_size": told["side"],
            "llm_config": llm | {"rope_theta": rope["rope_theta"], "rope_scaling": None},
            "max_dynamic_patch": told["most"], "min_dynamic_patch": told["least"], "pad2square": False,
            "ps_version": "v2", "select_layer": -1, "template": "internvl2_5", "use_thumbnail": told["thumbnail"],
            "tie_word_embeddings": config["text_config"].get("tie_word_embeddings", False), "torch_dtype": "bfloat16",
            "vision_config": vision | {"model_type": "intern_vit_6b"}}


def respell(told, out):
    """Writes the checkpoint in `out` in the published form."""
    weights, config = os.path.join(out, "model.safetensors"), os.path.join(out, "config.json")
    save_file(unconverted(load_file(weights)), weights, {"format": "pt"})
    with open(config) as f:
        mine = configuration(json.load(f), told)
    with open(config, "w") as f:
        json.dump(mine, f, indent=1)


class Processor:
    """dynamic_preprocess() of the model cards, and the values of transformers' processor."""

    def __init__(self, told):
        self.told, self.side = told, told["side"]
        self.values = GotOcr2ImageProcessor(do_resize=False, crop_to_patches=False, image_mean=MEAN, image_std=STD)

    def grid(self, width, height):
        """(columns, rows) of the tiles of a picture"""
        least, most = self.told["least"], self.told["most"]
        grids = {(i, j) for n in range(least, most + 1) for i in range(1, n + 1) for j in range(1, n + 1)
                 if least <= i * j <= most}
        best, found = float("inf"), (1, 1)
        for g in sorted(grids, key=lambda g: g[0] * g[1]):
            d = abs(width / height - g[0] / g[1])
            if d < best or (d == best and width * height > .5 * self.side * self.side * g[0] * g[1]):
                found = g
            best = min(d, best)
        return found

    def canvases(self):
        """Of pictures of many shapes: their size and their tiles."""
        sides = [1, 8, 15, 16, 24, 33, 40, 64, 97, 200, 1080, 2400]
        grids = {(w, h): self.grid(w, h) for w in sides for h in sides}
        return ["{}x{} {}x{}".format(*size, *g) for size, g in grids.items()]

    def tiles(self, image):
        s, (w, h) = self.side, self.grid(*image.size)
        whole = image.resize((w * s, h * s))
        out = [whole.crop((i % w * s, i // w * s, (i % w + 1) * s, (i // w + 1) * s)) for i in range(w * h)]
        return out + [image.resize((s, s))] * (self.told["thumbnail"] and len(out) > 1)

    def __call__(self, images, return_tensors):
        tiles = [self.tiles(i) for i in images]
        p = self.values(images=[t for of in tiles for t in of], return_tensors=return_tensors)
        return {"pixel_values": p["pixel_values"], "num_patches": [len(t) for t in tiles]}


def save_processor(told, out):
    respell(told, out)
    with open(os.path.join(out, "preprocessor_config.json"), "w") as f:
        json.dump({"crop_size": told["side"], "do_center_crop": True, "do_normalize": True, "do_resize": True,
                   "feature_extractor_type": "CLIPFeatureExtractor", "image_mean": MEAN, "image_std": STD,
                   "resample": 3, "size": told["side"]}, f, indent=1)
    return Processor(told)


