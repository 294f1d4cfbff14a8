"""Every family's golden cases (python/golden.py) through the HTTP API: prompt
tokens, greedy tokens, the first token's logprob and every token's lead over
the second best equal transformers'. Those of the published shapes (python/published.py)
also give the reference's text, and the prompts of many more chats are as long as its."""

import io
import itertools
import json
import math
import shutil
import struct
import subprocess

import numpy as np
import openai
import pytest
from PIL import Image

from conftest import BIN, MODEL, ROOT, Server, data_url

CASES = sorted(p.parent for p in (ROOT / "tests" / "model").glob("*/*/golden.json"))
SLOT = {"type": "image"}


def tensors(path):
    data = path.read_bytes()
    n = struct.unpack("<Q", data[:8])[0]
    kinds = {"F32": np.float32, "I32": np.int32, "U8": np.uint8}
    return {name: np.frombuffer(data[8 + n + t["data_offsets"][0]:8 + n + t["data_offsets"][1]],
                                kinds[t["dtype"]]).reshape(t["shape"])
            for name, t in json.loads(data[8:8 + n]).items() if name != "__metadata__"}


def token_bytes(case):
    """id -> bytes of the tiny tokenizer"""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    other = [b for b in range(256) if b not in plain]
    byte_of = {chr(b): b for b in plain} | {chr(256 + i): b for i, b in enumerate(other)}
    t = json.loads((case / "tokenizer.json").read_text())
    if t["model"]["type"] == "Unigram":
        out = {i: list(text.replace("\u2581", " ").encode()) for i, (text, _) in enumerate(t["model"]["vocab"])}
    elif t["model"]["byte_fallback"]:
        out = {i: [int(text[3:5], 16)] if text.startswith("<0x") else list(text.replace("\u2581", " ").encode())
               for text, i in t["model"]["vocab"].items()}
    else:
        out = {i: [byte_of[c] for c in text] for text, i in t["model"]["vocab"].items()}
    return out | {a["id"]: list(a["content"].encode()) for a in t["added_tokens"]}


def image(pixels):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return {"type": "image_url", "image_url": {"url": data_url(out.getvalue())}}


def with_images(messages, golden):
    """The case's pictures at their places, again from the first where there are more places."""
    pictures = itertools.cycle(sorted(k for k in golden if k.startswith("image.")))
    return [m if isinstance(m["content"], str) else
            {**m, "content": [image(golden[next(pictures)]) if p == SLOT else p for p in m["content"]]}
            for m in messages]


def as_sent(message):
    """As a client sends it: the arguments of a call are JSON in a string."""
    calls = [{**c, "function": {**c["function"], "arguments": json.dumps(c["function"]["arguments"])}}
             for c in message.get("tool_calls", [])]
    return {**message, "tool_calls": calls} if calls else message


def request(model, chat, golden, **extra):
    """What create() is called with, for a chat of golden.json or chats.json."""
    extra |= {"chat_template_kwargs": chat["chat_template_kwargs"]} if "chat_template_kwargs" in chat else {}
    return dict(model=model, temperature=0, messages=[as_sent(m) for m in with_images(chat["messages"], golden)],
                extra_body=extra, **({"tools": chat["tools"]} if "tools" in chat else {}))


def streamed(client, ask):
    """The pieces of the answer's text."""
    return [c.choices[0].delta.content or "" for c in client.chat.completions.create(**ask, stream=True) if c.choices]


