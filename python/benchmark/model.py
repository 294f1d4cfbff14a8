"""A checkpoint of the family Qwen2.5-VL with random weights, for measuring speed.

    python/benchmark/model.py OUT [--size 647m|3b|tiny]

647m has 647 million parameters, 1.3 GB; 3b has the shapes of Qwen2.5-VL-3B,
3.75 billion, 7.5 GB; tiny (20 million, nearly all of them the vocabulary's) is
for testing the benchmark itself.  Everything around the weights is as published: files and
their fields, 151,936 rows of vocabulary with the special tokens in their
places, a chat template of the same form, bf16.  The merges are made up, of
lower-case letters and spaces, so that nearly every token is plain text: what a
random model says can be sent as it comes.  Needs NumPy alone, and seconds.
"""
import argparse
import json
import os
import sys

import numpy as np

PYTHON = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, PYTHON)
from full import write_all          # noqa: E402
from small import byte_letters, save          # noqa: E402

# Text: rows of the vocabulary, of the tokenizer's own tokens, width of a head.
VOCAB, TOKENS, HEAD = 151936, 151643, 128
SIZES = {
    "647m": {"layers": 24, "hidden": 1024, "heads": 8, "kv_heads": 2, "inner": 4096, "vision": 768,
             "vision_layers": 16, "vision_heads": 12, "vision_inner": 2048, "full": [3, 7, 11, 15]},
    "3b": {"layers": 36, "hidden": 2048, "heads": 16, "kv_heads": 2, "inner": 11008, "vision": 1280,
           "vision_layers": 32, "vision_heads": 16, "vision_inner": 3420, "full": [7, 15, 23, 31]},
    "tiny": {"layers": 2, "hidden": 128, "heads": 1, "kv_heads": 1, "inner": 256, "vision": 64, "vision_layers": 4,
             "vision_heads": 1, "vision_inner": 128, "full": [3]},
}
MERGED = 4                 # patches of an image that become one token
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>",
           "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>",
           "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"]
PLAIN = ["<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>",
         "<|repo_name|>", "<|file_sep|>"]
ID = {token: TOKENS + i for i, token in enumerate(SPECIAL + PLAIN)}
# What cuts a text into pieces, published for GPT-4 first.
SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
         r"|\s+(?!\S)|\s+")


def shapes(s):
    """Name and shape of every tensor, as the checkpoints on the hub name them."""
    hidden, kv = s["hidden"], s["kv_heads"] * HEAD
    yield "model.embed_tokens.weight", (VOCAB, hidden)
    for i in range(s["layers"]):
        p = f"model.layers.{i}."
        yield p + "input_layernorm.weight", (hidden,)
        yield p + "post_attention_layernorm.weight", (hidden,)
        for name, rows in ("q_proj", s["heads"] * HEAD), ("k_proj", kv), ("v_proj", kv):
            yield f"{p}self_attn.{name}.weight", (rows, hidden)
            yield f"{p}self_attn.{name}.bias", (rows,)
        yield p + "self_attn.o_proj.weight", (hidden, s["heads"] * HEAD)
        for name in "gate_proj", "up_proj":
            yield f"{p}mlp.{name}.weight", (s["inner"], hidden)
        yield p + "mlp.down_proj.weight", (hidden, s["inner"])
    yield "model.norm.weight", (hidden,)
    yield from vision_shapes(s)


def vision_shapes(s):
    width, inner, merged = s["vision"], s["vision_inner"], MERGED * s["vision"]
    yield "visual.patch_embed.proj.weight", (width, 3, 2, 14, 14)
    for i in range(s["vision_layers"]):
        p = f"visual.blocks.{i}."
        yield p + "norm1.weight", (width,)
        yield p + "norm2.weight", (width,)
        for name, rows, inputs in (("attn.qkv", 3 * width, width), ("attn.proj", width, width),
                                   ("mlp.gate_proj", inner, width), ("mlp.up_proj", inner, width),
                                   ("mlp.down_proj", width, inner)):
            yield f"{p}{name}.weight", (rows, inputs)
            yield f"{p}{name}.bias", (rows,)
    yield "visual.merger.ln_q.weight", (width,)
    for name, rows in ("0", merged), ("2", s["hidden"]):
        yield f"visual.merger.mlp.{name}.weight", (rows, merged)
        yield f"visual.merger.mlp.{name}.bias", (rows,)


