"""/v1/embeddings: against transformers' hidden states, through OpenAI's client, and what is said of wrong requests.

What the engine computes is compared on every family in tests/engine/test_pooling.c; here it is the way there and back.
"""
import base64
import json
import math
import os
import socket
import struct
import threading

import openai
import pytest

from conftest import ROOT, Server, ask, data_url, png

TEXT = ROOT / "tests/model/qwen3/grouped"
IMAGES = ROOT / "tests/model/qwen2_5_vl/tied"
WIDTH = 32


def golden_ids(folder):
    """The prompt of the golden case, from its safetensors file."""
    data = (folder / "golden.safetensors").read_bytes()
    n = struct.unpack("<Q", data[:8])[0]
    a, b = json.loads(data[8:8 + n])["ids"]["data_offsets"]
    return list(struct.unpack(f"<{(b - a) // 4}i", data[8 + n + a:8 + n + b]))


def unit(v):
    length = math.sqrt(sum(x * x for x in v))
    return [x / length for x in v]


def cosine(a, b):
    return sum(x * y for x, y in zip(unit(a), unit(b)))


def singles(v):
    """As 32-bit floats, which nine digits name exactly."""
    return list(struct.unpack(f"<{len(v)}f", struct.pack(f"<{len(v)}f", *v)))


def decoded(text):
    data = base64.b64decode(text, validate=True)
    return list(struct.unpack(f"<{len(data) // 4}f", data))


def close(a, b, tolerance=2e-6):
    return len(a) == len(b) and all(abs(x - y) <= tolerance for x, y in zip(a, b))


@pytest.fixture(scope="module")
def text():
    s = Server(model=TEXT)
    yield s
    assert s.stop() == 0, "".join(s.lines[-50:])


@pytest.fixture(scope="module")
def vision():
    s = Server("--pooling", "mean", model=IMAGES)
    yield s
    assert s.stop() == 0, "".join(s.lines[-50:])


def embed(server, given, **more):
    status, body = server.post("/v1/embeddings", {"input": given, **more})
    assert status == 200, body
    assert [d["index"] for d in body["data"]] == list(range(len(body["data"])))
    return [d["embedding"] for d in body["data"]]


def refuse(server, body, field, code, path="/v1/embeddings"):
    status, answer = server.post(path, body)
    assert status == 400, answer
    assert (answer["error"]["param"], answer["error"]["code"]) == (field, code), answer


def test_is_the_reference_s(text):
    """The last token's state, of length 1: what decoders are pooled by where nothing else is said."""
    want = json.loads((TEXT / "states.json").read_text())["last"]
    (have,) = embed(text, golden_ids(TEXT))
    assert cosine(have, want) >= 1 - 1e-4 and close(have, unit(want), 1e-4)


def test_strict_client(text):
    """Every member has its type. The client asks for base64 unless it is told otherwise, and decodes it (after it would
    have looked at the types, so not strictly)."""
    default = text.client().embeddings.create(model="grouped", input=["one", "two"])
    floats = text.client(_strict_response_validation=True).embeddings.create(model="grouped", input=["one", "two"],
                                                                             encoding_format="float")
    assert default.object == "list" and default.model == "grouped"
    assert default.usage.prompt_tokens == default.usage.total_tokens == 6
    for a, b in zip(default.data, floats.data, strict=True):
        assert a.object == "embedding" and a.index == b.index and len(a.embedding) == WIDTH
        assert a.embedding == singles(b.embedding)
        assert abs(math.hypot(*a.embedding) - 1) < 1e-6
    assert not close(default.data[0].embedding, default.data[1].embedding)


def test_base64_is_the_floats(text):
    (floats,) = embed(text, "the same text")
    (coded,) = embed(text, "the same text", encoding_format="base64")
    assert decoded(coded) == singles(floats) and len(floats) == WIDTH


@pytest.mark.parametrize("n", [1, 2, 7, WIDTH - 1, WIDTH])
def test_dimensions(text, n):
    """Cut, and of length 1 again. The lengths go through all paddings of base64."""
    (whole,) = embed(text, "a text")
    (cut,) = embed(text, "a text", dimensions=n)
    assert close(cut, unit(whole[:n]))
    (coded,) = embed(text, "a text", dimensions=n, encoding_format="base64")
    assert decoded(coded) == singles(cut) and len(cut) == n


def test_not_normalised(text):
    want = json.loads((TEXT / "states.json").read_text())["last"]
    (have,) = embed(text, golden_ids(TEXT), normalize=False)
    assert close(have, want, 2e-3) and abs(math.hypot(*have) - 1) > 0.1


