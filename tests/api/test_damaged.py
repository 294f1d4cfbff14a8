"""Damaged and hostile checkpoints: whatever the files hold, the program answers or ends with one line that names the
file; never a crash, never a hang.

FUZZ_ROUNDS=N mutates more (14 a case in the tests), FUZZ_SEED=N otherwise; `make asan` and
OPENAUTOGLM_BIN=build/asan/openautoglm see more than a plain build.
"""

import copy
import json
import os
import random
import shutil
import struct
import subprocess

import pytest

from conftest import BIN, PATIENCE, ROOT

ROUNDS, SEED = int(os.environ.get("FUZZ_ROUNDS", 14)), int(os.environ.get("FUZZ_SEED", 1))
CASES = ["glm4v/grouped", "qwen2_5_vl/windows", "qwen3_vl/deepstack", "llama/yarn", "mllama/tiles", "idefics2/whole",
         "llava_next/mistral", "kosmos-2/plain", "gemma3/windows", "qwen3_moe/normed", "internvl/tiles",
         "smolvlm/idefics3", "glm_ocr/tied", "deepseek_vl/tied", "internvl_chat/tiles", "paligemma/second"]
VALUES = [0, 1, -1, 2, 3, 7, 255, 65536, 2**31 - 1, 2**31, 2**32, 2**53, 2**62, 2**63 - 1, -2**63, 1e300, -1e300, 0.5,
          1e-300, True, False, None,
          "", "x", "\0", "../../etc/passwd", "a" * 5000, "\ud7ff漢", "[", "(?R)", "(a*)*b", [], {}, [[]], [1, 2, 3],
          [0] * 2000, {"a": {"b": {}}}]


