"""What people give as --model instead of a checkpoint's folder: one line says what it is and what to do."""

import json
import os
import shutil
import subprocess

import pytest

from conftest import BIN, PATIENCE, ROOT

TINY = ROOT / "tests/model/llama/yarn"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
GGUF = b"GGUF\x03\0\0\0" + bytes(64)
PICKLE = b"PK\x03\x04\0\0\x08\x08" + bytes(64)


def files(folder, **contents):
    """A folder with these files: `config_json` is config.json, `None` removes one."""
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        path = folder / name.replace("__", "-").replace("_json", ".json").replace("_safetensors", ".safetensors")
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return folder


def copy(folder, **contents):
    shutil.copytree(TINY, folder, ignore=shutil.ignore_patterns("golden.*"))
    return files(folder, **contents)


def weights_as(folder, name, content=PICKLE):
    copy(folder, model_safetensors=None)
    (folder / name).write_bytes(content)
    return folder


def put(path, content):
    path.write_bytes(content)
    return path


def cache(folder):
    (folder / "refs").mkdir(parents=True)
    shutil.copytree(TINY, folder / "snapshots/0a1b2c")
    return folder


def trainer(folder):
    folder.mkdir()
    shutil.copytree(TINY, folder / "checkpoint-500")
    return folder


def adapter(folder):
    return (files(folder, adapter_config_json={"peft_type": "LORA",
                                               "base_model_name_or_path": "Qwen/Qwen2-VL-2B-Instruct"},
                                               adapter_model_safetensors=b"x"))


def merged_beside(folder):
    """Some tools put the base model's config.json beside the adapter."""
    adapter(folder)
    shutil.copy(TINY / "config.json", folder)
    return folder


def broken_link(folder):
    copy(folder)
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("../../blobs/0123")
    return folder


def tiny_index(folder):
    return (weights_as(folder, "model.safetensors.index.json",
                       json.dumps({"weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors"}}).encode()))


