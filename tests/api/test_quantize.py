"""`openautoglm quantize`: a folder that serves as it is, or none."""

import json
import os
import random
import resource
import subprocess

import pytest

from conftest import BIN, MODEL, PATIENCE, ROOT, ask, image_part

TINY = ROOT / "tests" / "model" / "llama" / "published"


def run(*args, **more):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENAUTOGLM_")}
    return subprocess.run([BIN, *map(str, args)], capture_output=True, text=True, timeout=PATIENCE, env=environment,
                          **more)


def said(r):
    """The program's own line."""
    lines = [line for line in r.stderr.splitlines() if line.startswith("openautoglm: ")]
    assert len(lines) == 1, r.stderr
    return lines[0]


def answers(server):
    body = {"model": "any", "messages": ask("Tap the button", 3), "max_tokens": 12, "logprobs": True,
            "temperature": 0}
    status, reply = server.post("/v1/chat/completions", body)
    assert status == 200, reply
    return reply["choices"][0]["message"]["content"], reply["choices"][0]["logprobs"]


@pytest.mark.parametrize("weights", ["int8", "int4", "bf16"])
def test_served_as_if_quantised_while_loading(start, tmp_path, weights):
    out = tmp_path / "small"
    r = run("quantize", "--model", MODEL, "--weights", weights, "--out", f"{out}/")
    assert r.returncode == 0 and f"weights as {weights}" in r.stderr, r.stderr
    assert {p.name for p in out.iterdir()} == {p.name for p in MODEL.iterdir() if p.is_file()}
    assert (out / "tokenizer.json").read_bytes() == (MODEL / "tokenizer.json").read_bytes()
    name = "--served-model-name", "any"
    plan = json.loads(run("plan", "--json", "--model", out).stdout)
    assert plan["weights_dtype"] == weights
    assert answers(start("--model", str(out), *name)) == answers(start("--weights", weights, *name))


def test_what_can_be_asked_of_it(tmp_path):
    out = tmp_path / "small"
    assert run("quantize", "--model", MODEL, "--weights", "int8", "--out", out).returncode == 0
    r = run("plan", "--model", out, "--weights", "int4")
    assert r.returncode == 2 and "prepared as int8" in said(r) and str(out) in said(r)
    assert run("plan", "--model", out, "--activations", "int8").returncode == 0
    r = run("quantize", "--model", out, "--weights", "int8", "--out", tmp_path / "twice")
    assert r.returncode == 1 and "prepared already" in said(r)
    r = run("quantize", "--model", MODEL, "--weights", "int8", "--out", out)
    assert r.returncode == 1 and "nothing is overwritten" in said(r)
    assert os.listdir(tmp_path) == ["small"]


def test_usage(tmp_path):
    for args, word in [(("--weights", "int8"), "--out"), (("--out", tmp_path / "x"), "--weights"),
                       (("--out", tmp_path / "x", "--weights", "f32"), "--weights")]:
        r = run("quantize", "--model", MODEL, *args)
        assert r.returncode == 2 and word in said(r)
    for args, word in [(("--model", "/nowhere", "--out", tmp_path / "x"), "/nowhere"),
                       (("--model", MODEL, "--out", tmp_path / "no" / "x"), "No such file")]:
        r = run("quantize", "--weights", "int8", *args)
        assert r.returncode == 1 and word in said(r)
    assert os.listdir(tmp_path) == []


def test_a_full_disk_leaves_nothing(tmp_path):
    """A limit for the size of files stands in for the disk's end."""
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    r = run("quantize", "--model", MODEL, "--weights", "int8", "--out", tmp_path / "small", preexec_fn=limit)
    assert r.returncode == 1 and "model.safetensors" in said(r) and "File too large" in said(r)
    assert os.listdir(tmp_path) == []


def test_a_damaged_file_is_named(tmp_path):
    out = tmp_path / "small"
    assert run("quantize", "--model", MODEL, "--weights", "int8", "--out", out).returncode == 0
    weights = out / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 4
    weights.write_bytes(data)
    r = run("chat", "--model", out, "hi")
    assert r.returncode == 2 and "model.safetensors: tensor " in said(r) and "damaged" in said(r)
    weights.write_bytes(data[:-5])
    r = run("plan", "--model", out)
    assert r.returncode == 2 and "model.safetensors" in said(r)


# ---- with a sample ----