@pytest.mark.parametrize("device", ["ref", "cpu"])
@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.parent.name}-{c.name}")
def test_golden(case, device):
    golden, about = tensors(case / "golden.safetensors"), json.loads((case / "golden.json").read_text())
    server = Server("--model", str(case), "--device", device)
    try:
        c = server.client()
        ask = request(case.name, about, golden, ignore_eos=True) | dict(max_tokens=len(golden["greedy"]))
        sure = ask | dict(logprobs=True, top_logprobs=2)
        # the second from the caches
        first, second = c.chat.completions.create(**sure), c.chat.completions.create(**sure)
        pieces = streamed(c, ask)
    finally:
        server.stop()
    assert len(golden["greedy"]) >= 24
    known = token_bytes(case)
    for answer in first, second:
        assert answer.usage.prompt_tokens == len(golden["ids"])
        assert [t.bytes for t in answer.choices[0].logprobs.content] == [known.get(int(i), [])
                                                                         for i in golden["greedy"]]
        row = golden["logits"][-1].astype(np.float64)
        want = row.max() - math.log(np.exp(row - row.max()).sum()) - row.max()
        assert abs(answer.choices[0].logprobs.content[0].logprob - want) < 2e-3
        leads = [t.top_logprobs[0].logprob - t.top_logprobs[1].logprob for t in answer.choices[0].logprobs.content]
        assert np.abs(np.array(leads) - golden["margins"]).max() < 2e-3
    assert first.choices[0].logprobs == second.choices[0].logprobs
    said = about.get("said", about.get("text", "".join(pieces)))       # said: without the places
    assert first.choices[0].message.content == "".join(pieces) == said
    assert getattr(first.choices[0].message, "grounding", None) == about.get("grounding")


@pytest.mark.parametrize("case", [c for c in CASES if c.name == "published"], ids=lambda c: c.parent.name)
def test_prompts_of_the_published_shapes(case):
    """Tools, calls, results, thoughts, parts and look-alikes of structure, as a client sends them: as many tokens as
    the reference makes, and its ids of plain texts. (tests/engine/test_published.c compares the chats' ids.)"""
    golden, records = tensors(case / "golden.safetensors"), json.loads((case / "chats.json").read_text())
    server, slots = Server("--model", str(case)), 0
    try:
        c = server.client()
        for chat in records["chats"]:
            asked = chat["messages"]
            places = sum(m["content"].count(SLOT) for m in asked if isinstance(m["content"], list))
            usage = c.chat.completions.create(**request(case.name, chat, golden), max_tokens=1).usage
            # what stands in a prompt for an image, where that is more than its places
            images = sum(k.startswith("image.") for k in golden)
            taken = golden.get("extents", [len(golden.get(f"image_tokens.{i}", [0])) for i in range(images)])
            pictures = sum(int(taken[i % len(taken)]) for i in range(places))
            tokens = len(chat["ids"]) + chat.get("added", 0) - places + pictures
            assert usage.prompt_tokens == chat.get("tokens", tokens), chat["name"]
            slots += places
        for row in records["texts"]:
            status, said = server.post("/tokenize", {"prompt": row["text"]})
            assert (status, said["tokens"]) == (200, row["ids"]), row["text"]
    finally:
        server.stop()
    assert (slots > 0) == ("image.0" in golden)


# The chats behind the native model's golden cases (python/openautoglm/golden.py); its tiny-* cases have no tokenizer.
NATIVE = {"screen": [("user", "Tap on Wi-Fi", 1)], "small": [("user", "How many icons are there?", 1)],
          "two": [("user", "What is the title?", 1), ("assistant", 'finish(message="OK")', 0), ("user", 'Tap "OK"', 1)],
          "text": [("user", 'Type "Hello"', 0)]}


@pytest.mark.parametrize("device", ["ref", "cpu"])
def test_golden_of_the_native_model(device):
    spelled = {i: s for s, i in json.loads((MODEL / "tokenizer.json").read_text())["model"]["vocab"].items()}
    server = Server("--model", str(MODEL), "--device", device)
    try:
        for case, turns in NATIVE.items():
            if (case, device) == ("screen", "ref"):
                continue        # most of a minute; test_open_autoglm.c has it
            golden = tensors(ROOT / "tests/model/open_autoglm" / case / "golden.safetensors")
            messages = with_images([{"role": role, "content": [SLOT] * n + [{"type": "text", "text": text}]} for role,
                                    text, n in turns], golden)
            answer = server.client().chat.completions.create(model=MODEL.name, temperature=0, max_tokens=32,
                                                             logprobs=True, messages=messages)
            tokens, row = answer.choices[0].logprobs.content, golden["logits"][-1].astype(np.float64)
            assert answer.usage.prompt_tokens == len(golden["ids"])
            assert [t.token for t in tokens][:len(golden["greedy"])] == [spelled[int(i)] for i in golden["greedy"]]
            assert answer.choices[0].finish_reason == "stop" and len(tokens) <= len(golden["greedy"]) + 1
            assert abs(tokens[0].logprob + math.log(np.exp(row - row.max()).sum())) < 2e-3
    finally:
        server.stop()


