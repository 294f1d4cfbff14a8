"""Pixtral and Mistral Small 3.1 for golden.py, tiny.py and published.py: configurations, the shape of their tokenizer,
and the inputs of a model with pictures of any shape, whose rows end with a token."""
import json
import os

import torch
from PIL import Image
from transformers import PixtralImageProcessor, PixtralProcessor

from llava15 import text

FAMILY = "pixtral"
PATTERN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
           r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}|"
           r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
SPECIAL = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]",
           "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]",
           "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]"]
TINY = ["<s>", "</s>", "[INST]", "[/INST]", "[IMG]", "[IMG_BREAK]", "[IMG_END]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"]
PICTURES = [(44, 30), (23, 41)]
ROPE = {"rope_type": "default", "rope_theta": 1e6}


def vision(width, heads, layers, inner, patch, theta):
    return {"model_type": "pixtral", "hidden_size": width, "num_attention_heads": heads, "num_hidden_layers": layers,
            "intermediate_size": inner, "image_size": 40, "patch_size": patch, "hidden_act": "silu",
            "rope_parameters": {"rope_type": "axial", "rope_theta": theta}}


def told(patch, merge, longest):
    return {"pictures": PICTURES, "patch": patch, "merge": merge, "longest": longest,
            "call": {"patch_size": {"height": patch * merge, "width": patch * merge}}}


# The first one is Mistral Small's shape, the other one is Pixtral's, whose model_type is that of LLaVA.
CASES = {
    "merged": ({"text_config": text("mistral", 320, 32, 4, 2, 2, 48, head_dim=12, sliding_window=None,
                                    rope_parameters=ROPE),
                "vision_config": vision(32, 2, 2, 40, 4, 10000.0), "image_token_index": 260, "spatial_merge_size": 2},
               told(4, 2, 40)),
    "plain": ({"text_config": text("mistral", 320, 24, 3, 3, 2, 40, sliding_window=None, tie_word_embeddings=True,
                                   rope_parameters=ROPE),
               "vision_config": vision(24, 3, 3, 40, 6, 500.0), "image_token_index": 260, "vision_feature_layer": -1,
               "vision_feature_select_strategy": "full"}, told(6, 1, 30)),
}
CLASSES = {"plain": "LlavaForConditionalGeneration"}


SHAPE = {"pattern": PATTERN, "nfc": False, "class": "PreTrainedTokenizerFast", "special": SPECIAL, "plain": [],
         "bos": "<s>", "eos": ["</s>"], "pad": "<pad>", "template": "pixtral", "file": "chat_template.jinja",
         "prefix": ["<s>"], "named": {"unk_token": "<unk>"}}


def save_processor(told, out):
    p = PixtralImageProcessor(size={"longest_edge": told["longest"]},
                              patch_size={"height": told["patch"], "width": told["patch"]})
    with open(os.path.join(out, "preprocessor_config.json"), "w") as f:
        json.dump({k: v for k, v in json.loads(p.to_json_string()).items() if not k.startswith("_")}, f, indent=1)
    return p


def inputs(model, proc, images, ids, tok, messages):
    """As golden.INPUTS: the prompt is the processor's own, and so are the pictures' sizes."""
    c = model.config
    processor = PixtralProcessor(proc, tok, patch_size=c.vision_config.patch_size,
                                 spatial_merge_size=getattr(c, "spatial_merge_size", 1))
    said = tok.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    p = processor(images=[Image.fromarray(i) for i in images], text=said, return_tensors="pt", add_special_tokens=False)
    ids, pixels, sizes = p["input_ids"][0].tolist(), p["pixel_values"], p["image_sizes"]
    with torch.no_grad():
        features = model.get_image_features(pixels, image_sizes=sizes).pooler_output
    side = c.vision_config.patch_size * getattr(c, "spatial_merge_size", 1)
    out = {"extents": torch.tensor([h // side * (w // side + 1) for h, w in sizes.tolist()], dtype=torch.int32),
           "positions": torch.arange(len(ids)).int().expand(3, -1).contiguous()}
    for i, image in enumerate(images):
        h, w = sizes[i].tolist()
        out |= {f"image.{i}": torch.from_numpy(image), f"pixels.{i}": pixels[i, :, :h, :w].flatten(1),
                f"image_tokens.{i}": features[i]}
    return ids, lambda x: {"pixel_values": pixels, "image_sizes": sizes}, out