def ask(folder):
    """How `chat` on the folder ends: status, and the program's own words."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENAUTOGLM_")}
    done = subprocess.run([BIN, "chat", "--model", folder, "--max-tokens", "2", "--log-level", "error",
                           "--max-num-seqs", "2",
                           "--memory-bytes", "2G", "--", "hello there"], capture_output=True, env=environment,
                           timeout=20 * PATIENCE / 120)
    return done.returncode, done.stderr.decode(errors="replace")


def check(folder, what):
    status, said = ask(folder)
    assert status in (0, 1, 2), f"{what}: status {status}\n{said[-3000:]}"
    if status != 0:
        lines = [line for line in said.splitlines() if line.startswith("openautoglm: ")]
        assert len(lines) == 1 and said.count("\n") == 1 and len(lines[0]) > 20, f"{what}: {said[:2000]}"
    return status, said


def places(value, path=()):
    """Every place in a JSON value."""
    yield path
    for key in value if isinstance(value, dict) else range(min(len(value), 30)) if isinstance(value, list) else []:
        yield from places(value[key], path + (key,))


def change_json(rng, root):
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        *at, key = rng.choice([p for p in places(root) if p] or [("x",)])
        inner = root
        for k in at:
            inner = inner[k]
        action = rng.randrange(5)
        if action == 0 and isinstance(inner, dict):
            inner.pop(key, None)
        elif action == 1 and isinstance(inner, list):
            inner.insert(key, copy.deepcopy(rng.choice(VALUES)))
        elif action == 2 and isinstance(inner, dict) and isinstance(inner.get(key), int):
            inner[key] = inner[key] * rng.choice((2, 3, 1000)) + rng.choice((-1, 0, 1))
        else:
            inner[key] = copy.deepcopy(rng.choice(VALUES))
    return root


def change_bytes(rng, data):
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 3, 20))):
        at, action = rng.randrange(len(data) + 1), rng.randrange(5)
        if action == 0:
            del data[at:]
        elif action == 1:
            data[at:at] = bytes(rng.randrange(256) for _ in range(rng.choice((1, 7, 64))))
        elif action == 2:
            del data[at:at + rng.choice((1, 8, 100))]
        elif at < len(data):
            data[at] = rng.choice((0, 255, data[at] ^ 1 << rng.randrange(8), rng.randrange(256), ord("9"), ord('"'),
                                   ord("{")))
    return bytes(data)


def change_header(rng, data):
    """The header of a safetensors file, as JSON; sometimes its length as well."""
    n = struct.unpack("<Q", data[:8])[0]
    header, body = json.loads(data[8:8 + n]), data[8 + n:]
    text = json.dumps(change_json(rng, header)).encode()
    if rng.random() < 0.2:                          # a name twice
        text = text[:-1] + b', ' + text[1:]
    length = len(text) if rng.random() < 0.9 else rng.choice((0, 1, 2**31, 2**63, 2**64 - 1, 2**64 - 8,
                                                              len(text) + len(body) + 1))
    return struct.pack("<Q", length) + text + body


def mutate(rng, folder):
    """One file of the folder changed; its name."""
    files = ["config.json"] * 4 + ["tokenizer.json"] * 4 + ["model.safetensors"] * 4 + ["tokenizer_config.json",
                                                                                        "generation_config.json",
             "preprocessor_config.json", "chat_template.jinja"]
    path = folder / rng.choice([f for f in files if (folder / f).exists()])
    data = path.read_bytes()
    try:
        if rng.random() < 0.2:
            path.write_bytes(change_bytes(rng, data))
        elif path.suffix == ".json":
            path.write_text(json.dumps(change_json(rng, json.loads(data)), ensure_ascii=rng.random() < 0.5),
                            errors="surrogatepass")
        elif path.suffix == ".safetensors":
            path.write_bytes(change_header(rng, data))
    except (ValueError, struct.error):              # it was changed before, and is no JSON any more
        path.write_bytes(change_bytes(rng, data))
    return path.name


@pytest.mark.parametrize("case", CASES)
def test_mutations(case, tmp_path):
    rng, ends = random.Random(f"{case} {SEED}"), {0: 0, 1: 0, 2: 0}
    for i in range(ROUNDS):
        folder = tmp_path / "m"
        shutil.copytree(ROOT / "tests/model" / case, folder)
        names = [mutate(rng, folder) for _ in range(rng.choice((1, 1, 2)))]
        try:
            status, said = check(folder, f"{case} seed {SEED} round {i} ({', '.join(names)})")
        except BaseException:
            keep = os.environ.get("FUZZ_KEEP")
            if keep:
                shutil.copytree(folder, f"{keep}/{case.replace('/', '-')}-{SEED}-{i}", dirs_exist_ok=True)
            raise
        ends[status] += 1
        assert status != 2 or any(name in said or name.split(".")[0] in said
                                  for name in names) or "tensor" in said or str(folder) in said, said
        shutil.rmtree(folder)
    print(f"{case}: {ends[0]} answered, {ends[1] + ends[2]} refused")
    assert ends[2] > ROUNDS // 5


INDEX = {
    "outside": ({"weight_map": {"model.norm.weight": "../model.safetensors"}}, "not the name of a file"),
    "absolute": ({"weight_map": {"model.norm.weight": "/etc/passwd"}}, "not the name of a file"),
    "folder": ({"weight_map": {"model.norm.weight": ".."}}, "not the name of a file"),
    "itself": ({"weight_map": {"model.norm.weight": "model.safetensors.index.json"}}, "header"),
    "nothing": ({"weight_map": {}}, "missing"),
    "number": ({"weight_map": {"model.norm.weight": 7}}, "not the name of a file"),
    "list": ({"weight_map": []}, "no weight_map"),
    "absent": ({"weight_map": {"model.norm.weight": "model-2.safetensors"}}, "No such file"),
    "not there": ({"weight_map": {"model.other.weight": "part.safetensors"}}, "tensor model.other.weight is not in "
        "part.safetensors"),
}


@pytest.mark.parametrize("what", INDEX)
def test_index(what, tmp_path):
    folder, (index, error) = tmp_path / "m", INDEX[what]
    shutil.copytree(ROOT / "tests/model/llama/yarn", folder)
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    shutil.copy(folder / "part.safetensors", tmp_path / "model.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    status, said = check(folder, what)
    assert status == 2 and error in said, said


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
                                  "model.safetensors", "generation_config.json", "preprocessor_config.json"])
@pytest.mark.parametrize("kind", ["folder", "pipe", "empty", "endless"])
def test_files_that_are_none(name, kind, tmp_path):
    folder = tmp_path / "m"
    shutil.copytree(ROOT / "tests/model/glm4v/grouped", folder)
    path = folder / name
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "endless":
        path.symlink_to("/dev/zero")
    else:
        path.write_bytes(b"")
    status, said = check(folder, f"{name} is {kind}")
    assert status == 2 and name in said or (name, kind) == ("chat_template.jinja", "empty"), said