def test_images_where_they_may_be_and_where_not():
    golden = tensors(ROOT / "tests/model/glm4v/grouped/golden.safetensors")
    picture = image(golden["image.0"])
    server = Server("--model", str(ROOT / "tests/model/glm4v/grouped"))
    try:
        c = server.client()
        text = c.chat.completions.create(model="grouped", temperature=0, max_tokens=2,
                                         messages=[{"role": "user", "content": "Hello"}])
        assert text.usage.prompt_tokens == 4 + len("\nHello\n")      # [gMASK] <sop> <|user|> <|assistant|>
        system = [{"role": "system", "content": [picture]}, {"role": "user", "content": [picture, picture]}]
        many = c.chat.completions.create(model="grouped", temperature=0, max_tokens=2, messages=system)
        assert many.usage.prompt_tokens > 3 * 20
        with pytest.raises(openai.BadRequestError) as e:
            c.chat.completions.create(model="grouped", messages=system,
                                      extra_body={"mm_processor_kwargs": {"min_pixels": 10**12, "max_pixels": 10**12}})
        assert "pixels" in str(e.value)
    finally:
        server.stop()
    server = Server("--model", str(ROOT / "tests/model/llama/yarn"))
    try:
        with pytest.raises(openai.BadRequestError) as e:
            server.client().chat.completions.create(model="yarn", messages=[{"role": "user", "content": [picture]}])
        assert "image" in str(e.value)
    finally:
        server.stop()


def run(*arguments):
    return subprocess.run([BIN, *map(str, arguments)], capture_output=True, text=True, timeout=300)


STRIPS = [(1999, 10), (4096, 40), (21, 4096), (10, 1999), (1, 200), (3999, 20)]


@pytest.mark.parametrize("case", ["glm4v/grouped", "qwen2_vl/grouped", "qwen2_5_vl/windows", "qwen3_vl/deepstack"])
def test_thin_strips_and_what_is_too_large(case, tmp_path):
    """Whatever shape the processor takes is answered; an image that would take too much is named."""
    folder, rng = ROOT / "tests/model" / case, np.random.default_rng(3)
    server = Server("--model", str(folder))
    try:
        c, other = server.client(), set()
        for w, h in [(56, 56), *STRIPS]:
            pixels = rng.integers(0, 256, (h, w, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "strip.png")
            tokens = json.loads(run("preprocess", "--model", folder, "--image",
                                    tmp_path / "strip.png").stdout)["tokens"]
            ask = dict(model=folder.name, temperature=0, max_tokens=1,
                       messages=[{"role": "user", "content": [image(pixels)]}])
            other.add(c.chat.completions.create(**ask).usage.prompt_tokens - tokens)
        assert len(other) == 1          # the text around the image
        with pytest.raises(openai.BadRequestError) as e:
            c.chat.completions.create(**ask,
                                      extra_body={"mm_processor_kwargs": {"min_pixels": 900000, "max_pixels": 1000000}})
        assert e.value.param == "messages[0].content[0].image_url.url" and "tokens" in e.value.message
    finally:
        server.stop()


@pytest.mark.parametrize("case, size, kwargs", [
    ("idefics2/published", (39, 39), {"shortest_edge": 4, "longest_edge": 60}),
    ("smolvlm/published", (96, 16), {"longest_edge": 96})])
def test_more_at_a_time_than_was_planned_for(start, case, size, kwargs):
    """Places and bytes of these are within what was planned; what their encoding needs is not."""
    server = start(model=ROOT / "tests/model" / case)
    body = {"max_tokens": 1, "messages": [{"role": "user", "content": [image(np.zeros((*size[::-1], 3), np.uint8))]}]}
    status, answer = server.post("/v1/chat/completions", body | {"mm_processor_kwargs": {"size": kwargs}})
    assert status == 400 and "patches at a time" in answer["error"]["message"], answer
    assert server.post("/v1/chat/completions", body)[0] == 200



def edit(path, name, change):
    """Changes one array of a safetensors file where it lies."""
    array = tensors(path)[name].copy()
    data = bytearray(path.read_bytes())
    at = data.find(tensors(path)[name].tobytes(), 8 + struct.unpack("<Q", data[:8])[0])
    change(array)
    data[at:at + array.nbytes] = array.tobytes()
    path.write_bytes(data)


def put(array, at, value):
    array.reshape(-1)[at] = value


def add_tensor(path):
    data = path.read_bytes()
    n = struct.unpack("<Q", data[:8])[0]
    header, body = json.loads(data[8:8 + n]), data[8 + n:]
    header["more.weight"] = {"dtype": "F32", "shape": [1], "data_offsets": [len(body), len(body) + 4]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + body + b"\0" * 4)


@pytest.mark.parametrize("device", ["ref", "cpu"])
@pytest.mark.parametrize("case", {c.parent.name: c for c in CASES}.values(), ids=lambda c: c.parent.name)
def test_selftest_of_every_family(case, device):
    """One case each: selftest on the checkpoint with its own golden file."""
    done = run("selftest", "--model", case, "--device", device)
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("ok      ")]
    golden = tensors(case / "golden.safetensors")
    kept = {"preprocess": "pixels.0", "vision": "image.0", "positions": "positions", "decoder": "logits"}
    stages = [stage for stage, array in kept.items() if array in golden]
    assert done.returncode == 0 and [words[1] for words in lines] == stages, done.stdout
    assert "24 of 24 greedy tokens equal" in done.stdout


