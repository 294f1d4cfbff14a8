"""Texts and pictures in one space: CLIP, SigLIP and SigLIP 2 through the API, against transformers' numbers
(python/vectors.py)."""

import io
import json
import math
import shutil
import struct
import subprocess

import numpy as np
import pytest
from PIL import Image

from conftest import BIN, PATIENCE, ROOT, Server, ask, data_url

FOLDERS = sorted(p.parent for p in (ROOT / "tests" / "model").glob("*/*/vectors.json"))
CLIP, SIGLIP = ROOT / "tests/model/clip/published", ROOT / "tests/model/siglip/uneven"
MOBILE = ROOT / "tests/model/mobilenet_v2/same"


def tensors(folder):
    data = (folder / "vectors.safetensors").read_bytes()
    n = struct.unpack("<Q", data[:8])[0]
    kinds = {"F32": np.float32, "I32": np.int32, "U8": np.uint8}
    return {name: np.frombuffer(data[8 + n + t["data_offsets"][0]:8 + n + t["data_offsets"][1]],
                                kinds[t["dtype"]]).reshape(t["shape"])
            for name, t in json.loads(data[8:8 + n]).items() if name != "__metadata__"}


def picture(pixels):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return data_url(out.getvalue())


def told(folder):
    return json.loads((folder / "vectors.json").read_text())


@pytest.fixture(scope="module", params=[CLIP, SIGLIP], ids=["clip", "siglip"])
def server(request):
    s = Server("--max-batched-tokens", "20", model=request.param)     # they end within a text of SigLIP
    s.folder, s.golden = request.param, tensors(request.param)
    yield s
    assert s.stop() == 0, "".join(s.lines[-50:])


def embed(server, given, **more):
    status, body = server.post("/v1/embeddings", {"input": given, **more})
    assert status == 200, body
    return [d["embedding"] for d in body["data"]]


def close(have, want, tolerance=1e-5):
    length = math.sqrt(sum(float(x) ** 2 for x in want))
    assert len(have) == len(want) and all(abs(a - float(b) / length) < tolerance for a, b in zip(have, want))


def drawn(w, h):
    """As python/golden.py draws it."""
    g = np.random.default_rng(w * 10000 + h)
    y, x = np.mgrid[0:h, 0:w]
    base = np.stack([x * 255 / w, y * 255 / h, (x + y) * 255 / (w + h)], -1)
    return np.clip(base + g.normal(0, 40, (h, w, 3)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: f"{f.parent.name}-{f.name}")
def test_pixels(folder, tmp_path):
    for row in told(folder)["preprocessing"]:
        Image.fromarray(drawn(*row["size"])).save(tmp_path / "a.png")
        run = subprocess.run([BIN, "preprocess", "--model", folder, "--image", tmp_path / "a.png"],
                             capture_output=True, text=True, check=True)
        assert json.loads(run.stdout)["sha256"] == row["sha256"], row["size"]


def test_texts(server):
    """All in one request, which is computed many at a time; then one by one, to the same bits."""
    texts = [t for t in told(server.folder)["texts"] if t]
    all_texts = told(server.folder)["texts"]
    together = embed(server, texts * 40)
    for t, v in zip(texts, together):
        close(v, server.golden[f"text.{all_texts.index(t)}"])
    assert together == together[:len(texts)] * 40
    assert [embed(server, t)[0] for t in texts] == together[:len(texts)]


def test_pictures(server):
    urls = [picture(server.golden[f"image.{i}"]) for i in range(3)]
    for i, v in enumerate(embed(server, [{"image": u} for u in urls])):
        close(v, server.golden[f"vector.{i}"])
    (one,) = embed(server, {"content": [{"type": "image_url", "image_url": {"url": urls[0]}}]})
    status, body = server.post("/v1/embeddings", {"messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": urls[0]}}]}]})
    assert status == 200 and body["data"][0]["embedding"] == one
    assert body["usage"]["prompt_tokens"] == 1
    mixed = embed(server, ["a red button", {"image": urls[1]}, {"content": [{"type": "text", "text": "a red button"}]}])
    assert mixed[0] == mixed[2] and mixed[1] == embed(server, {"image": urls[1]})[0]


