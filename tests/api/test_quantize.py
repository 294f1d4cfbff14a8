"""`openautoglm quantize`: a folder that serves as it is, or none."""

import json
import os
import resource
import subprocess

import pytest

from conftest import BIN, MODEL, PATIENCE, ask


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