# What is done to a copy of a case, and what selftest says then.
WRONG = {
    "logits": (lambda d: edit(d / "golden.safetensors", "logits", lambda a: put(a, -1, a[-1, -1] + 0.01)),
               "FAIL    decoder"),
    "greedy": (lambda d: edit(d / "golden.safetensors", "greedy", lambda a: put(a, 5, a[5] ^ 1)),
               "token 5 is the first other one"),
    "no number": (lambda d: edit(d / "golden.safetensors", "image_tokens.0", lambda a: put(a, 7, np.nan)),
                  "FAIL    vision"),
    "deepstack": (lambda d: edit(d / "golden.safetensors", "deepstack.1.1", lambda a: put(a, 3, a[0, 3] + 0.01)),
                  "FAIL    vision"),
    "pixels": (lambda d: edit(d / "golden.safetensors", "pixels.1", lambda a: put(a, -1, a[-1, -1] + 1e-4)),
               "FAIL    preprocess"),
    "positions": (lambda d: edit(d / "golden.safetensors", "positions", lambda a: put(a, 200, a[1, 67] + 1)),
                  "1 differ"),
    "places": (lambda d: edit(d / "golden.safetensors", "ids", lambda a: put(a, a.tolist().index(260), 5)),
               "41 image tokens for 40 places"),
    "token": (lambda d: edit(d / "golden.safetensors", "ids", lambda a: put(a, 0, 1 << 30)), "token 0 of the prompt"),
    "tensor": (lambda d: add_tensor(d / "model.safetensors"), "FAIL  tensors       93 of 94 used"),
}


@pytest.mark.parametrize("what", WRONG)
def test_selftest_sees(what, tmp_path):
    shutil.copytree(ROOT / "tests/model/qwen3_vl/deepstack", tmp_path / "case")
    damage, said = WRONG[what]
    damage(tmp_path / "case")
    done = run("selftest", "--model", tmp_path / "case")
    assert done.returncode == 1 and said in done.stdout, done.stdout
    assert "selftest: 1 stages FAILED" in done.stdout, done.stdout


@pytest.mark.parametrize("case, arrays, said, wrong", [
    ("qwen3_vl/deepstack", "golden", "ok      decoder", "of 12 rows are nearest to their own"),
    ("clip/published", "vectors", "ok      texts       8 of 8 vectors are nearest to their own; with int8 weights",
     "FAIL    texts       7 of 8")])
