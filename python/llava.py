"""LLaVA-NeXT and LLaVA-OneVision for golden.py, tiny.py and published.py: configurations, tokenizers' shapes, inputs.

LLaVA-NeXT is published with several text models: `published` has Llama 3's tokenizer.  OneVision's prompts differ with
the number of their pictures: `published` has two, `tiles` one, of whose features some are left out.
"""
import json
import os

import torch
import transformers
from PIL import Image

NEXT, ONEVISION = FAMILIES = ["llava_next", "llava_onevision"]
SPECIAL = ["<|endoftext|>", "<image>", "<video>"]
TEMPLATE = """{% for m in messages %}{{ m.role }}: {% for p in m.content %}{% if p.type == 'image' %}<image>\
{% elif p.type == 'text' %}{{ p.text }}{% endif %}{% endfor %}<|endoftext|>
{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"""
CANVASES = [[1, 2], [2, 1], [2, 2], [3, 1], [1, 3]]     # in tiles
SIZES = [(50, 37), (22, 90)]         # of the pictures in the golden prompts


def shapes(llama, qwen):
    """Of published.SHAPES; llama, qwen: those of the text models."""
    return {NEXT: llama | {"special": llama["special"] + ["<image>"], "plain": [], "template": "llava_next",
                           "parts": True, "file": "chat_template.json", "prefix": ["<|begin_of_text|>"],
                           "whole_words": True},
            ONEVISION: qwen | {"special": ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>"],
                               "plain": [], "template": "llava_onevision", "file": "chat_template.json", "parts": True}}


def vision(kind, width, layers, heads, inner, image, patch, **more):
    return {"model_type": kind, "hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads,
            "intermediate_size": inner, "image_size": image, "patch_size": patch, **more}


def case(kind, text, tower, canvases, **more):
    """(configuration, what the image processor is told)"""
    size = tower["image_size"]
    grid = [[y * size, x * size] for y, x in canvases]
    return ({"model_type": kind, "text_config": text, "vision_config": tower, "image_grid_pinpoints": grid,
             "image_token_index": 256 + SPECIAL.index("<image>"), **more}, {"size": size, "grid": grid})


def cases(text):
    rope = {"rope_type": "default", "rope_theta": 10000.0}
    llama = text(272, 32, 4, 2, 2, 48, rope_parameters=rope) | {"model_type": "llama"}
    mistral = text(272, 48, 3, 1, 3, 40, rope_parameters=rope, sliding_window=None) | {"model_type": "mistral"}
    qwen = text(272, 32, 2, 2, 3, 48, rope_parameters=rope) | {"model_type": "qwen2"}
    clip = vision("clip_vision_model", 24, 3, 2, 32, 16, 4, projection_dim=16, hidden_act="quick_gelu")
    other = vision("clip_vision_model", 32, 3, 4, 24, 12, 4, projection_dim=16, hidden_act="gelu")
    siglip = vision("siglip_vision_model", 24, 2, 2, 32, 18, 4, vision_use_head=False)
    video = {"video_token_index": 256 + SPECIAL.index("<video>")}
    square = [[y, x] for y in (1, 2, 3) for x in (1, 2, 3)]
    return {NEXT: {"published": case(NEXT, llama, clip, CANVASES),
                   "mistral": case(NEXT, mistral, other, CANVASES, multimodal_projector_bias=False,
                                   vision_feature_layer=-1, projector_hidden_act="gelu_pytorch_tanh")},
            ONEVISION: {"published": case(ONEVISION, qwen, siglip, square, **video),
                        "tiles": case(ONEVISION, qwen, siglip, square, vision_aspect_ratio="anyres_max_3",
                                      tie_word_embeddings=True, **video)}}


def sizes(family, variant):
    return SIZES[:1] if variant == "tiles" else SIZES


def chat():
    """Of one picture."""
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Where is it?"}]}]


def save_processor(family, told, out):
    size = told["size"]
    if family == NEXT:
        p = transformers.LlavaNextImageProcessor(size={"shortest_edge": size}, image_grid_pinpoints=told["grid"],
                                                 crop_size={"height": size, "width": size})
    else:
        p = transformers.LlavaOnevisionImageProcessor(size={"height": size, "width": size},
                                                      image_grid_pinpoints=told["grid"])
    with open(os.path.join(out, "preprocessor_config.json"), "w") as f:
        json.dump({k: v for k, v in json.loads(p.to_json_string()).items() if not k.startswith("_")}, f, indent=1)
    return p


def inputs(model, proc, images, ids, tok, messages):
    """As golden.INPUTS."""
    family, place = model.config.model_type, model.config.image_token_index
    pictures, out = [Image.fromarray(i) for i in images], {}
    p = proc(images=[pictures], return_tensors="pt") if family == ONEVISION else proc(images=pictures,
                                                                                       return_tensors="pt")
    given = {k: p[k] for k in ("pixel_values", "image_sizes", "batch_num_images") if k in p}
    with torch.no_grad():
        features = model.model.get_image_features(**given).pooler_output
    for i, im in enumerate(images):
        v = p["pixel_values"][i]
        v = v[(v != 0).flatten(1).any(1)]              # without what fills up a batch
        out |= {f"image.{i}": torch.from_numpy(im), f"image_tokens.{i}": features[i],
                **({f"pixels.{i}": v[[0, 1, len(v) - 1]].flatten(1)} if len(v) > 1 else {})}
    counts, expanded = [len(f) for f in features], []
    for x in ids:
        expanded += [place] * counts.pop(0) if x == place else [x]
    return expanded, lambda x: given, out


def row_of(p):
    """Of golden.json's preprocessing: what becomes of one image."""
    return {"squares": p["pixel_values"].shape[1]}