def test_forms(server):
    """base64, fewer dimensions, and the length that the model gave."""
    raw = embed(server, "a red button", normalize=False)[0]
    assert all(abs(a - float(b)) < 1e-5 for a, b in zip(raw, server.golden["text.0"]))
    (cut,) = embed(server, "a red button", dimensions=5)
    close(cut, server.golden["text.0"][:5])
    answer = server.client().embeddings.create(model="", input=["a red button"])
    close(answer.data[0].embedding, server.golden["text.0"])


@pytest.mark.parametrize("content", [
    [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": ""}}],
    [{"type": "image_url", "image_url": {"url": ""}}, {"type": "image_url", "image_url": {"url": ""}}],
])
def test_several_things(server, content):
    url = picture(server.golden["image.1"])
    parts = [{**p, "image_url": {"url": url}} if "image_url" in p else p for p in content]
    status, body = server.post("/v1/embeddings", {"input": {"content": parts}})
    assert status == 400 and "one image" in body["error"]["message"], body


def test_no_texts_are_made(server):
    """Every route that would answer with a text says why it does not, whatever else is wrong."""
    for path, body in (("/v1/chat/completions", {"messages": ask("a")}), ("/v1/completions", {"prompt": "a"}),
                       ("/v1/responses", {"input": "a"}), ("/v1/messages", {"messages": ask("a"), "max_tokens": 4})):
        status, answer = server.post(path, body)
        assert status == 400, (path, answer)
        assert "makes no texts" in answer["error"]["message"] and "/v1/embeddings" in answer["error"]["message"]
    assert json.loads(server.get("/get_model_info")[2])["is_generation"] is False


def test_scores(server):
    """A picture and texts, by the cosine of their vectors."""
    url, texts = picture(server.golden["image.0"]), ["a red button", "x"]
    (image,) = embed(server, {"image": url})
    want = [sum(a * b for a, b in zip(image, v)) for v in embed(server, texts)]
    status, body = server.post("/v1/score", {"data_1": {"image": url}, "data_2": texts})
    assert status == 200, body
    assert all(abs(d["score"] - w) < 1e-6 for d, w in zip(body["data"], want, strict=True))


def probabilities(folder, picture, texts):
    """Of some of the texts, from the reference's logits."""
    t = told(folder)
    logits = np.array([t["logits"][picture][t["texts"].index(x)] for x in texts])
    if "siglip" in str(folder):
        return 1 / (1 + np.exp(-logits))
    e = np.exp(logits - logits.max())
    return e / e.sum()


def test_labels(server):
    """Classes that the request brings; the same on the terminal."""
    labels = ["a red button", "x", "设置 Ça va, CAFÉ crème!"]
    urls = [{"image": picture(server.golden[f"image.{i}"])} for i in range(3)]
    for path in ("/classify", "/v1/classify"):
        status, body = server.post(path, {"input": urls, "labels": labels})
        assert status == 200, body
        for i, d in enumerate(body["data"]):
            want = probabilities(server.folder, i, labels)
            assert d["index"] == i and d["num_classes"] == 3 and d["label"] == labels[int(want.argmax())]
            assert np.abs(np.array(d["probs"]) - want).max() < 1e-4
    _, raw = server.post("/classify", {"input": urls[0], "labels": labels, "use_activation": False})
    want = [told(server.folder)["logits"][0][told(server.folder)["texts"].index(x)] for x in labels]
    assert np.abs(np.array(raw["data"][0]["probs"]) - want).max() < 1e-3
    status, body = server.post("/classify", {"input": urls[0]})
    assert status == 400 and body["error"]["param"] == "labels"


def run_classify(folder, *options):
    run = subprocess.run([BIN, "classify", "--model", folder, *options], capture_output=True, text=True)
    return run.returncode, run.stdout, run.stderr


def test_on_the_terminal(tmp_path):
    golden = tensors(CLIP)
    Image.fromarray(golden["image.0"]).save(tmp_path / "a.png")
    want = probabilities(CLIP, 0, ["x", "a red button"])
    rc, out, err = run_classify(CLIP, "--labels", "x,a red button", "--image", tmp_path / "a.png", "--json")
    assert rc == 0, err
    (one,) = json.loads(out)
    assert one["label"] == "x" and [p["label"] for p in one["probs"]] == ["x", "a red button"]
    assert np.abs(np.array([p["prob"] for p in one["probs"]]) - want).max() < 1e-4
    rc, out, _ = run_classify(CLIP, "--labels", "red", "--labels", "x", "--template", "a {} button", "--image",
                              tmp_path / "a.png", "--top", "1")
    assert rc == 0 and len(out.splitlines()) == 2
    for options, said in ((["--image", tmp_path / "a.png"], "--labels"), (["--labels", "a"], "--image"),
                          (["--labels", "a", "--template", "no", "--image", tmp_path / "a.png"], "{}"),
                          (["--labels", "a", "--image", "/none.png"], "/none.png")):
        rc, _, err = run_classify(CLIP, *options)
        assert rc != 0 and err.count("\n") == 1 and said in err, err


def test_classes_of_the_model(start, tmp_path):
    """MobileNetV2: logits by the names of id2label, features as embeddings, and no texts at all."""
    s, golden = start(model=MOBILE), tensors(MOBILE)
    urls = [{"image": picture(golden[f"image.{i}"])} for i in range(3)]
    status, body = s.post("/classify", {"input": urls})
    assert status == 200, body
    for d, want in zip(body["data"], told(MOBILE)["probabilities"], strict=True):
        assert np.abs(np.array(d["probs"]) - want).max() < 1e-4
        assert d["label"] == ["background", "tench, Tinca", "çà"][int(np.argmax(want))]
    for i, v in enumerate(embed(s, urls)):
        close(v, golden[f"vector.{i}"], 1e-4)
    for body, said in (({"input": "a"}, "reads no texts"), ({"input": urls[0], "labels": ["a"]}, "classes of its own")):
        status, answer = s.post("/classify", body)
        assert status == 400 and said in answer["error"]["message"], answer
    assert s.post("/tokenize", {"prompt": "a"})[0] in (200, 400)
    Image.fromarray(golden["image.1"]).save(tmp_path / "a.png")
    rc, out, err = run_classify(MOBILE, "--image", tmp_path / "a.png")
    assert rc == 0 and "tench, Tinca" in out, err


def rewritten(folder, case, change):
    """A copy of a checkpoint whose tensors went through change(name, shape, bytes)."""
    shutil.copytree(ROOT / "tests/model" / case, folder)
    data = (folder / "model.safetensors").read_bytes()
    n = struct.unpack("<Q", data[:8])[0]
    header, body = json.loads(data[8:8 + n]), b""
    for name, t in header.items():
        if name != "__metadata__":
            a, b = t["data_offsets"]
            t["shape"], part = change(name, t["shape"], data[8 + n + a:8 + n + b])
            t["data_offsets"] = [len(body), len(body) + len(part)]
            body += part
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + body)
    return folder