def test_all_forms_of_input(text):
    """A text, its ids, a list of either, and the objects that name a text, are one vector."""
    status, tokens = text.post("/tokenize", {"prompt": "Tap Wi-Fi"})
    ids = tokens["tokens"]
    (plain,) = embed(text, "Tap Wi-Fi")
    forms = [ids, ["Tap Wi-Fi"], [ids], {"text": "Tap Wi-Fi"}, {"type": "text", "text": "Tap Wi-Fi"},
             {"content": "Tap Wi-Fi"}, [{"text": "Tap Wi-Fi"}]]
    for form in forms:
        assert embed(text, form) == [plain], form
    mixed = embed(text, ["other", ids, {"text": "Tap Wi-Fi"}])
    assert mixed[1] == mixed[2] == plain != mixed[0]


def test_a_chat(text):
    """`messages`, as vLLM takes them, go through the template; parts of an input are what a user's message holds."""
    messages = [{"role": "user", "content": "Tap Wi-Fi"}]
    _, rendered = text.post("/v1/chat/completions/render", {"messages": messages, "add_generation_prompt": False})
    (want,) = embed(text, rendered["token_ids"])
    status, body = text.post("/v1/embeddings", {"messages": messages})
    assert status == 200 and body["data"][0]["embedding"] == want
    assert body["usage"]["prompt_tokens"] == rendered["count"]
    assert embed(text, {"content": [{"type": "text", "text": "Tap Wi-Fi"}]}) == [want]
    _, asked = text.post("/v1/embeddings", {"messages": messages, "add_generation_prompt": True})
    assert asked["data"][0]["embedding"] != want


def test_images(vision):
    """The image's places are pooled with the text's, in the order of the parts."""
    image = {"type": "image_url", "image_url": {"url": data_url(png(1))}}
    words = {"type": "text", "text": "a screen"}
    _, rendered = vision.post("/v1/chat/completions/render", {
        "messages": [{"role": "user", "content": [image, words]}], "add_generation_prompt": False})
    one, other, turned = (embed(vision, {"content": parts})[0] for parts in
                          ([image, words], [{**image, "image_url": {"url": data_url(png(2))}}, words], [words, image]))
    assert not close(one, other) and not close(one, turned)
    status, body = vision.post("/v1/embeddings", {"messages": [{"role": "user", "content": [image, words]}]})
    assert status == 200 and body["data"][0]["embedding"] == one
    assert body["usage"]["prompt_tokens"] == rendered["count"] > 50
    several = embed(vision, [{"image": data_url(png(1))}, "a text", image, {"content": [image, words]}])
    assert several[0] == several[2] and several[3] == one and not close(several[0], several[1])


def test_a_space_of_texts_and_images(server):
    """The shipped model's: an image, in whichever form it comes, or a text; of both together there is no vector."""
    image = {"type": "image_url", "image_url": {"url": data_url(png(3))}}
    several = embed(server, ["Wi-Fi", image, {"image": data_url(png(3))}, {"content": [image]},
                             {"content": [{"type": "image_url", "image_url": {"url": data_url(png(4))}}]}])
    assert all(len(v) == 512 and abs(math.hypot(*v) - 1) < 1e-6 for v in several)
    assert several[1] == several[2] == several[3] and not close(several[1], several[4])
    status, body = server.post("/v1/embeddings", {"messages": [{"role": "user", "content": [image]}]})
    assert status == 200 and body["data"][0]["embedding"] == several[1]
    words = {"type": "text", "text": "Wi-Fi"}
    assert embed(server, {"content": [image]}, dimensions=64)[0] == pytest.approx(unit(several[1][:64]), abs=2e-6)
    for content in ([image, words], [words, image], [image, image]):
        refuse(server, {"input": ["a", {"content": content}]}, "input[1]", "unsupported_value")
        refuse(server, {"messages": [{"role": "user", "content": content}]}, "messages", "unsupported_value")
    refuse(server, {"input": "a", "dimensions": 513}, "dimensions", "invalid_value")


def test_a_text_that_seems_to_be_an_image(server):
    """An image beside a text would be lost: it is an error, and null is none."""
    text, url = {"type": "text", "text": "Wi-Fi"}, data_url(png(3))
    assert embed(server, {"content": [text | {"image_url": None}]}) == embed(server, {"content": [text]})
    both = text | {"image_url": {"url": url}}
    refuse(server, {"input": {"content": [both]}}, "input.content[0].image_url", "invalid_value")
    refuse(server, {"messages": [{"role": "user", "content": [both]}]}, "messages[0].content[0].image_url",
           "invalid_value")
    for given in (both, {"text": "Wi-Fi", "image": url}, {"text": "Wi-Fi", "image_url": url}):
        refuse(server, {"input": given}, "input.text", "invalid_value")


