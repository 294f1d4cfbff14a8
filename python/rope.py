"""Golden rope tables: frequencies and attention factors of every scheme, as transformers computes them.

    python/rope.py          writes tests/model/rope.json

A case is a text configuration of one layer type, the length that it is computed for (0: none is given) and what
ROPE_INIT_FUNCTIONS gives for it: the inverse frequencies and the factor of cosines and sines.
"""
import json
import os

from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "model", "rope.json")


def config(dim, scheme, theta=10000.0, context=4096, **more):
    return {"hidden_size": 4 * dim, "num_attention_heads": 4, "head_dim": dim, "max_position_embeddings": context,
            "rope_parameters": {"rope_type": scheme, "rope_theta": theta} | more}


def factors(n, step):
    return [round(1 + step * i ** 1.5, 3) for i in range(n)]


LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
YARN = {"factor": 4.0, "original_max_position_embeddings": 1024}
LONG = {"short_factor": factors(24, .01), "long_factor": factors(24, .7), "partial_rotary_factor": .75}

# name -> (configuration, length)
CASES = {
    "linear": (config(128, "linear", factor=4.0), 0),
    "linear, part of a head": (config(64, "linear", theta=1e6, factor=2.5, partial_rotary_factor=.5), 0),
    "dynamic, trained context": (config(128, "dynamic", factor=4.0), 0),
    "dynamic, one more": (config(128, "dynamic", factor=4.0), 4097),
    "dynamic, four times": (config(64, "dynamic", theta=5e5, factor=2.0), 16384),
    "dynamic, part of a head": (config(96, "dynamic", factor=8.0, partial_rotary_factor=.25), 65536),
    "llama3.1": (config(128, "llama3", theta=5e5, context=131072, **LLAMA3), 0),
    "llama3.2": (config(64, "llama3", theta=5e5, context=131072, **LLAMA3 | {"factor": 32.0}), 0),
    "yarn": (config(128, "yarn", **YARN), 0),
    "yarn, whole steps": (config(64, "yarn", theta=150000.0, **YARN | {"factor": 32.0, "truncate": False}), 0),
    "yarn, mscale": (config(64, "yarn", **YARN | {"factor": 40.0, "mscale": 0.707, "mscale_all_dim": 1.0}), 0),
    "yarn, equal mscales": (config(64, "yarn", **YARN | {"factor": 40.0, "mscale": 1.0, "mscale_all_dim": 1.0}), 0),
    "yarn, one mscale": (config(64, "yarn", **YARN | {"mscale": 0.7}), 0),
    "yarn, attention factor": (config(64, "yarn", **YARN | {"attention_factor": 0.9, "beta_fast": 16,
                                                            "beta_slow": 2}), 0),
    "yarn, no factor": (config(64, "yarn", **YARN | {"factor": None}), 0),
    "yarn, narrow ramp": (config(16, "yarn", theta=100.0, **YARN | {"beta_fast": 1, "beta_slow": 1}), 0),
    "longrope, short": (config(64, "longrope", context=131072, original_max_position_embeddings=4096, **LONG), 0),
    "longrope, as long": (config(64, "longrope", context=131072, original_max_position_embeddings=4096, **LONG), 4096),
    "longrope, long": (config(64, "longrope", context=131072, original_max_position_embeddings=4096, **LONG), 4097),
    "longrope, factor": (config(64, "longrope", context=4096, original_max_position_embeddings=4096, factor=16.0,
                                **LONG), 5000),
    "longrope, no factor to have": (config(64, "longrope", original_max_position_embeddings=4096, **LONG), 5000),
    "longrope, attention factor": (config(64, "longrope", context=8192, original_max_position_embeddings=4096,
                                          attention_factor=1.25, **LONG), 0),
}


def computed(given, length):
    kind = given["rope_parameters"]["rope_type"]
    freq, scale = ROPE_INIT_FUNCTIONS[kind](LlamaConfig(**json.loads(json.dumps(given))), seq_len=length or None)
    return {"frequencies": [float(f"{x:.9g}") for x in freq.tolist()], "attention_factor": scale}


if __name__ == "__main__":
    rows = [json.dumps({"name": n, "length": length, "config": c} | computed(c, length))
            for n, (c, length) in CASES.items()]
    with open(OUT, "w") as f:
        f.write("[\n" + ",\n".join(rows) + "\n]\n")
    print(f"{len(rows)} tables, {os.path.getsize(OUT) // 1024} KB")