def test_a_shape_with_more_weights_than_the_largest_picture(tmp_path):
    """A small grid on a large table of positions reads more of them than a row with as many patches."""
    def widened(name, shape, part):
        table = name == "vision_model.embeddings.position_embedding.weight"
        return ([64 * 64, shape[1]], part[:len(part) // shape[0]] * (64 * 64)) if table else (shape, part)

    folder = rewritten(tmp_path / "m", "siglip2/naflex", widened)
    for name, section, field, to in (("config.json", "vision_config", "num_patches", 64 * 64),
                                     ("preprocessor_config.json", None, "max_num_patches", 64)):
        config = json.loads((folder / name).read_text())
        (config[section] if section else config)[field] = to
        (folder / name).write_text(json.dumps(config))
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    rc, out, err = run_classify(folder, "--labels", "a,b", "--image", tmp_path / "a.png")
    assert rc == 0 and "%" in out, err


@pytest.mark.parametrize("case, options, bad, said", [
    ("clip/old", ["--labels", "a,b"], "visual_projection", "gave a vector without numbers"),
    ("clip/old", ["--labels", "a,b"], "logit_scale", "tensor logit_scale: nan is not in"),
    ("siglip/uneven", ["--labels", "a,b"], "logit_bias", "tensor logit_bias: nan is not in"),
    ("mobilenet_v2/same", [], "classifier", "gave a vector without numbers"),
])
def test_weights_that_are_no_numbers(case, options, bad, said, tmp_path):
    """What follows from them is an error, and no probability."""
    nan = struct.pack("<H", 0x7fc0)                 # in bfloat16
    folder = rewritten(tmp_path / "m", case, lambda name, shape, part:
                       (shape, nan * (len(part) // 2) if bad in name else part))
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    rc, out, err = run_classify(folder, *options, "--image", tmp_path / "a.png")
    assert rc != 0 and said in err and "%" not in out, (out, err)


@pytest.mark.parametrize("case, bad", [("glm4v/grouped", "lm_head"), ("qwen3_vl/deepstack", "norm.weight"),
                                       ("llama/yarn", "model.norm.weight")])
def test_logits_that_are_no_numbers(case, bad, tmp_path):
    """An error, and no answer of token 0."""
    nan = struct.pack("<H", 0x7fc0)
    folder = rewritten(tmp_path / "m", case, lambda name, shape, part:
                       (shape, nan * (len(part) // 2) if bad in name else part))
    done = subprocess.run([BIN, "chat", "--model", folder, "--max-tokens", "2", "--log-level", "error", "--", "hello"],
                          capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode != 0 and "gave logits without numbers" in done.stderr, (done.stdout, done.stderr)


DAMAGED = [
    ("mobilenet_v2", {"output_stride": 8}, "output_stride"), ("mobilenet_v2", {"depth_multiplier": 1}, "shape"),
    ("mobilenet_v2", {"id2label": {"0": 5}}, "id2label"),
    ("clip", {"vision_config.patch_size": 9}, "patch_embedding"),
    ("clip", {"vision_config.image_size": 0}, "image_size"),
    ("clip", {"text_config.num_attention_heads": 5}, "num_attention_heads"),
    ("clip", {"text_config.max_position_embeddings": 17}, "position_embedding"),
    ("clip", {"projection_dim": 31}, "text_projection"), ("clip", {"text_config.hidden_act": "mish"}, "hidden_act"),
    ("siglip", {"vision_config.vision_use_head": False}, "vision_use_head"),
    ("siglip", {"text_config.projection_size": 31}, "projection_size"),
    ("siglip2", {"vision_config.num_patches": 17}, "num_patches"),
    ("siglip2", {"vision_config.num_channels": 4}, "num_channels"),
]
SETTINGS = [
    ("mobilenet_v2", {"do_center_crop": False}, "do_center_crop"),
    ("clip", {"crop_size": {"height": 28, "width": 27}}, "crop_size"), ("clip", {"do_resize": False}, "do_resize"),
    ("clip", {"do_center_crop": False}, "do_center_crop"), ("clip", {"size": {"shortest_edge": 0}}, "shortest_edge"),
    ("siglip", {"size": {"height": 24, "width": 32}}, "size"), ("siglip2", {"patch_size": 7}, "patch_size"),
    ("siglip2", {"max_num_patches": 0}, "max_num_patches"),
]


@pytest.mark.parametrize("family, changes, named, file", [(*c, "config.json") for c in DAMAGED] +
                         [(*c, "preprocessor_config.json") for c in SETTINGS])
def test_damaged(family, changes, named, file, tmp_path):
    """One line, which names the field or the tensor that does not fit."""
    for f in (ROOT / "tests/model" / family / "published").iterdir():
        (tmp_path / f.name).symlink_to(f)
    config = json.loads((tmp_path / file).read_text())
    for name, v in changes.items():
        section, _, field = name.rpartition(".")
        (config[section] if section else config)[field or name] = v
    (tmp_path / file).unlink()
    (tmp_path / file).write_text(json.dumps(config))
    run = subprocess.run([BIN, "plan", "--model", tmp_path], capture_output=True, text=True)
    assert run.returncode != 0 and run.stderr.count("\n") == 1 and named in run.stderr, run.stderr