def test_long_lists(text):
    """More than there are places: they are computed a few at a time, in order."""
    many = embed(text, [f"text {i}" for i in range(700)])
    for i in (0, 63, 64, 333, 699):
        assert many[i] == embed(text, f"text {i}")[0]


def test_the_same_bits_beside_chats(text):
    (alone,) = embed(text, "a text of some length " * 12)
    answers = []

    def chat(i):
        answers.append(text.post("/v1/chat/completions", {
            "messages": [{"role": "user", "content": f"{i}"}], "max_tokens": 60, "ignore_eos": True})[0])

    threads = [threading.Thread(target=chat, args=(i,)) for i in range(6)]
    for t in threads:
        t.start()
    for _ in range(10):
        assert embed(text, ["a text of some length " * 12, "b" * 100])[0] == alone
    for t in threads:
        t.join()
    assert answers == [200] * 6
    text.wait_idle()


def test_cut_and_counted(text):
    (want,) = embed(text, "cdef")
    (have,) = embed(text, "abcdef", truncate_prompt_tokens=4)
    assert have == want
    long = "0123456789" * 60
    refuse(text, {"input": long}, "input", "context_length_exceeded")
    refuse(text, {"input": ["a", long]}, "input[1]", "context_length_exceeded")
    assert len(embed(text, long, truncate_prompt_tokens=-1)) == 1


WRONG = [
    ({}, "input", "missing_field"),
    ({"input": None}, "input", "missing_field"),
    ({"input": 5}, "input", "invalid_type"),
    ({"input": True}, "input", "invalid_type"),
    ({"input": ""}, "input", "invalid_value"),
    ({"input": []}, "input", "invalid_value"),
    ({"input": ["a", ""]}, "input[1]", "invalid_value"),
    ({"input": ["a", 5]}, "input[1]", "invalid_type"),
    ({"input": [5, "a"]}, "input", "invalid_type"),
    ({"input": [5, -1]}, "input", "invalid_value"),
    ({"input": [1e30]}, "input", "invalid_value"),
    ({"input": [[1], []]}, "input[1]", "invalid_value"),
    ({"input": ["a"] * 2049}, "input", "invalid_value"),
    ({"input": {}}, "input", "invalid_value"),
    ({"input": {"content": 5}}, "input.content", "invalid_type"),
    ({"input": {"content": []}}, "input.content", "invalid_value"),
    ({"input": [{"type": "audio"}]}, "input[0].content[0].type", "invalid_value"),
    ({"input": "a", "messages": [{"role": "user", "content": "a"}]}, "messages", "invalid_value"),
    ({"messages": []}, "messages", "invalid_value"),
    ({"messages": [{"role": "x", "content": "a"}]}, "messages[0].role", "invalid_value"),
    ({"input": {"content": [{"type": "image_url", "image_url": {"url": data_url(png(1))}}]}},
     "input.content[0].image_url.url", "invalid_value"),
    ({"input": "a", "dimensions": 0}, "dimensions", "invalid_value"),
    ({"input": "a", "dimensions": WIDTH + 1}, "dimensions", "invalid_value"),
    ({"input": "a", "dimensions": 1.5}, "dimensions", "invalid_type"),
    ({"input": "a", "encoding_format": "hex"}, "encoding_format", "invalid_value"),
    ({"input": "a", "encoding_format": 1}, "encoding_format", "invalid_type"),
    ({"input": "a", "normalize": "yes"}, "normalize", "invalid_type"),
    ({"input": "a", "user": 5}, "user", "invalid_type"),
    ({"input": "a", "priority": "high"}, "priority", "invalid_type"),
    ({"input": "a", "cache_salt": ""}, "cache_salt", "invalid_value"),
    ({"input": "a", "add_special_tokens": 1}, "add_special_tokens", "invalid_type"),
    ({"input": "a", "truncate_prompt_tokens": 0}, "truncate_prompt_tokens", "invalid_value"),
    ({"input": "a", "truncate_prompt_tokens": -2}, "truncate_prompt_tokens", "invalid_value"),
]


@pytest.mark.parametrize("body,field,code", WRONG, ids=[json.dumps(b)[:60] for b, _, _ in WRONG])
def test_wrong(text, body, field, code):
    refuse(text, body, field, code)


def test_unknown_model(text):
    with pytest.raises(openai.NotFoundError):
        text.client().embeddings.create(model="other", input="a")


