"""Idefics3 and SmolVLM for golden.py, tiny.py and published.py: configurations, the tokenizer's shape, inputs.

The folder tests/model/smolvlm has both classes: `published` is SmolVLM with its tokenizer's shape and chat template,
`idefics3` is Idefics3 with tiles of another grid than the table of positions has, and that are no whole patches, as
those of SmolVLM with 384 pixels are.
"""
import json
import os

import torch
import transformers
from PIL import Image
from tokenizers import pre_tokenizers
from transformers import Idefics3Processor

FAMILY = "smolvlm"
AROUND, IMAGE, GLOBAL, END = "<fake_token_around_image>", "<image>", "<global-img>", "<end_of_utterance>"
TAGS = [GLOBAL] + [f"<row_{y}_col_{x}>" for y in range(1, 7) for x in range(1, 7)]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>", "<empty_output>", *TAGS, AROUND, IMAGE, END]
TEMPLATE = """{% for m in messages %}{{ m.role }}: {% for p in m.content %}{% if p.type == 'image' %}<image>\
{% elif p.type == 'text' %}{{ p.text }}{% endif %}{% endfor %}<|endoftext|>
{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"""
SIZES = [(50, 37), (22, 90)]         # of the pictures in the golden prompts


def cut():
    """Every digit alone, then as GPT-2 does."""
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False)])


SHAPE = {"cut": cut, "nfc": False, "class": "PreTrainedTokenizerFast", "special": SPECIAL, "plain": [], "parts": True,
         "template": "smolvlm", "file": "chat_template.json", "bos": "<|im_start|>", "eos": [END, "<|im_end|>"],
         "pad": "<|im_end|>"}


def case(kind, text, vision, scale, more):
    """(configuration, what the image processor is told)"""
    return {"model_type": kind, "text_config": {"model_type": "llama", **text}, "vision_config": vision,
            "scale_factor": scale, "image_token_id": 256 + SPECIAL.index(IMAGE)}, more


def cases(text):
    small = text(304, 32, 4, 2, 2, 48, rope_parameters={"rope_type": "default", "rope_theta": 10000.0})
    other = text(304, 48, 3, 1, 3, 40, rms_norm_eps=1e-6, rope_parameters={"rope_type": "default", "rope_theta": 300.0})
    return {
        "published": case("smolvlm", small, {
            "hidden_size": 24, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 32,
            "image_size": 16, "patch_size": 4}, 2, {"longest": 48, "tile": 16}),
        "idefics3": case("idefics3", other, {
            "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 3, "intermediate_size": 24,
            "image_size": 30, "patch_size": 4, "hidden_act": "gelu"}, 3, {"longest": 40, "tile": 26}),
    }


def model_class(variant):
    return "Idefics3ForConditionalGeneration" if variant == "idefics3" else "SmolVLMForConditionalGeneration"


def save_processor(variant, told, out):
    kind = "Idefics3ImageProcessor" if variant == "idefics3" else "SmolVLMImageProcessor"
    p = getattr(transformers, kind)(size={"longest_edge": told["longest"]},
                                    max_image_size={"longest_edge": told["tile"]})
    with open(os.path.join(out, "preprocessor_config.json"), "w") as f:
        json.dump({k: v for k, v in json.loads(p.to_json_string()).items() if not k.startswith("_")}, f, indent=1)
    return p


def parts(messages):
    """Contents as lists of parts: the template has no words for others."""
    return [m if isinstance(m.get("content"), list) else {**m, "content": [{"type": "text", "text": m["content"]}]}
            for m in messages]


def inputs(model, proc, images, ids, tok, messages):
    """As golden.INPUTS. The prompt is the processor's own."""
    vision = model.config.vision_config
    each = (proc.max_image_size["longest_edge"] // vision.patch_size // model.config.scale_factor) ** 2
    text = tok.apply_chat_template(parts(messages), add_generation_prompt=True, tokenize=False)
    pictures = [Image.fromarray(i) for i in images]
    whole = Idefics3Processor(proc, tok, each)
    p = whole(text=text, images=pictures, add_special_tokens=False, return_tensors="pt")
    out, extents = {}, []
    for i, im in enumerate(images):
        alone = proc(images=[pictures[i]], return_tensors="pt")["pixel_values"][0]
        with torch.no_grad():
            features = model.model.get_image_features(alone[None]).pooler_output[0]
        out |= {f"image.{i}": torch.from_numpy(im), f"image_tokens.{i}": features,
                f"pixels.{i}": alone[[0, 1, len(alone) - 1]].flatten(1)}
        extents.append(whole(text="<image>", images=[pictures[i]], add_special_tokens=False)["input_ids"])

    def more(x):
        return {"pixel_values": p["pixel_values"], "pixel_attention_mask": p["pixel_attention_mask"]}

    out["extents"] = torch.tensor([len(e[0]) for e in extents], dtype=torch.int32)
    return p["input_ids"][0].tolist(), more, out


def row_of(p):
    """Of golden.json's preprocessing: what becomes of one image."""
    return {"tiles": p["pixel_values"].shape[1]}
