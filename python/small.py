"""A checkpoint with the shapes of SmolLM2-135M (Llama) and random weights.

    python/small.py OUT

134.5 million parameters in bf16, 269 MB, with a byte-level tokenizer of 49,152
tokens whose merges are made up: large enough to show what a start costs, small
enough to write in seconds.  Needs NumPy alone.
"""
import argparse
import json
import os

import numpy as np

from full import write

LAYERS, HIDDEN, INNER, VOCAB, HEADS, KV_HEADS, CONTEXT = 30, 576, 1536, 49152, 9, 3, 8192
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = """{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def shapes():
    kv = HIDDEN // HEADS * KV_HEADS
    yield "model.embed_tokens.weight", (VOCAB, HIDDEN)
    for i in range(LAYERS):
        p = f"model.layers.{i}."
        yield p + "input_layernorm.weight", (HIDDEN,)
        yield p + "post_attention_layernorm.weight", (HIDDEN,)
        for name, rows in ("q_proj", HIDDEN), ("k_proj", kv), ("v_proj", kv), ("o_proj", HIDDEN):
            yield f"{p}self_attn.{name}.weight", (rows, HIDDEN)
        for name in "gate_proj", "up_proj":
            yield f"{p}mlp.{name}.weight", (INNER, HIDDEN)
        yield p + "mlp.down_proj.weight", (HIDDEN, INNER)
    yield "model.norm.weight", (HIDDEN,)


def config():
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": HIDDEN,
            "intermediate_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
            "num_key_value_heads": KV_HEADS, "max_position_embeddings": CONTEXT, "rms_norm_eps": 1e-5,
            "rope_theta": 100000,
            "tie_word_embeddings": True, "vocab_size": VOCAB, "torch_dtype": "bfloat16", "bos_token_id": 1,
            "eos_token_id": 2}


def byte_letters():
    """The letters that stand for the 256 bytes in a byte-level vocabulary."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    return [chr(b) for b in plain] + [chr(256 + i) for i in range(len(rest))]


def tokenizer():
    """Special tokens, bytes, then merges of random earlier tokens, none longer than twelve bytes."""
    vocab = {t: i for i, t in enumerate(SPECIAL + byte_letters())}
    tokens, merges, rng = list(vocab)[len(SPECIAL):], [], np.random.default_rng(0)
    while len(vocab) < VOCAB:
        for a, b in rng.integers(0, len(tokens), (4096, 2)).tolist():
            new = tokens[a] + tokens[b]
            if len(new) <= 12 and new not in vocab and len(vocab) < VOCAB:
                vocab[new] = len(vocab)
                merges.append([tokens[a], tokens[b]])
                tokens.append(new)
    added = [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
              "special": True}
             for i, t in enumerate(SPECIAL)]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True},
                                                                    byte_level]},
            "post_processor": None, "decoder": byte_level,
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                      "vocab": vocab, "merges": merges}}


def save(out, name, value):
    with open(os.path.join(out, name), "w") as f:
        json.dump(value, f, indent=1)


def main():
    a = argparse.ArgumentParser()
    a.add_argument("out")
    out = a.parse_args().out
    os.makedirs(out, exist_ok=True)
    entries = list(shapes())
    block = np.random.default_rng(0).standard_normal((1 << 20) - 3).astype(np.float32)
    name, size = write(out, 1, 1, entries, False, block)
    save(out, "model.safetensors.index.json",
         {"metadata": {"total_size": size}, "weight_map": {t: name for t, _ in entries}})
    save(out, "config.json", config())
    save(out, "tokenizer.json", tokenizer())
    save(out, "tokenizer_config.json", {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>",
                                        "chat_template": TEMPLATE})
    print(f"{out}: {size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
