"""Checkpoints as other ages, tools and precisions write them (spellings.py), and those that cannot be used."""

import json
import shutil

import numpy as np
import pytest

import spellings
from conftest import ROOT, Server
from test_families import CASES, run, tensors, token_bytes, with_images

OLD = [spellings.flat, spellings.rope_at_the_top, spellings.old_dtype, spellings.no_defaults,
       spellings.head_beside_tied, spellings.buffers]
NEW = [spellings.other_names, spellings.head_alone]


def respell(case, folder, changes, kind, shards):
    config, stored = json.loads((case / "config.json").read_text()), spellings.read_tensors(case / "model.safetensors")
    for change in changes:
        change(config, stored)
    shutil.copytree(case, folder)
    (folder / "config.json").write_text(json.dumps(config))
    if shards:
        spellings.write_shards(folder, stored, kind)
    else:
        spellings.write_tensors(folder / "model.safetensors", stored, kind)


@pytest.mark.parametrize("changes, kind, shards", [(OLD, "F16", True), (NEW, "F32", False)],
                         ids=["old-f16-shards", "new-f32"])
@pytest.mark.parametrize("case", [c for c in CASES if (c / "golden.json").exists()],
                         ids=lambda c: f"{c.parent.name}-{c.name}")
def test_spelled_otherwise(case, changes, kind, shards, tmp_path):
    """selftest against the case's golden file: the same tokens, features and logits."""
    respell(case, tmp_path / "m", changes, kind, shards)
    done = run("selftest", "--model", tmp_path / "m")
    assert done.returncode == 0 and "24 of 24 greedy tokens equal" in done.stdout, done.stdout + done.stderr
    assert ("ok      vision" in done.stdout) == ("image.0" in tensors(case / "golden.safetensors"))


def test_f16_through_the_api(tmp_path):
    case = ROOT / "tests/model/qwen2_5_vl/tied"
    golden, messages = tensors(case / "golden.safetensors"), json.loads((case / "golden.json").read_text())["messages"]
    respell(case, tmp_path / "m", OLD, "F16", True)
    server = Server("--model", str(tmp_path / "m"))
    try:
        answer = server.client().chat.completions.create(model="m", temperature=0, max_tokens=24, logprobs=True,
                                                         messages=with_images(messages, golden),
                                                         extra_body={"ignore_eos": True})
    finally:
        server.stop()
    known = token_bytes(case)
    assert [t.bytes for t in answer.choices[0].logprobs.content] == [known.get(int(i), []) for i in golden["greedy"]]


def test_a_head_that_differs_is_used_though_tied(tmp_path):
    """As transformers does it. The head is the embedding backwards, so the best token is the best one from the other
    end."""
    case = ROOT / "tests/model/llama/linear"
    golden, messages = tensors(case / "golden.safetensors"), json.loads((case / "golden.json").read_text())["messages"]

    def backwards(config, stored):
        stored["lm_head.weight"] = stored["model.embed_tokens.weight"][::-1].copy()

    respell(case, tmp_path / "m", [backwards], "BF16", False)
    server = Server("--model", str(tmp_path / "m"))
    try:
        answer = server.client().chat.completions.create(model="m", temperature=0, max_tokens=1, logprobs=True,
                                                         messages=messages)
    finally:
        server.stop()
    best = 279 - int(np.argmax(golden["logits"][-1]))
    assert answer.choices[0].logprobs.content[0].bytes == token_bytes(case).get(best, [])


@pytest.mark.parametrize("method", ["gptq", "awq", "fp8", "bitsandbytes", "compressed-tensors", None])
def test_quantised_by_others_is_refused(method, tmp_path):
    shutil.copytree(ROOT / "tests/model/llama/linear", tmp_path / "m")
    config = json.loads((tmp_path / "m/config.json").read_text())
    config["quantization_config"] = {"quant_method": method, "bits": 4} if method else {}
    (tmp_path / "m/config.json").write_text(json.dumps(config))
    done = run("plan", "--device", "cpu", "--model", tmp_path / "m")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "quantization_config" in done.stderr and (method or "unknown") in done.stderr