def checkpoint(folder, modules=None, pooling=None):
    """The tiny checkpoint with the files of sentence-transformers beside it."""
    folder.mkdir()
    for f in TEXT.iterdir():
        os.symlink(f, folder / f.name)
    if modules is not None:
        (folder / "modules.json").write_text(json.dumps([
            {"idx": i, "name": str(i), "path": "" if kind == "Transformer" else f"{i}_{kind}",
             "type": f"sentence_transformers.models.{kind}"} for i, kind in enumerate(modules)]))
    if pooling is not None:
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return folder


def without_head(folder, tied):
    """As a base model is stored: no head, and names without the prefix."""
    folder = checkpoint(folder)
    data = (TEXT / "model.safetensors").read_bytes()
    n = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + n])
    kept = {k.removeprefix("model."): v for k, v in header.items() if k != "lm_head.weight"}
    at, body = 0, b""
    for v in kept.values():
        if "data_offsets" in v:
            a, b = v["data_offsets"]
            body += data[8 + n + a:8 + n + b]
            v["data_offsets"] = [at, at + b - a]
            at += b - a
    text = json.dumps(kept).encode()
    config = json.loads((TEXT / "config.json").read_text()) | {"tie_word_embeddings": tied}
    for name, new in (("model.safetensors", struct.pack("<Q", len(text)) + text + body),
                      ("config.json", json.dumps(config).encode())):
        (folder / name).unlink()
        (folder / name).write_bytes(new)
    return folder


@pytest.mark.parametrize("tied", [True, False])
def test_a_model_that_was_stored_without_its_head(start, tmp_path, tied):
    s = start(model=without_head(tmp_path / "m", tied))
    want = json.loads((TEXT / "states.json").read_text())["last"]
    (have,) = embed(s, golden_ids(TEXT))
    assert cosine(have, want) >= 1 - 1e-4 and close(have, unit(want), 1e-4)
    status, body = s.post("/v1/chat/completions", {"messages": ask("a"), "max_tokens": 1})
    assert status == (200 if tied else 400), body
    if not tied:
        assert body["error"]["code"] == "text_not_supported" and "no head" in body["error"]["message"]


ON = {"word_embedding_dimension": WIDTH, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": False,
      "pooling_mode_max_tokens": False, "pooling_mode_lasttoken": False}
THREE = ["Transformer", "Pooling", "Normalize"]


@pytest.mark.parametrize("modules,pooling,option,kind,normalised", [
    (THREE, {**ON, "pooling_mode_mean_tokens": True}, "auto", "mean", True),
    (THREE[:2], {**ON, "pooling_mode_cls_token": True}, "auto", "cls", False),
    (THREE, {"embedding_dimension": WIDTH, "pooling_mode": "lasttoken"}, "auto", "last", True),
    (THREE, {**ON, "pooling_mode_mean_tokens": True}, "cls", "cls", True),
    (None, None, "mean", "mean", True),
])
def test_as_the_checkpoint_says(start, tmp_path, modules, pooling, option, kind, normalised):
    s = start("--pooling", option, model=checkpoint(tmp_path / "m", modules, pooling))
    want = json.loads((TEXT / "states.json").read_text())[kind]
    (have,) = embed(s, golden_ids(TEXT))
    assert close(have, unit(want) if normalised else want, 2e-3) and cosine(have, want) >= 1 - 1e-4


@pytest.mark.parametrize("modules,pooling,option,said", [
    (THREE, {**ON, "pooling_mode_max_tokens": True}, "auto", "pools in another way"),
    (THREE, {**ON, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, "auto", "pools in another way"),
    (THREE, {**ON, "pooling_mode_mean_tokens": True, "include_prompt": False}, "auto", "leaves its prompt out"),
    (THREE[:2] + ["Dense"], {**ON, "pooling_mode_mean_tokens": True}, "auto", "has the module Dense"),
    (THREE, None, "auto", "has no 1_Pooling/config.json"),
    (None, None, "none", "--pooling none"),
])
def test_what_cannot_be_done_is_said(start, tmp_path, modules, pooling, option, said):
    """Chats go on: the checkpoint may be a good one for them."""
    s = start("--pooling", option, model=checkpoint(tmp_path / "m", modules, pooling))
    status, body = s.post("/v1/embeddings", {"input": "a"})
    assert status == 400 and said in body["error"]["message"] and body["error"]["code"] == "embeddings_not_supported"
    assert s.post("/v1/chat/completions", {"messages": ask("a"), "max_tokens": 1})[0] == 200


def test_a_client_that_goes_away(text):
    """What it asked for is not computed any more, and all places are free again."""
    body = json.dumps({"input": ["x" * 500] * 2000}).encode()
    with socket.create_connection(("127.0.0.1", text.port)) as c:
        c.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                  b"Content-Length: %d\r\n\r\n" % len(body) + body)
    text.wait_idle()
