"""DeepSeek-VL for golden.py, tiny.py and published.py: configurations, the tokenizer's shape, inputs."""
import json
import os

import torch
import transformers
from PIL import Image
from tokenizers import Regex, pre_tokenizers

from idefics3 import parts
from llava15 import text, vision

FAMILY = "deepseek_vl"
BOS, END, PLACE = SPECIAL = ["<\uff5cbegin\u2581of\u2581sentence\uff5c>", "<\uff5cend\u2581of\u2581sentence\uff5c>",
                             "<image_placeholder>"]
TEMPLATE = f"""{{% for m in messages %}}{{{{ m.role }}}}: {{% for p in m.content %}}{{% if p.type == 'image' %}}{PLACE}\
{{% elif p.type == 'text' %}}{{{{ p.text }}}}{{% endif %}}{{% endfor %}}{END}{{% endfor %}}\
{{% if add_generation_prompt %}}assistant:{{% endif %}}"""


def cut():
    """As DeepSeek LLM does it, with fewer ranges of letters: ends of lines, words, signs, spaces at the end, CJK, every
    digit alone."""
    patterns = ["[\r\n]", r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳΆΈ-ΊΌΎ-ΡΣ-ϵЀ-ҁ]+", r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$",
                "[一-龥ࠀ-一가-\ud7ff]+"]
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(p), "isolated") for p in patterns] + [
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


SHAPE = {"cut": cut, "nfc": False, "class": "PreTrainedTokenizerFast", "special": SPECIAL, "plain": [], "parts": True,
         "template": FAMILY, "file": "chat_template.jinja", "prefix": [BOS], "added": 1, "bos": BOS, "eos": [END],
         "pad": END, "tools": False}


def case(text_config, tower, told, **more):
    """(configuration, what the image processor is told)"""
    return {"text_config": text_config, "vision_config": tower, "image_token_id": 256 + SPECIAL.index(PLACE),
            **more}, {"pictures": [(50, 36), (9, 31)], "size": tower["image_size"], **told}


CASES = {
    "head": case(text("llama", 280, 32, 4, 2, 2, 40, rope_parameters={"rope_type": "default", "rope_theta": 10000.0}),
                 vision("siglip_vision_model", 24, 3, 2, 32, 20, 5), {}, tie_word_embeddings=False),
    "tied": case(text("llama", 280, 48, 3, 3, 2, 40, rope_parameters={"rope_type": "default", "rope_theta": 300.0}),
                 vision("siglip_vision_model", 32, 2, 3, 24, 16, 4, vision_use_head=False, hidden_act="gelu"),
                 {"min_size": 5, "image_mean": [.5, .3, .7], "image_std": [.5, .25, .3], "resample": 2}),
}


def save_processor(told, out):
    more = {k: told[k] for k in ("min_size", "image_mean", "image_std", "resample") if k in told}
    p = transformers.DeepseekVLImageProcessor(size={"height": told["size"], "width": told["size"]}, **more)
    with open(os.path.join(out, "preprocessor_config.json"), "w") as f:
        json.dump({k: v for k, v in json.loads(p.to_json_string()).items() if not k.startswith("_")}, f, indent=1)
    return p


def inputs(model, proc, images, _ids, tok, messages):
    """As golden.INPUTS: the prompt is the processor's own."""
    tower = model.config.vision_config
    tok.image_token = PLACE
    processor = transformers.DeepseekVLProcessor(proc, tok,
                                                 num_image_tokens=(tower.image_size // tower.patch_size) ** 2)
    said = tok.apply_chat_template(parts(messages), add_generation_prompt=True, tokenize=False)
    p = processor(images=[Image.fromarray(i) for i in images], text=said, return_tensors="pt")
    ids, pixels = p["input_ids"][0].tolist(), p["pixel_values"]
    with torch.no_grad():
        features = model.model.get_image_features(pixels).pooler_output
    out = {"positions": torch.arange(len(ids)).int().expand(3, -1).contiguous()}
    for i, image in enumerate(images):
        out |= {f"image.{i}": torch.from_numpy(image), f"pixels.{i}": pixels[i].flatten(1),
                f"image_tokens.{i}": features[i]}
    return ids, lambda x: {"pixel_values": pixels}, out
