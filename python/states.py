"""Golden last hidden states: what transformers (fp32, eager) computes for the golden prompts of the tiny checkpoints.

    python/states.py [family/variant ...]       writes tests/model/<family>/<variant>/states.json

golden.py has written the checkpoints and the prompts (ids and images of golden.safetensors).  states.json holds the
last hidden states behind the final norm, pooled over the prompt: that of the last token, the mean of all, that of the
first token.
"""
import json
import os
import sys

import torch
import transformers
from PIL import Image
from safetensors.torch import load_file

import tiny

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "model")


def load(folder, told):
    """The model without its head."""
    auto = transformers.AutoModelForImageTextToText if told else transformers.AutoModelForCausalLM
    return auto.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval().model


@torch.no_grad()
def states(folder, family, variant):
    """(n, hidden)"""
    told, golden = tiny.CASES[family][variant][1], load_file(folder + "/golden.safetensors")
    model, ids, more = load(folder, told), golden["ids"].long()[None], {}
    if told:
        with open(folder + "/preprocessor_config.json") as f:
            settings = json.load(f)
        settings.pop("image_processor_type", None)
        kind = "Glm4vImageProcessor" if family.startswith("glm4") else "Qwen2VLImageProcessor"
        images, i = [], 0
        while f"image.{i}" in golden:
            images.append(Image.fromarray(golden[f"image.{i}"].numpy()))
            i += 1
        p = getattr(transformers, kind)(**settings)(images=images, return_tensors="pt")
        kinds = (ids == model.config.image_token_id).int()
        more = {"pixel_values": p["pixel_values"], "image_grid_thw": p["image_grid_thw"], "mm_token_type_ids": kinds}
    return model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False, **more).last_hidden_state[0]


def write(family, variant):
    folder = os.path.join(ROOT, family, variant)
    x = states(folder, family, variant)
    rows = {"last": x[-1], "mean": x.double().mean(0), "cls": x[0]}
    with open(folder + "/states.json", "w") as f:
        f.write("{\n" + ",\n".join(f' "{k}": [{", ".join(f"{v:.9g}" for v in row.tolist())}]'
                                    for k, row in rows.items()) + "\n}\n")
    print(f"{family}/{variant}: {len(x)} tokens, {x.shape[1]} wide", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    named = [tuple(a.split("/")) for a in sys.argv[1:]]
    for case in named or [(f, v) for f in tiny.CASES for v in tiny.CASES[f] if f != "phone" and v != "published"]:
        write(*case)