def sentences(seed, n):
    """Text in which some words are frequent and follow each other often, as in any language."""
    words = ("the server reads a file and answers every request that a client sends to it , while the model computes "
             "what comes next . nobody waits long for an answer").split()
    chance = random.Random(seed)
    return " ".join(words[min(int(chance.expovariate(0.12)), len(words) - 1)] for _ in range(n))


def lost(model, data, *against):
    r = run("compare", "--model", model, "--weights", "f32", "--data", data, "--json", *against)
    assert r.returncode == 0, r.stderr
    return json.loads(r.stdout)["kl_mean"]


@pytest.mark.parametrize("weights, lines", [("int4", False), ("int4", True), ("int8", True)])
def test_a_sample_makes_weights_lose_less(tmp_path, weights, lines):
    """On other text of the same kind. As one text, or as a text and chats on lines, also from a pipe; twice the
    same."""
    sample, held_out = tmp_path / "sample", tmp_path / "held_out.jsonl"
    if lines:
        chats = [{"messages": [{"role": "user", "content": sentences(i, 20)},
                               {"role": "assistant", "content": sentences(40 + i, 30)}]} for i in range(20)]
        sample.write_text("\n".join(json.dumps(x) for x in [{"text": sentences(1, 900)}, *chats]) + "\n\n")
    else:
        sample.write_text(sentences(1, 1500))
    held_out.write_text("".join(json.dumps({"text": sentences(100 + i, 60)}) + "\n" for i in range(5)))
    for name, path in ("a", sample), ("b", "/dev/stdin" if lines else sample):
        r = run("quantize", "--model", TINY, "--weights", weights, "--out", tmp_path / name, "--calibrate", path,
                "--calibrate-tokens", 2500, input=sample.read_text())
        assert r.returncode == 0 and "calibrated with 2500 tokens" in r.stderr, r.stderr
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (tmp_path / "b" / "model.safetensors").read_bytes()
    plain = lost(TINY, held_out, "--against-weights", weights)
    assert 0 < lost(TINY, held_out, "--against", tmp_path / "a") < 0.7 * plain
    plan = json.loads(run("plan", "--json", "--model", tmp_path / "a").stdout)
    assert plan["weights_bytes"] == json.loads(run("plan", "--json", "--model", TINY, "--weights",
                                                   weights).stdout)["weights_bytes"]


def test_a_sample_with_images(tmp_path):
    model = ROOT / "tests" / "model" / "qwen2_vl" / "published"
    sample = tmp_path / "sample.jsonl"
    content = [image_part(3), {"type": "text", "text": "What is this?"}]
    sample.write_text(json.dumps({"messages": [{"role": "user", "content": content}]}) + "\n")
    r = run("quantize", "--model", model, "--weights", "int4", "--out", tmp_path / "out", "--calibrate", sample)
    assert r.returncode == 0 and "some thousands make better weights" in r.stderr, r.stderr
    r = run("quantize", "--model", MODEL, "--weights", "int4", "--out", tmp_path / "no", "--calibrate", sample)
    assert r.returncode == 1 and "sample.jsonl: line 1" in said(r) and "cross-attention" in said(r)
    assert sorted(os.listdir(tmp_path)) == ["out", "sample.jsonl"]


@pytest.mark.parametrize("content, says", [
    (None, "No such file"), (b"", "nothing to calibrate with"), (b" \n\n", "nothing to calibrate with"),
    (b"{\"text\": \"x\"}\n{\"text\": 5}\n", "line 2"), (b"{\"text\": \"x\"}\nand so on\n", "line 2"),
    (b"bin\xffary", "byte 3 is not UTF-8"),
], ids=["missing", "empty", "blank", "no text", "no JSON", "binary"])
def test_a_sample_that_cannot_be_used(tmp_path, content, says):
    sample = tmp_path / "sample"
    if content is not None:
        sample.write_bytes(content)
    r = run("quantize", "--model", TINY, "--weights", "int4", "--out", tmp_path / "out", "--calibrate", sample)
    assert r.returncode == 1 and says in said(r) and "sample" in said(r)
    assert os.listdir(tmp_path) in ([], ["sample"])


def test_a_sample_is_for_whole_numbers(tmp_path):
    r = run("quantize", "--model", TINY, "--weights", "fp8", "--out", tmp_path / "out", "--calibrate", "x")
    assert r.returncode == 2 and "--calibrate is for --weights int4 or int8" in said(r)
    r = run("quantize", "--model", TINY, "--weights", "int4", "--out", tmp_path / "out", "--calibrate", tmp_path)
    assert r.returncode == 1 and str(tmp_path) in said(r)
    assert os.listdir(tmp_path) == []