def config(s):
    return {"architectures": ["Qwen2_5_VLForConditionalGeneration"], "model_type": "qwen2_5_vl",
            "attention_dropout": 0.0, "bos_token_id": ID["<|endoftext|>"], "eos_token_id": ID["<|im_end|>"],
            "vision_start_token_id": ID["<|vision_start|>"], "vision_end_token_id": ID["<|vision_end|>"],
            "vision_token_id": ID["<|vision_pad|>"], "image_token_id": ID["<|image_pad|>"],
            "video_token_id": ID["<|video_pad|>"], "hidden_act": "silu", "hidden_size": s["hidden"],
            "initializer_range": 0.02, "intermediate_size": s["inner"], "max_position_embeddings": 32768,
            "max_window_layers": s["layers"], "num_attention_heads": s["heads"], "num_hidden_layers": s["layers"],
            "num_key_value_heads": s["kv_heads"], "rms_norm_eps": 1e-6, "rope_theta": 1000000.0,
            "sliding_window": 32768, "tie_word_embeddings": True, "torch_dtype": "bfloat16", "use_cache": True,
            "use_sliding_window": False, "vocab_size": VOCAB,
            "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
            "vision_config": {
                "depth": s["vision_layers"], "hidden_act": "silu", "hidden_size": s["vision"],
                "intermediate_size": s["vision_inner"], "num_heads": s["vision_heads"], "in_chans": 3,
                "out_hidden_size": s["hidden"], "patch_size": 14, "spatial_merge_size": 2, "spatial_patch_size": 14,
                "window_size": 112, "fullatt_block_indexes": s["full"], "tokens_per_second": 2,
                "temporal_patch_size": 2, "model_type": "qwen2_5_vl", "torch_dtype": "bfloat16"}}


def merges():
    """Random merges of letters, none longer than eight bytes; a space stands in front or nowhere."""
    letters = ["\u0120"] + [chr(c) for c in range(ord("a"), ord("z") + 1)]
    vocab = {t: i for i, t in enumerate(byte_letters())}
    tokens, pairs, rng = letters, [], np.random.default_rng(0)
    while len(vocab) < TOKENS:
        for a, b in rng.integers(0, len(tokens), (65536, 2)).tolist():
            first, second = tokens[a], tokens[b]
            new = first + second
            if len(new) <= 8 and second[0] != "\u0120" and new not in vocab and len(vocab) < TOKENS:
                vocab[new] = len(vocab)
                pairs.append([first, second])
                tokens.append(new)
    return vocab, pairs


def added(token):
    return {"content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
            "special": token in SPECIAL}


def save_tokenizer(out):
    vocab, pairs = merges()
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    save(out, "tokenizer.json", {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, **added(t)} for t, i in ID.items()], "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": SPLIT}, "behavior": "Isolated", "invert": False}, level]},
        "post_processor": level, "decoder": level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
                  "end_of_word_suffix": "", "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": vocab, "merges": pairs}})
    save(out, "vocab.json", vocab)
    with open(os.path.join(out, "merges.txt"), "w", encoding="utf-8") as f:
        f.write("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in pairs))
    with open(os.path.join(PYTHON, "templates", "qwen_vl.jinja"), encoding="utf-8") as f:
        template = f.read()
    with open(os.path.join(out, "chat_template.jinja"), "w", encoding="utf-8") as f:
        f.write(template)
    save(out, "tokenizer_config.json", {
        "add_bos_token": False, "add_prefix_space": False, "bos_token": None, "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>", "unk_token": None, "errors": "replace", "split_special_tokens": False,
        "clean_up_tokenization_spaces": False, "model_max_length": 131072, "tokenizer_class": "Qwen2Tokenizer",
        "additional_special_tokens": SPECIAL[1:], "chat_template": template,
        "added_tokens_decoder": {str(i): added(t) for t, i in ID.items()}})


def save_processor(out):
    save(out, "preprocessor_config.json", {
        "min_pixels": 3136, "max_pixels": 12845056, "patch_size": 14, "temporal_patch_size": 2, "merge_size": 2,
        "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
        "image_processor_type": "Qwen2VLImageProcessor", "processor_class": "Qwen2_5_VLProcessor"})
    save(out, "generation_config.json", {
        "bos_token_id": ID["<|endoftext|>"], "pad_token_id": ID["<|endoftext|>"], "do_sample": False,
        "eos_token_id": [ID["<|im_end|>"], ID["<|endoftext|>"]]})


def make(out, size):
    """Writes the checkpoint of this size and gives its number of parameters."""
    os.makedirs(out, exist_ok=True)
    save_tokenizer(out)
    save_processor(out)
    parameters = write_all(out, shapes(SIZES[size]), hollow=False) // 2
    save(out, "config.json", config(SIZES[size]))
    return parameters


def main():
    a = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    a.add_argument("out")
    a.add_argument("--size", choices=SIZES, default="647m")
    a = a.parse_args()
    print(f"{a.out}: {make(a.out, a.size) / 1e6:.0f} million parameters")


if __name__ == "__main__":
    main()