CASES = {
    "hub name": (lambda p: "Qwen/Qwen2-VL-2B-Instruct", ["http://127.0.0.1:9 cannot be reached", "network"]),
    "hub address": (lambda p: "https://huggingface.co/zai-org/GLM-4.1V-9B-Thinking",
                    ["hub", "openautoglm pull zai-org/GLM-4.1V-9B-Thinking"]),
    "path that is not there": (lambda p: p / "absent", ["absent: No such file or directory"]),
    "mistyped relative path": (lambda p: "models/open-autoglm-v2",
                               ["models/open-autoglm-v2: No such file or directory"]),
    "GGUF file": (lambda p: put(p / "m.gguf", GGUF), ["m.gguf: is a GGUF file", "config.json"]),
    "GGUF folder": (lambda p: weights_as(p / "m", "Qwen-Q4_K_M.gguf", GGUF), ["Qwen-Q4_K_M.gguf is a GGUF file"]),
    "GGUF without config": (lambda p: put(files(p / "m") / "Qwen-Q4_K_M.gguf", GGUF).parent,
                            ["Qwen-Q4_K_M.gguf is a GGUF file"]),
    "GGUF named safetensors": (lambda p: copy(p / "m", model_safetensors=GGUF), ["model.safetensors: is a GGUF file"]),
    "pickle named safetensors": (lambda p: copy(p / "m", model_safetensors=PICKLE),
                                 ["model.safetensors: is a PyTorch pickle"]),
    "safetensors file": (lambda p: copy(p / "m") / "model.safetensors", ["one file of a checkpoint", "/m"]),
    "config file": (lambda p: copy(p / "m") / "config.json", ["one file of a checkpoint", "/m"]),
    "pickle file": (lambda p: put(p / "pytorch_model.bin", PICKLE), ["is a PyTorch pickle"]),
    "some file": (lambda p: put(p / "notes.txt", b"hello"), ["is a file", "config.json"]),
    "pickle folder": (lambda p: weights_as(p / "m", "pytorch_model.bin"), ["pytorch_model.bin is a PyTorch pickle",
                                                                           "safetensors"]),
    "sharded pickle": (lambda p: weights_as(p / "m", "pytorch_model-00001-of-00002.bin"), ["is a PyTorch pickle"]),
    "original Llama": (lambda p: put(files(p / "m", params_json={"dim": 8}) / "consolidated.00.pth", PICKLE).parent,
                       ["consolidated.00.pth", "Hugging Face"]),
    "TensorFlow": (lambda p: weights_as(p / "m", "tf_model.h5"), ["tf_model.h5", "TensorFlow"]),
    "another name": (lambda p: weights_as(p / "m", "weights.safetensors"),
                     ["weights.safetensors", "model.safetensors"]),
    "shards without index": (lambda p: weights_as(p / "m", "model-00001-of-00002.safetensors"),
                             ["model.safetensors.index.json"]),
    "index alone": (lambda p: tiny_index(p / "m"), ["model-00001-of-00002.safetensors: No such file", "index",
                                                    "not complete"]),
    "GPTQ": (lambda p: put(weights_as(p / "m", "gptq_model-4bit-128g.safetensors") / "quantize_config.json",
                           b"{}").parent, ["quantised by other tools"]),
    "no weights": (lambda p: copy(p / "m", model_safetensors=None), ["no model.safetensors", "download"]),
    "empty weights": (lambda p: copy(p / "m", model_safetensors=b""), ["model.safetensors: 0 bytes"]),
    "empty folder": (lambda p: files(p / "m"), ["/m/config.json: No such file", "model.safetensors"]),
    "LoRA": (lambda p: adapter(p / "m"), ["LoRA adapter of Qwen/Qwen2-VL-2B-Instruct", "merge"]),
    "LoRA with config": (lambda p: merged_beside(p / "m"), ["LoRA adapter of Qwen/Qwen2-VL-2B-Instruct", "merge"]),
    "cache": (lambda p: cache(p / "models--Qwen--Qwen2-VL"),
              ["Hugging Face cache", "models--Qwen--Qwen2-VL/snapshots/0a1b2c"]),
    "trainer's output": (lambda p: trainer(p / "out"), ["/out/checkpoint-500"]),
    "link to nothing": (lambda p: broken_link(p / "m"), ["config.json: No such file"]),
    **{f"LFS pointer {name}": (lambda p, name=name: put(copy(p / "m") / name, POINTER).parent,
                               [name, "Git LFS pointer", "git lfs pull"])
       for name in ["config.json", "model.safetensors", "tokenizer.json", "generation_config.json",
                    "tokenizer_config.json", "chat_template.jinja"]},
    "LFS pointer of an index": (lambda p: put(weights_as(p / "m", "x.txt") / "model.safetensors.index.json",
                                              POINTER).parent, ["Git LFS pointer"]),
    "web page": (lambda p: copy(p / "m", config_json=b"<!DOCTYPE html>\n<html>"), ["config.json: is a web page"]),
    "no tokenizer": (lambda p: copy(p / "m", tokenizer_json=None), ["tokenizer.json: No such file"]),
    "SentencePiece alone": (lambda p: put(copy(p / "m", tokenizer_json=None) / "tokenizer.model", b"x").parent,
                            ["tokenizer.json: No such file", "tokenizer.model", "transformers"]),
    "SigLIP's pieces alone": (lambda p: put(copy(p / "m", tokenizer_json=None) / "spiece.model", b"x").parent,
                              ["tokenizer.json: No such file", "spiece.model", "transformers"]),
}


@pytest.mark.parametrize("what", CASES)
def test_one_line_says_what_it_is(what, tmp_path):
    make, wanted = CASES[what]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENAUTOGLM_")}
    environment |= {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hf")}      # nobody is there
    done = subprocess.run([BIN, "serve", "--device", "cpu", "--port", "0", "--max-num-seqs", "2", "--memory-bytes",
                           "2G", "--model", make(tmp_path)],
                          capture_output=True, text=True, env=environment, cwd=ROOT, timeout=PATIENCE)
    said = [line for line in done.stderr.splitlines() if line.startswith("openautoglm: ")]
    assert done.returncode == 2 and len(said) == 1, done.stderr
    assert "listening" not in done.stderr, done.stderr
    for words in wanted:
        assert words in said[0], f"\"{said[0]}\" does not say \"{words}\""
    assert len(said[0]) < 520 and not said[0].endswith(("(", ",")), said[0]