def written_by_python(folder, **values):
    """Adds fields to every configuration, as Python's json module writes them: NaN and Infinity are words."""
    for file in "config.json", "generation_config.json", "tokenizer_config.json", "preprocessor_config.json":
        path = folder / file
        fields = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(fields | values))


@pytest.mark.parametrize("case", ["llama/linear", "glm4v/tied"])
def test_what_python_writes_into_fields_that_nobody_reads(case, tmp_path):
    case = ROOT / "tests/model" / case
    respell(case, tmp_path / "m", [], "BF16", False)
    written_by_python(tmp_path / "m", time_step_limit=[0.0, float("inf")], lowest=-float("inf"), none=float("nan"),
                      model_max_length=int(1e30), said='"NaN, Infinity\\', **{"a\0b": "c\0"})
    done = run("selftest", "--model", tmp_path / "m")
    assert done.returncode == 0 and "24 of 24 greedy tokens equal" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 10**400],
                         ids=["nan", "inf", "-inf", "long"])
def test_no_such_number_where_one_is_read(value, tmp_path):
    respell(ROOT / "tests/model/llama/linear", tmp_path / "m", [lambda c, stored: c.update(rms_norm_eps=value)], "BF16",
            False)
    done = run("plan", "--device", "cpu", "--model", tmp_path / "m")
    assert done.returncode == 2 and "config.json: rms_norm_eps: must be a number" in done.stderr, done.stderr


def test_another_name_of_the_activation(tmp_path):
    respell(ROOT / "tests/model/llama/linear", tmp_path / "m", [lambda c, stored: c.update(hidden_act="swish")], "BF16",
            False)
    done = run("selftest", "--model", tmp_path / "m")
    assert done.returncode == 0 and "24 of 24 greedy tokens equal" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("case", ["llama/linear", "glm4v/tied", "qwen3_vl/tied"])
def test_a_window_that_the_class_does_not_know(case, tmp_path):
    """transformers' Llama, GLM-4V and Qwen3-VL pay no attention to use_sliding_window."""

    def windowed(config, stored):
        spellings.text_of(config).update(use_sliding_window=True, sliding_window=4, max_window_layers=0)

    respell(ROOT / "tests/model" / case, tmp_path / "m", [windowed], "BF16", False)
    done = run("selftest", "--model", tmp_path / "m")
    assert done.returncode == 0 and "24 of 24 greedy tokens equal" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("parameters", [{}, {"rope_parameters": {"rope_type": "axial", "rope_theta": 10000.0}}],
                         ids=["alone", "beside the new name"])
def test_the_old_name_of_the_towers_theta(parameters, tmp_path):
    """The golden case has 10000: another value must change what the image gives, unless the new name says it."""

    def old(config, stored):
        config["vision_config"].pop("rope_parameters")
        config["vision_config"] |= {"rope_theta": 50.0, **parameters}

    respell(ROOT / "tests/model/qwen2_5_vl/tied", tmp_path / "m", [old], "BF16", False)
    done = run("selftest", "--model", tmp_path / "m")
    assert ("ok      vision" in done.stdout) == bool(parameters), done.stdout + done.stderr


@pytest.mark.parametrize("case, want", [
    ("qwen3_moe/every-second", [-0.0493, -0.1575, -0.2558, -0.0147, -0.2203, -0.7958]),
    ("smollm3/published", [-3.2038, -2.3473, -3.2713, -3.1321, -3.4375, -3.3552])])
def test_windows_of_layers_that_the_class_chooses(case, want, tmp_path):
    """`want`: log probabilities of the likeliest tokens behind 24, by transformers without a cache."""

    def windowed(config, stored):
        config.pop("layer_types", None)
        config.update(use_sliding_window=True, sliding_window=8, max_window_layers=1)

    respell(ROOT / "tests/model" / case, tmp_path / "m", [windowed], "BF16", False)
    server = Server("--model", str(tmp_path / "m"))
    try:
        answer = server.client().completions.create(
            model="m", prompt=[5, 17, 80, 200, 33, 71, 72, 100, 11, 12, 13, 250] * 2, temperature=0, logprobs=1,
            max_tokens=len(want), extra_body={"ignore_eos": True})
    finally:
        server.stop()
    assert answer.choices[0].logprobs.token_logprobs == pytest.approx(want, abs=2e-3)