def test_selftest_of_rounded_weights(case, arrays, said, wrong, tmp_path):
    """What was made with whole weights is no more the same, but it is nearer than anything else, unless it is wrong."""
    origin = ROOT / "tests/model" / case
    assert run("quantize", "--model", origin, "--weights", "int8", "--out", tmp_path / "small").returncode == 0
    shutil.copytree(origin, tmp_path / "case")
    done = run("selftest", "--model", tmp_path / "small", "--golden", tmp_path / "case")
    assert done.returncode == 0 and said in done.stdout, done.stdout

    def swap(a):
        a[[0, 1]] = a[[1, 0]]

    file = tmp_path / "case" / f"{arrays}.safetensors"
    if arrays == "golden":
        edit(file, "logits", swap)
    else:
        other = tensors(file)["text.2"].copy()
        edit(file, "text.0", lambda a: a.__setitem__(slice(None), other))
    done = run("selftest", "--model", tmp_path / "small", "--golden", tmp_path / "case")
    assert done.returncode == 1 and wrong in done.stdout, done.stdout


def test_selftest(tmp_path):
    done = run("selftest", "--model", ROOT / "models/open-autoglm-v1")
    assert done.returncode == 0 and "FAIL" not in done.stdout and "recorded" in done.stdout
    for case in "text", "small", "two":      # of the shipped model itself
        done = run("selftest", "--model", MODEL, "--golden", ROOT / "tests/model/open_autoglm" / case)
        assert done.returncode == 0 and "ok      decoder" in done.stdout, done.stdout
    case = tmp_path / "glm4v" / "broken"
    shutil.copytree(ROOT / "tests/model/glm4v/grouped", case)
    config = json.loads((case / "config.json").read_text())
    config["text_config"]["rope_parameters"]["rope_theta"] = 9000.0
    (case / "config.json").write_text(json.dumps(config))
    done = run("selftest", "--model", ROOT / "tests/model/glm4v/grouped", "--golden", tmp_path)
    assert done.returncode == 1 and "FAIL    decoder" in done.stdout and "ok      vision" in done.stdout
    assert run("selftest", "--model", tmp_path).returncode == 2
    assert run("selftest", "--model", MODEL, "--device", "abacus").returncode == 2


def test_preprocess(tmp_path):
    case = ROOT / "tests/model/qwen2_5_vl/windows"
    golden = tensors(case / "golden.safetensors")
    png, npy = tmp_path / "a.png", tmp_path / "a.npy"
    Image.fromarray(golden["image.0"]).save(png)
    done = json.loads(run("preprocess", "--model", case, "--image", png, "--out", npy).stdout)
    values = np.load(npy)
    assert (list(values.shape) == done["shape"] and done["tokens"] == done["grid"][0] * done["grid"][1] ==
            len(values) // 4)
    assert np.array_equal(values[[0, 1, -1]], golden["pixels.0"])
    assert run("preprocess", "--model", ROOT / "tests/model/llama/yarn", "--image", png).returncode == 2
    assert run("preprocess", "--model", case, "--image", tmp_path / "none.png").returncode == 1


@pytest.mark.parametrize("pixels", [None, 5000000])
def test_phone_screenshot(pixels):
    """1080x2400 RGBA through the published settings of GLM-4.1V: 3,354 image tokens, also with the phone agent's
    deployment setting, and the reference's answer."""
    case = ROOT / "tests/model/phone/glm4v"
    golden, about = tensors(case / "golden.safetensors"), json.loads((case / "golden_phone.json").read_text())
    rgba = np.dstack([np.array(Image.open(ROOT / about["image"]).convert("RGB")), np.full((2400, 1080), 255, np.uint8)])
    messages = [{**m, "content": [image(rgba) if p == SLOT else p for p in m["content"]]} for m in about["messages"]]
    server = Server("--model", str(case), "--max-num-seqs", "2")
    try:
        answer = server.client().chat.completions.create(
            model=case.name, messages=messages, temperature=0, max_tokens=len(golden["greedy"]), logprobs=True,
            extra_body={"ignore_eos": True, **({"mm_processor_kwargs": {"max_pixels": pixels}} if pixels else {})})
    finally:
        server.stop()
    known, new = token_bytes(case), answer.choices[0].logprobs.content
    assert answer.usage.prompt_tokens == len(golden["ids"]) and (golden["ids"] == 263).sum() == 3354
    assert [t.bytes for t in new] == [known.get(int(i), []) for i in golden["greedy"]]
    row = golden["logits"][-1].astype(np.float64)
    assert abs(new[0].logprob + math.log(np.exp(row - row.max()).sum())) < 2e-3
