"""A checkpoint with the shapes of AutoGLM-Phone-9B (GLM-4.1V-9B) and random weights.

    python/full.py OUT [--layers 40] [--vision-layers 24] [--hollow]

Shard by shard in bf16, never more than one tensor in memory: the whole is
20.6 GB.  --hollow leaves the data out (files with holes, all zeros), which is
enough for `openautoglm plan` and takes no space.  Fewer layers give a run at
full width on a small machine.  Tokenizer and template are those of the tiny
checkpoint.  Needs NumPy, with --hollow nothing.
"""
import argparse
import json
import math
import os
import shutil
import sys

try:
    import numpy as np
except ImportError:
    np = None          # --hollow does without

TINY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "model", "glm4v", "grouped")
VOCAB, HIDDEN, INNER, KV = 151552, 4096, 13696, 256
VISION, OUT, MERGER = 1536, 4096, 13696
SHARD = 5 * 10**9      # bytes


def shapes(layers, vision_layers):
    text, visual = "model.language_model.", "model.visual."
    yield text + "embed_tokens.weight", (VOCAB, HIDDEN)
    for i in range(layers):
        p = f"{text}layers.{i}."
        for norm in "input_layernorm", "post_attention_layernorm", "post_self_attn_layernorm", "post_mlp_layernorm":
            yield p + norm + ".weight", (HIDDEN,)
        for name, rows in ("q_proj", HIDDEN), ("k_proj", KV), ("v_proj", KV):
            yield f"{p}self_attn.{name}.weight", (rows, HIDDEN)
            yield f"{p}self_attn.{name}.bias", (rows,)
        yield p + "self_attn.o_proj.weight", (HIDDEN, HIDDEN)
        yield p + "mlp.gate_up_proj.weight", (2 * INNER, HIDDEN)
        yield p + "mlp.down_proj.weight", (HIDDEN, INNER)
    yield text + "norm.weight", (HIDDEN,)
    yield "lm_head.weight", (VOCAB, HIDDEN)
    yield visual + "patch_embed.proj.weight", (VISION, 3, 2, 14, 14)
    yield visual + "patch_embed.proj.bias", (VISION,)
    yield visual + "embeddings.position_embedding.weight", (24 * 24, VISION)
    for i in range(vision_layers):
        p = f"{visual}blocks.{i}."
        yield p + "norm1.weight", (VISION,)
        yield p + "norm2.weight", (VISION,)
        yield p + "attn.qkv.weight", (3 * VISION, VISION)
        yield p + "attn.proj.weight", (VISION, VISION)
        for name in "gate_proj", "up_proj":
            yield f"{p}mlp.{name}.weight", (OUT, VISION)
        yield p + "mlp.down_proj.weight", (VISION, OUT)
    for name in "post_conv_layernorm", "post_layernorm":
        yield f"{visual}{name}.weight", (VISION,)
    yield visual + "downsample.weight", (OUT, VISION, 2, 2)
    yield visual + "downsample.bias", (OUT,)
    yield visual + "merger.proj.weight", (OUT, OUT)
    yield visual + "merger.post_projection_norm.weight", (OUT,)
    yield visual + "merger.post_projection_norm.bias", (OUT,)
    for name in "gate_proj", "up_proj":
        yield f"{visual}merger.{name}.weight", (MERGER, OUT)
    yield visual + "merger.down_proj.weight", (OUT, MERGER)


def config(layers, vision_layers):
    c = json.load(open(TINY + "/config.json"))
    c["text_config"].update(vocab_size=VOCAB, hidden_size=HIDDEN, intermediate_size=INNER, num_hidden_layers=layers,
                            num_attention_heads=32, num_key_value_heads=2, max_position_embeddings=65536,
                            rms_norm_eps=1e-5,
                            rope_parameters={"rope_type": "default", "rope_theta": 10000.0,
                                             "partial_rotary_factor": 0.5, "mrope_section": [8, 12, 12]})
    c["vision_config"].update(depth=vision_layers, hidden_size=VISION, num_heads=12, image_size=336, patch_size=14,
                              out_hidden_size=OUT, intermediate_size=MERGER, rms_norm_eps=1e-5)
    return c


def values(name, shape, block):
    """bf16 as 16-bit integers; norms near one, the rest with a deviation of 1/sqrt(inputs)."""
    n = int(np.prod(shape))
    x = np.resize(block, n)
    if len(shape) == 1:
        x = 1 + x * .1 if "norm" in name and name.endswith("weight") else x * .1
    else:
        x = x * np.float32(np.prod(shape[1:]) ** -.5)
    return (x.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def write(out, number, total, entries, hollow, block):
    name, at, header = f"model-{number:05d}-of-{total:05d}.safetensors", 0, {}
    for tensor, shape in entries:
        size = 2 * math.prod(shape)
        header[tensor] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 64)
    with open(os.path.join(out, name), "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        if hollow:
            f.truncate(8 + len(text) + at)
        else:
            for tensor, shape in entries:
                values(tensor, shape, block).tofile(f)
    return name, at


def write_all(out, tensors, hollow):
    """Writes the tensors, (name, shape) each, in shards of SHARD bytes at most, and their index. Gives the bytes of
    all."""
    shards, size = [[]], 0
    for tensor, shape in tensors:
        n = 2 * math.prod(shape)
        if size + n > SHARD and shards[-1]:
            shards.append([])
            size = 0
        shards[-1].append((tensor, shape))
        size += n
    block = None if hollow else np.random.default_rng(0).standard_normal((1 << 20) - 3).astype(np.float32)
    index, total = {}, 0
    for i, entries in enumerate(shards, 1):
        name, n = write(out, i, len(shards), entries, hollow, block)
        index |= {tensor: name for tensor, _ in entries}
        total += n
        print(f"{name}: {n / 1e9:.2f} GB", file=sys.stderr)
    json.dump({"metadata": {"total_size": total}, "weight_map": index},
              open(os.path.join(out, "model.safetensors.index.json"), "w"))
    return total


def main():
    a = argparse.ArgumentParser()
    a.add_argument("out")
    a.add_argument("--layers", type=int, default=40)
    a.add_argument("--vision-layers", type=int, default=24)
    a.add_argument("--hollow", action="store_true")
    a = a.parse_args()
    os.makedirs(a.out, exist_ok=True)
    write_all(a.out, shapes(a.layers, a.vision_layers), a.hollow)
    json.dump(config(a.layers, a.vision_layers), open(a.out + "/config.json", "w"), indent=1)
    p = json.load(open(TINY + "/preprocessor_config.json"))
    p.update(patch_size=14, size={"shortest_edge": 12544, "longest_edge": 9633792})
    json.dump(p, open(a.out + "/preprocessor_config.json", "w"), indent=1)
    for name in "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json":
        shutil.copy(os.path.join(TINY, name), a.out)


if __name__ == "__main__":
    main()
