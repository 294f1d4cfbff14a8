"""Idefics2 for golden.py, tiny.py and published.py: configurations, a tokenizer of Mistral's kind, inputs.

`published` splits pictures into quarters; `whole` does not, and its two pictures are neighbours with a word behind.
"""
import functools
import json
import os

import torch
from PIL import Image
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import Idefics2ImageProcessor, Idefics2Processor

from idefics3 import parts

FAMILY = "idefics2"
AROUND, IMAGE, END = "<fake_token_around_image>", "<image>", "<end_of_utterance>"
NAMED = ["<unk>", "<s>", "</s>"]
SPECIAL = ["<|endoftext|>", AROUND, IMAGE, END]
TEMPLATE = """{% for m in messages %}{{ m.role }}: {% for p in m.content %}{% if p.type == 'image' %}<image>\
{% elif p.type == 'text' %}{{ p.text }}{% endif %}{% endfor %}<|endoftext|>
{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"""
SIZES = [(50, 37), (22, 90)]         # of the pictures in the golden prompts
PIECES = 300
CHAT = [{"role": "user", "content": [{"type": "image"}, {"type": "image"}, {"type": "text", "text": "Where is it?"}]}]
SHAPE = {"nfc": False, "class": "PreTrainedTokenizerFast", "special": NAMED + [AROUND, IMAGE, END], "plain": [],
         "parts": True, "template": "idefics2", "file": "chat_template.json", "bos": "<s>", "eos": [END, "</s>"],
         "pad": "<unk>"}


def marked():
    return normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])


@functools.cache
def pieces(trained_on):
    """Characters, and merges that do not cross words."""
    t = Tokenizer(models.BPE())
    t.normalizer, t.pre_tokenizer = marked(), pre_tokenizers.Split("▁", "merged_with_next")
    t.train_from_iterator([trained_on], trainers.BpeTrainer(vocab_size=PIECES, show_progress=False))
    model = json.loads(t.to_str())["model"]
    return sorted(model["vocab"], key=model["vocab"].get), [tuple(m) for m in model["merges"]]


def backend(trained_on, renamed=None):
    """The tokenizer; renamed: other texts for some of the added tokens."""
    name = lambda s: (renamed or {}).get(s, s)
    known, merges = pieces(trained_on)
    every = [name(s) for s in NAMED] + [f"<0x{b:02X}>" for b in range(256)] + known
    t = Tokenizer(models.BPE({s: i for i, s in enumerate(every)}, merges, unk_token=name("<unk>"), fuse_unk=True,
                             byte_fallback=True))
    t.normalizer = marked()
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                   decoders.Strip(" ", 1, 0)])
    t.add_special_tokens([AddedToken(name(s), special=True, normalized=False) for s in SHAPE["special"]])
    t.post_processor = processors.TemplateProcessing(single=[name("<s>"), "$A"], pair=[name("<s>"), "$A", "$B"],
                                                     special_tokens=[(name("<s>"), 1)])
    return t


def case(text, vision, perceiver, **told):
    """(configuration, what the image processor is told)"""
    return {"model_type": FAMILY, "text_config": {"model_type": "mistral", "sliding_window": None, **text},
            "vision_config": vision, "perceiver_config": {"hidden_size": text["hidden_size"], **perceiver},
            "image_token_id": 256 + SPECIAL.index(IMAGE)}, told


def cases(text):
    rope = {"rope_type": "default", "rope_theta": 10000.0}
    return {
        "published": case(text(272, 32, 4, 2, 2, 48, rope_parameters=rope), {
            "hidden_size": 24, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 32,
            "image_size": 28, "patch_size": 4}, {
            "resampler_n_latents": 3, "resampler_depth": 2, "resampler_n_heads": 4, "resampler_head_dim": 8,
            "num_key_value_heads": 2}, shortest=9, longest=26, do_image_splitting=True),
        "whole": case(text(272, 24, 3, 1, 3, 40, rope_parameters=rope, rms_norm_eps=1e-4), {
            "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 3, "intermediate_size": 24,
            "image_size": 32, "patch_size": 4, "hidden_act": "gelu"}, {
            "resampler_n_latents": 5, "resampler_depth": 1, "resampler_n_heads": 3, "resampler_head_dim": 12,
            "num_key_value_heads": 1, "rms_norm_eps": 1e-5}, shortest=12, longest=45, do_image_splitting=False),
    }


def of_words(model):
    """Makes tokens of single bytes unlikely: where such tokens are no characters, the reference puts as many marks as
    there are bytes in a row, which nobody can do who writes an answer as it comes."""
    with torch.no_grad():
        model.lm_head.weight[len(NAMED):len(NAMED) + 256] /= 16
    return model


def begins_a_word(tok, new):
    """The reference's decoder takes the first space of an answer away, and a server sends it."""
    return tok.convert_ids_to_tokens(new[0]).startswith("▁")


def save_processor(told, out):
    p = Idefics2ImageProcessor(size={"shortest_edge": told["shortest"], "longest_edge": told["longest"]},
                               do_image_splitting=told["do_image_splitting"])
    with open(os.path.join(out, "preprocessor_config.json"), "w") as f:
        json.dump({k: v for k, v in json.loads(p.to_json_string()).items() if not k.startswith("_")}, f, indent=1)
    return p


def inputs(model, proc, images, ids, tok, messages):
    """As golden.INPUTS. The prompt is the processor's own."""
    each, out = model.config.perceiver_config.resampler_n_latents, {}
    text = tok.apply_chat_template(parts(messages), add_generation_prompt=True, tokenize=False)
    pictures = [Image.fromarray(i) for i in images]
    p = Idefics2Processor(proc, tok, each)(text=text, images=pictures, return_tensors="pt")
    given = {k: p[k] for k in ("pixel_values", "pixel_attention_mask")}
    with torch.no_grad():
        features = model.model.get_image_features(**given).pooler_output[0].split(
            each * (5 if proc.do_image_splitting else 1))
    for i, im in enumerate(images):
        alone = proc(images=[[pictures[i]]], return_tensors="pt")["pixel_values"][0]
        out |= {f"image.{i}": torch.from_numpy(im), f"image_tokens.{i}": features[i],
                **({f"pixels.{i}": alone[[0, 1, len(alone) - 1]].flatten(1)} if len(alone) > 1 else {})}
    return p["input_ids"][0].tolist(), lambda x: given, out


def tokens(tok, messages, ours):
    """How many tokens the prompt of a chat has with two pictures split into quarters, and with what the tokenizer puts
    in front; ours: its ids, places alone."""
    if not any(isinstance(m["content"], list) and {"type": "image"} in m["content"] for m in messages):
        return len(ours) + 1
    text = tok.apply_chat_template(parts(messages), add_generation_prompt=True, tokenize=False)
    proc = Idefics2ImageProcessor(do_image_splitting=True)
    return len(Idefics2Processor(proc, tok, 3)(text=text)["input_ids"][0])


def row_of(p):
    """Of golden.json's preprocessing: what becomes of one image."""
    return {"tiles": p["pixel_values"].shape[1]}
