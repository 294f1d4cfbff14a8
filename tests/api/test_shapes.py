"""What `plan` says of published checkpoints: headers of their full shape, without data (shapes.json, python/shapes.py),
against what their model cards say."""

import json
import math
import subprocess

import pytest

from conftest import BIN, ROOT

SHAPES = {row["family"]: row for row in json.loads((ROOT / "tests/api/shapes.json").read_text())}
GIB = 1 << 30

# Billions of parameters by the model card, or of the hub where the card rounds, and GiB that are said to be enough for
# bfloat16: one GPU of 1 to 80, or four of 80.
CARDS = {
    "llama": (8.03, 24), "qwen2": (7.62, 24), "qwen3": (8.19, 24), "phi3": (3.82, 24), "smollm3": (3.08, 24),
    "gemma3_text": (1.00, 8), "mistral": (7.25, 24), "glm4": (9.40, 24), "glm4v": (10.29, 24), "glm46v": (10.29, 24),
    "glm_ocr": (1.11, 8), "qwen2_vl": (8.29, 24),
    "qwen2_5_vl": (8.29, 24), "qwen3_vl": (8.77, 24), "kosmos-2": (1.66, 8), "mllama": (10.67, 24), "llava": (7.06, 24),
    "deepseek_vl": (1.96, 8),
    "llava_next": (7.06, 24), "llava_onevision": (8.03, 24), "internvl": (7.94, 24), "internvl_chat": (7.94, 24),
    "pixtral": (24.01, 80),
    "gemma": (2.51, 8), "gemma2": (2.61, 8), "paligemma": (2.92, 24), "paligemma/second": (3.03, 24),
    "qwen3_moe": (30.53, 80), "qwen3_vl_moe": (31.07, 80), "glm4_moe": (106.8, 320), "glm4v_moe": (107.7, 320),
    "smolvlm": (2.25, 8), "smolvlm/small": (.2565, 3), "smolvlm/idefics3": (8.46, 24), "idefics": (8.93, 24),
    "idefics2": (8.40, 24), "gemma3": (4.30, 12), "clip": (.1513, 2), "clip/large": (.4279, 2), "siglip": (.878, 3),
    "siglip/base": (.2032, 2), "siglip2": (.3752, 2), "siglip2/so400m": (1.136, 4), "mobilenet_v2": (.00354, 1),
}
# What an image takes of a GPU, in GiB, where the card says it.
ON_DEVICE = {"smolvlm": 5.2, "smolvlm/small": 1}
DEVICE_PARTS = "weights", "kv_floor", "image_cache", "scratch", "logits"
VECTORS = {"clip", "siglip", "siglip2", "mobilenet_v2"}       # whose context is short, if there is one


def unfolded(tensors):
    """name, shape of every tensor: {} of a name stands for the numbers of a span, or for each of some."""
    for name, spans, shape in tensors:
        names = [name]
        for span in spans:
            numbers = span["each"] if isinstance(span, dict) else range(*span)
            names = [n.replace("{}", str(i), 1) for n in names for i in numbers]
        yield from ((n, shape) for n in names)


def write(folder, row):
    """A checkpoint whose data is a hole in its file."""
    header, at = {}, 0
    for name, shape in unfolded(row["tensors"]):
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    (folder / "config.json").write_text(json.dumps(row["config"]))
    tokenizer = ROOT / "tests/model" / row["family"].partition("/")[0] / "published/tokenizer.json"
    if tokenizer.exists():
        (folder / "tokenizer.json").symlink_to(tokenizer)
    if "processor" in row:
        (folder / "preprocessor_config.json").write_text(json.dumps(row["processor"]))
    with open(folder / "model.safetensors", "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        f.truncate(8 + len(text) + at)


@pytest.mark.parametrize("family", SHAPES)
def test_plan(family, tmp_path):
    billions, gib = CARDS[family]
    write(tmp_path, SHAPES[family])
    context = [] if family.partition("/")[0] in VECTORS else ["--max-model-len", "2048"]
    done = subprocess.run([BIN, "plan", "--model", tmp_path, "--json", "--device", "cpu", "--memory-bytes",
                           str(gib * GIB), *context], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    print(f"{SHAPES[family]['name']}: {plan['n_params'] / 1e9:.2f} billion parameters, "
          f"{plan['weights_bytes'] / GIB:.1f} GiB of weights, {plan['total_bytes'] / GIB:.1f} GiB at most")
    assert abs(plan["n_params"] / 1e9 / billions - 1) < .01
    if family != "mobilenet_v2":                   # whose convolutions take up their norms, in float32
        assert abs(plan["weights_bytes"] / 2 / plan["n_params"] - 1) < .02
    if family in ON_DEVICE:
        assert sum(plan[part + "_bytes"] for part in DEVICE_PARTS) <= ON_DEVICE[family] * GIB
    assert plan["fits"] and plan["total_bytes"] <= gib * GIB
    assert plan["model_type"] == SHAPES[family]["config"]["model_type"]


def shallow(row):
    """The same with three layers of each kind, which a picture never sees."""
    row = json.loads(json.dumps(row))
    for config in row["config"]["text_config"], row["config"]["vision_config"]:
        config["num_hidden_layers"] = 3
    for name, spans, _ in row["tensors"]:
        if "layers.{}" in name:
            spans[0] = [0, 3]
    return row


@pytest.mark.parametrize("family", ["clip", "siglip/base"])
def test_the_selftest_knows_published_settings(family, tmp_path):
    """What is no more than a file's holes makes no sense, but its pictures are looked at all the same."""
    write(tmp_path, shallow(SHAPES[family]))
    done = subprocess.run([BIN, "selftest", "--model", tmp_path], capture_output=True, text=True, timeout=60)
    told = [line for line in done.stdout.splitlines() if line.startswith("ok    preprocess")]
    assert len(told) == 2 and all(", recorded " in line for line in told), done.stdout + done.stderr
