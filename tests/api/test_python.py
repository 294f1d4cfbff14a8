"""The Python package on the C engine: the founding text's lines in a fresh environment, and each promise of
docs/python.md. The package is used from the checkout, with the library that was built."""

import io
import json
import os
import re
import signal
import struct
import subprocess
import sys
import threading
import time
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import BIN, MODEL, PATIENCE, ROOT, data_url, png
from hub import Hub

LIBRARY = Path(BIN).parent / "libopenautoglm.so"
if "/asan/" in BIN or "/tsan/" in BIN:
    pytest.skip("a sanitizer's library does not go into a process without it", allow_module_level=True)
cffi = pytest.importorskip("cffi", reason="tests/requirements.txt is newer than the environment")
pycparser = pytest.importorskip("pycparser")
sys.path.insert(0, str(ROOT / "python"))
os.environ["OPENAUTOGLM_LIBRARY"] = str(LIBRARY)

import openautoglm  # noqa: E402
from openautoglm import AutoGLMTokenizer, AutoGLMVisionModel, ClosedError, LoadError, RequestError  # noqa: E402

SAMPLE = MODEL / "samples" / "home-en.png"
TASK = 'Tap "Camera"'
QUESTION = "这张图展示了什么?"


@pytest.fixture(scope="module")
def tokenizer():
    with AutoGLMTokenizer.from_pretrained(MODEL) as t:
        yield t


@pytest.fixture(scope="module")
def model():
    with AutoGLMVisionModel.from_pretrained(MODEL, threads=2, max_num_seqs=4) as m:
        yield m


def served(client, task, file, **how):
    part = {"type": "image_url", "image_url": {"url": data_url(file)}}
    messages = [{"role": "user", "content": [part, {"type": "text", "text": task}]}]
    return client.chat.completions.create(model="", messages=messages, **how)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    files = {p.name: p.read_bytes() for p in MODEL.iterdir() if p.is_file() and p.suffix != ".md"}
    with Hub({"org/name": files}) as h:
        for name, value in (("HF_ENDPOINT", h.url), ("HF_HOME", str(tmp_path)), ("no_proxy", "*")):
            monkeypatch.setenv(name, value)
        yield h


# ---- a fresh environment ----

@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """An environment with numpy and cffi alone, and the package installed by pip, offline."""
    folder = tmp_path_factory.mktemp("fresh")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=PATIENCE)
    site = next(folder.glob("lib/python*/site-packages"))
    for package in (np, cffi, pycparser):
        around = Path(package.__file__).parents[1]
        for name in (package.__name__, package.__name__ + ".libs", f"_{package.__name__}_backend*"):
            for found in around.glob(name):
                (site / found.name).symlink_to(found)
    python = folder / "bin" / "python"
    r = subprocess.run([sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index",
                        "--no-build-isolation", "--disable-pip-version-check", "-q", ROOT / "python"],
                       capture_output=True, text=True, timeout=PATIENCE)
    assert r.returncode == 0, r.stdout + r.stderr
    return python


def run_fresh(python, code, cwd):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAUTOGLM_", "PYTHON"))}
    return subprocess.run([python, "-c", code], cwd=cwd, env=env, capture_output=True, text=True, timeout=PATIENCE)


def test_founding_lines_in_a_fresh_environment(fresh, tmp_path, client):
    code = next(c for c in re.findall(r"```python\n(.*?)```", (ROOT / "docs/python.md").read_text(), re.S)
                if "example.jpg" in c)
    assert QUESTION in code and 'return_tensors="pt"' in code
    Image.open(SAMPLE).convert("RGB").save(tmp_path / "example.jpg", quality=95)
    expected = served(client, QUESTION, (tmp_path / "example.jpg").read_bytes(), max_tokens=200)
    code = code.replace('return_tensors="pt"', 'return_tensors="np"')
    tell = "\nimport sys\nassert 'torch' not in sys.modules\nprint(model.info.folder, flush=True)\n"
    r = run_fresh(fresh, code + tell + "sys.stdout.buffer.write(response.encode())", tmp_path)
    assert r.returncode == 0, r.stderr
    folder, response = r.stdout.split("\n", 1)
    assert response == expected.choices[0].message.content and response.strip()
    assert str(fresh.parents[1]) in folder                   # the model came with the package


def test_pt_without_pytorch_says_so(fresh, tmp_path):
    r = run_fresh(fresh, "from openautoglm import AutoGLMTokenizer as T\n"
                  "T.from_pretrained('open-autoglm-v1')('hi', return_tensors='pt')", tmp_path)
    assert r.returncode == 1 and "ImportError: return_tensors=\"pt\" needs PyTorch" in r.stderr, r.stderr


def test_wheel_holds_the_library_and_the_model(tmp_path):
    r = subprocess.run([sys.executable, ROOT / "python" / "backend.py", tmp_path], capture_output=True, text=True,
                       timeout=PATIENCE)
    assert r.returncode == 0, r.stderr
    with zipfile.ZipFile(r.stdout.strip()) as z:
        names = set(z.namelist())
        record = z.read(next(n for n in names if n.endswith("RECORD"))).decode().splitlines()
    assert {"openautoglm/py.typed", "openautoglm/lib/libopenautoglm.so", "openautoglm/lib/openautoglm.h",
            "openautoglm/lib/models/open-autoglm-v1/model.safetensors", "openautoglm/train.py"} <= names
    assert {line.split(",")[0] for line in record} == names


def test_the_training_code_needs_none_of_it(tmp_path):
    code = ("import sys; sys.modules['cffi'] = None; import openautoglm.vocabulary, openautoglm.questions\n"
            "assert not any(m.startswith('openautoglm.engine') for m in sys.modules)")
    env = os.environ | {"PYTHONPATH": str(ROOT / "python")}
    r = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True,
                       timeout=PATIENCE)
    assert r.returncode == 0, r.stderr


@pytest.mark.parametrize("command", [["mypy"], ["ruff", "check", "."]], ids=["mypy", "ruff"])
def test_types_and_style(command):
    if subprocess.run([sys.executable, "-m", command[0], "--version"], capture_output=True).returncode != 0:
        pytest.skip(f"{command[0]} is not installed")
    r = subprocess.run([sys.executable, "-m", *command], cwd=ROOT / "python", capture_output=True, text=True,
                       timeout=PATIENCE)
    assert r.returncode == 0, r.stdout + r.stderr


# ---- inputs ----

def test_shapes_of_inputs(tokenizer):
    one = tokenizer("Hello", return_tensors="np")
    assert one.input_ids.dtype == np.int64 and one.input_ids.shape == one.attention_mask.shape
    assert len(one.input_ids) == 1 and one.input_ids.shape[1] > 1
    assert "pixel_values" not in one and one.to("cuda") is one
    both = tokenizer(["Hello", "What is the title of this?"], [None, [SAMPLE, SAMPLE]], return_tensors="np")
    assert both.input_ids.shape[0] == 2 and list(both.image_counts) == [0, 2] and len(both.pixel_values) == 2
    assert (both.input_ids[0][both.attention_mask[0] == 0] == tokenizer.pad_token_id).all()
    assert both.attention_mask[0].sum() == len(one.input_ids[0]) and both.attention_mask[1].all()
    assert both.pixel_values[0].dtype == np.uint8 and both.pixel_values[0].shape[2] == 3
    lists = tokenizer(["Hello", "What"])
    assert [len(r) for r in lists["input_ids"]] == [sum(m) for m in lists["attention_mask"]]
    with pytest.raises(AttributeError):
        _ = one.nothing


def test_images_in_every_form_are_the_same(tokenizer):
    data, image = SAMPLE.read_bytes(), Image.open(SAMPLE).convert("RGB")
    expected = tokenizer(TASK, str(SAMPLE), return_tensors="np")
    for form in (SAMPLE, data, bytearray(data), io.BytesIO(data), image, np.asarray(image), [SAMPLE]):
        inputs = tokenizer(TASK, form, return_tensors="np")
        assert (inputs.input_ids == expected.input_ids).all()
        assert (inputs.pixel_values[0] == expected.pixel_values[0]).all(), type(form)
    rgba = np.zeros((64, 96, 4), np.uint8)
    rgba[..., 0], rgba[..., 3] = 200, np.arange(96) * 2
    grey = np.asarray(image.convert("L"))
    for array, picture in ((rgba, Image.fromarray(rgba)), (grey, Image.fromarray(grey))):
        a, b = (tokenizer("x", i, return_tensors="np").pixel_values[0] for i in (array, picture))
        assert (a == b).all()


@pytest.mark.parametrize("image, kind, words", [
    (7, TypeError, "not int"), ("nowhere.png", FileNotFoundError, "nowhere.png"),
    ("https://example.com/x.png", ValueError, "images are not fetched"),
    (np.zeros((4, 4, 3), np.float32), ValueError, "not of float32 with the shape (4, 4, 3)"),
    (b"nothing", RequestError, "not a JPEG, PNG, WebP or GIF image"),
    (SAMPLE.read_bytes()[:2000], RequestError, "PNG"),
])
def test_wrong_images(tokenizer, image, kind, words):
    with pytest.raises(kind) as e:
        tokenizer("x", image)
    assert words in str(e.value)


def test_conversations(tokenizer, server):
    messages = [{"role": "user", "content": [{"type": "image", "image": SAMPLE}, {"type": "text", "text": "Hi"}]},
                {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": TASK}]
    inputs = tokenizer.apply_chat_template(messages, return_tensors="np")
    wire = json.loads(json.dumps(messages, default=str))
    wire[0]["content"][0] = {"type": "image_url", "image_url": {"url": data_url(SAMPLE.read_bytes())}}
    rendered = server.post("/v1/chat/completions/render", {"messages": wire})[1]
    assert inputs.input_ids[0].tolist() == rendered["token_ids"]
    beside = tokenizer.apply_chat_template([[{"role": "user", "content": [{"type": "image"}]}]] * 2, [SAMPLE, SAMPLE])
    assert len(beside.input_ids) == 2 and beside.image_counts == [1, 1]
    with pytest.raises(ValueError, match="not both"):
        tokenizer.apply_chat_template(messages, SAMPLE)
    with pytest.raises(RequestError, match=r"messages\[0\]\.role"):
        tokenizer.apply_chat_template([{"role": "robot", "content": "x"}])


def test_tokens_and_text(tokenizer, server):
    text = 'Tap "Camera" 点击'
    ids = tokenizer.encode(text)
    assert ids == server.post("/tokenize", {"prompt": text})[1]["tokens"]
    assert tokenizer.decode(ids) == text == tokenizer.decode(np.array(ids)) and tokenizer.decode([]) == ""
    assert tokenizer.decode([*ids, tokenizer.pad_token_id], skip_special_tokens=True) == text
    assert "<|" in tokenizer.decode([*ids, tokenizer.pad_token_id])
    assert tokenizer.batch_decode([ids, ids[:1]])[0] == text
    assert tokenizer.vocab_size > max(ids) and tokenizer.image_token_id >= 0


# ---- answers ----

def test_answers_are_the_servers(tokenizer, model, client):
    file = png(3)
    inputs = tokenizer(TASK, file, return_tensors="np")
    how = {"temperature": 1.0, "top_p": 0.9, "seed": 5, "presence_penalty": 0.5, "frequency_penalty": 0.25}
    more = {"top_k": 40, "repetition_penalty": 1.1, "min_p": 0.01}
    out = model.generate(**inputs, **how, **more, max_new_tokens=12, return_dict_in_generate=True,
                         request={"ignore_eos": True, "logprobs": True})
    r = served(client, TASK, file, **how, max_tokens=12, logprobs=True, extra_body={**more, "ignore_eos": True})
    assert out.texts[0] == r.choices[0].message.content and out.finish_reasons == ["length"]
    assert np.allclose(out.logprobs[0], [t.logprob for t in r.choices[0].logprobs.content], atol=1e-6)
    assert out.sequences.shape == (1, 12) and out.prompt_tokens == [r.usage.prompt_tokens]
    assert model.generate(**inputs, max_new_tokens=3).shape == (1, 3)
    again = model.generate(**inputs, max_new_tokens=3, include_prompt=True)
    assert (again[0, :-3] == inputs.input_ids[0]).all()


def test_stop_and_greedy(tokenizer, model):
    inputs = tokenizer(TASK, SAMPLE, return_tensors="np")
    whole = model.generate(**inputs, do_sample=False, return_dict_in_generate=True)
    assert re.match(r"do\(action=\"Tap\"", whole.texts[0]) and whole.finish_reasons == ["stop"]
    cut = model.generate(**inputs, do_sample=False, stop="action", return_dict_in_generate=True)
    assert cut.texts == ["do("] and cut.finish_reasons == ["stop"]
    held = model.generate(**inputs, request={"structured_outputs": {"choice": ["left", "right"]}},
                          return_dict_in_generate=True)
    assert held.texts[0] in ("left", "right")


def test_batches(tokenizer, model):
    texts, pictures = [TASK, "Go back", "What is the title?", TASK, "x"], [png(1), None, [png(2), png(3)], png(4), None]
    inputs = tokenizer(texts, pictures, return_tensors="np")
    together = model.generate(**inputs, max_new_tokens=8, temperature=1, seed=3, return_dict_in_generate=True)
    assert together.sequences.shape[0] == 5
    for i, (text, picture) in enumerate(zip(texts, pictures)):
        alone = model.generate(**tokenizer(text, picture, return_tensors="np"), max_new_tokens=8, temperature=1,
                               seed=3 + i, return_dict_in_generate=True)
        assert alone.texts[0] == together.texts[i]
        n = alone.sequences.shape[1]
        assert (together.sequences[i, :n] == alone.sequences[0]).all()
        assert (together.sequences[i, n:] == tokenizer.pad_token_id).all()
    lists = tokenizer(texts, pictures)
    assert (model.generate(**lists, max_new_tokens=8, temperature=1, seed=3) == together.sequences).all()


def test_a_batch_larger_than_the_queue(tokenizer):
    with AutoGLMVisionModel.from_pretrained(MODEL, threads=1, max_num_seqs=1, max_queue=1) as m:
        inputs = tokenizer([f"Question {i}" for i in range(9)], return_tensors="np")
        together = m.generate(**inputs, max_new_tokens=3)
        assert (together[:2] == m.generate(**tokenizer(["Question 0", "Question 1"]), max_new_tokens=3)).all()
        assert m.device == "cpu" and len(together) == 9


def test_what_is_broken_off_is_freed(tokenizer, model):
    """Every answer has a descriptor, which the last of its two users closes: the engine, soon, or this process."""
    def break_off(text):
        raise KeyError(text)

    def descriptors():
        return len(os.listdir("/proc/self/fd"))
    inputs, before = tokenizer(["Hello", "Go back"], return_tensors="np"), descriptors()
    for _ in range(3):
        with pytest.raises(KeyError):
            model.generate(**inputs, streamer=[break_off, print], request={"ignore_eos": True})
    end = time.monotonic() + PATIENCE / 4
    while descriptors() > before:
        assert time.monotonic() < end, "answers are left"
        time.sleep(0.01)


class Tensor:
    """As much of a tensor of PyTorch as the package asks of one, so that its way is tested where there is none."""

    __module__ = "torch"

    def __init__(self, array):
        self.array = array

    def detach(self):
        return self

    def cpu(self):
        return self

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.array, dtype)

    def __iter__(self):
        return (Tensor(a) for a in self.array)

    def __len__(self):
        return len(self.array)


def test_tensors_go_in_and_come_out(tokenizer, model, monkeypatch):
    torch = types.ModuleType("torch")
    torch.from_numpy = Tensor
    monkeypatch.setitem(sys.modules, "torch", torch)
    inputs = tokenizer([TASK, "Hello"], [SAMPLE, None], return_tensors="pt")
    assert all(type(v) is Tensor for v in (inputs.input_ids, inputs.attention_mask, *inputs.pixel_values))
    out = model.generate(**inputs, do_sample=False, max_new_tokens=5)
    plain = tokenizer([TASK, "Hello"], [SAMPLE, None], return_tensors="np")
    assert type(out) is Tensor and (out.array == model.generate(**plain, do_sample=False, max_new_tokens=5)).all()
    assert tokenizer.batch_decode(out) == tokenizer.batch_decode(out.array)
    assert (model(**inputs).logits == model(**plain).logits).all()
    assert len(model.get_image_features(**inputs)) == 1


class Streamer:
    def __init__(self):
        self.tokens, self.ended = [], False

    def put(self, value):
        self.tokens += value.tolist()

    def end(self):
        self.ended = True


def test_streamers(tokenizer, model):
    inputs = tokenizer(TASK, SAMPLE, return_tensors="np")
    pieces, s = [], Streamer()
    out = model.generate(**inputs, do_sample=False, streamer=pieces.append, return_dict_in_generate=True)
    assert "".join(pieces) == out.texts[0]
    ids = model.generate(**inputs, do_sample=False, streamer=s)
    assert s.tokens == ids[0].tolist() and s.ended
    two = tokenizer([TASK, TASK], [SAMPLE, SAMPLE], return_tensors="np")
    parts = [[], []]
    model.generate(**two, do_sample=False, streamer=[parts[0].append, parts[1].append])
    assert "".join(parts[0]) == "".join(parts[1]) == out.texts[0]
    with pytest.raises(ValueError, match="list of 2 streamers"):
        model.generate(**two, streamer=pieces.append)

    # A thread that wakes late gets what has gathered as one piece, so only a long text is sure to come in several.
    pieces.clear()
    model.generate(**inputs, do_sample=False, streamer=pieces.append, max_new_tokens=300, request={"min_tokens": 300})
    assert len(pieces) > 1

    def break_off(text):
        raise KeyError("enough")
    with pytest.raises(KeyError, match="enough"):
        model.generate(**inputs, streamer=break_off, request={"ignore_eos": True})
    assert (model.generate(**inputs, do_sample=False) == ids).all()


@pytest.mark.parametrize("how, words", [
    ({"temperature": 9}, "temperature must be"), ({"top_p": 0}, "top_p must be greater than 0"),
    ({"max_new_tokens": 0}, "max_tokens must be"), ({"stop": ""}, "stop must not hold an empty string"),
    ({"request": {"n": 2}}, "n must be 1"), ({"request": {"response_format": {"type": "x"}}}, "response_format"),
    ({"image_counts": [1, 1]}, "image_counts must say"), ({"pixel_values": []}, "places for more images"),
    ({"pixel_values": [np.zeros((8, 8))]}, "must be an array of uint8"),
    ({"attention_mask": [[1]]}, "attention_mask must have the shape"), ({"input_ids": [[1.5]]}, "must be token ids"),
    ({"input_ids": np.ones((1, 100000), np.int64), "attention_mask": None, "pixel_values": None}, "100000 tokens"),
])
def test_wrong_requests(tokenizer, model, how, words):
    inputs = tokenizer(TASK, SAMPLE, return_tensors="np")
    del inputs["image_counts"]
    with pytest.raises(ValueError) as e:
        model.generate(**(inputs | how))
    assert words in str(e.value)
    if isinstance(e.value, RequestError):
        assert e.value.status == 400 and isinstance(e.value, openautoglm.OpenAutoGLMError)


@pytest.mark.parametrize("name, options, words", [
    ("nowhere", {}, "nowhere"), (MODEL, {"threads": -1}, "option threads (options): must be from 0 to 1024"),
    (MODEL, {"torch_dtype": "auto"}, "there is no such option"), (MODEL, {"memory_bytes": 10 ** 6}, "MiB"),
])
def test_models_that_cannot_be_opened(name, options, words):
    with pytest.raises(LoadError) as e:
        AutoGLMVisionModel.from_pretrained(name, **options)
    assert words in str(e.value) and isinstance(e.value, OSError)


def test_models_by_name(hub, tokenizer):
    """Fetched from the hub once, by the tokenizer, and then found in the cache by the model."""
    with AutoGLMTokenizer.from_pretrained("org/name") as t, AutoGLMVisionModel.from_pretrained("org/name") as m:
        assert hub.gets("model.safetensors") and "models--org--name/snapshots" in m.info.folder == t.info.folder
        asked = len(hub.gets())
        assert t.encode(TASK) == tokenizer.encode(TASK)
        assert m.generate(**t("Hello", return_tensors="np"), max_new_tokens=1).shape == (1, 1)
        assert len(hub.gets()) == asked
    with pytest.raises(LoadError, match="org/other"):
        AutoGLMTokenizer.from_pretrained("org/other")


# ---- what the model computes ----

def golden(case):
    """The arrays of a golden case (python/golden.py): safetensors, read by hand."""
    data = (ROOT / "tests" / "model" / case / "golden.safetensors").read_bytes()
    n = struct.unpack("<Q", data[:8])[0]
    types = {"F32": np.float32, "I32": np.int32, "I64": np.int64, "U8": np.uint8}
    out = {}
    for name, t in json.loads(data[8:8 + n]).items():
        if name != "__metadata__" and t["dtype"] in types:
            a, b = t["data_offsets"]
            out[name] = np.frombuffer(data[8 + n + a:8 + n + b], types[t["dtype"]]).reshape(t["shape"])
    return out


@pytest.mark.parametrize("case", ["qwen2_5_vl/tied", "glm4v/tied"])
def test_logits_and_features_are_the_references(case):
    g = golden(case)
    folder = ROOT / "tests" / "model" / case
    pixels = [g["image.0"], g["image.1"]]
    with AutoGLMVisionModel.from_pretrained(folder, threads=2, kv_cache_dtype="f32") as m:
        logits = m(g["ids"].reshape(1, -1).astype(np.int64), pixel_values=pixels).logits
        assert logits.shape == (1, g["ids"].size, m.info.vocabulary) and logits.dtype == np.float32
        assert np.abs(logits[0, -len(g["logits"]):] - g["logits"]).max() < 2e-3
        features = m.get_image_features(pixels)
        assert len(features) == len(pixels)
        for i, f in enumerate(features):
            want = g[f"image_tokens.{i}"].reshape(len(f), -1)[:, :m.info.width]
            assert f.shape == want.shape and np.abs(f - want).max() < 2e-3


@pytest.mark.parametrize("case", ["mllama/tiles", "idefics/resampler"])
def test_logits_where_images_are_looked_at_through_cross_attention(case):
    g = golden(case)
    pixels = [g["image.0"], g["image.1"]]
    with AutoGLMVisionModel.from_pretrained(ROOT / "tests" / "model" / case, threads=2, kv_cache_dtype="f32") as m:
        logits = m(g["ids"].reshape(1, -1).astype(np.int64), pixel_values=pixels).logits
        assert np.abs(logits[0, -len(g["logits"]):] - g["logits"]).max() < 2e-3
        with pytest.raises(ValueError, match="cross-attention"):
            m.get_image_features(pixels)


def test_a_picture_of_several_views_goes_through_as_it_is():
    """Tiles and a small picture of all are no picture that could be resized again to the same tiles."""
    g, folder = golden("smolvlm/published"), ROOT / "tests" / "model" / "smolvlm" / "published"
    messages, pictures = json.loads((folder / "golden.json").read_text())["messages"], [g["image.0"], g["image.1"]]
    with AutoGLMTokenizer.from_pretrained(folder) as t:
        inputs = t.apply_chat_template(messages, pictures, return_tensors="np")
    assert inputs.input_ids[0].tolist() == g["ids"].tolist()
    assert all((a == b).all() for a, b in zip(inputs.pixel_values, pictures, strict=True))
    with AutoGLMVisionModel.from_pretrained(folder, threads=2, kv_cache_dtype="f32") as m:
        answer = m.generate(**inputs, temperature=0, max_new_tokens=24, request={"ignore_eos": True})
    assert answer.tolist() == [g["greedy"].tolist()]


def test_logits_of_a_batch(tokenizer, model):
    inputs = tokenizer(["Hello", TASK], [None, SAMPLE], return_tensors="np")
    logits = model(**inputs).logits
    assert logits.shape == (*inputs.input_ids.shape, model.info.vocabulary)
    before = int(inputs.attention_mask[0].argmax())
    assert before > 0 and not logits[0, :before].any() and logits[0, before:].any(axis=1).all()
    alone = model(**tokenizer("Hello", return_tensors="np")).logits
    assert (logits[0, before:] == alone[0]).all()
    first = model.generate(**inputs, do_sample=False, max_new_tokens=1)
    assert (logits[:, -1].argmax(axis=1) == first[:, 0]).all()


# ---- threads, interrupts, closing ----

def test_threads(tokenizer, model):
    expected = [model.generate(**tokenizer(TASK, png(i), return_tensors="np"), do_sample=False) for i in range(4)]
    wrong = []

    def work(i):
        for _ in range(3):
            got = model.generate(**tokenizer(TASK, png(i), return_tensors="np"), do_sample=False)
            if not np.array_equal(got, expected[i]):
                wrong.append(i)
    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(PATIENCE)
    assert not wrong and not any(t.is_alive() for t in threads)


def test_closing_ends_what_runs(tokenizer):
    m = AutoGLMVisionModel.from_pretrained(MODEL, threads=1)
    inputs, begun, raised = tokenizer("Hello", return_tensors="np"), threading.Event(), []

    def work():
        try:
            m.generate(**inputs, streamer=lambda _: begun.set(), request={"ignore_eos": True})
        except ClosedError as e:
            raised.append(e)
    t = threading.Thread(target=work)
    t.start()
    assert begun.wait(PATIENCE)
    m.close()
    m.close()
    t.join(PATIENCE)
    assert len(raised) == 1 and raised[0].status == 503
    with pytest.raises(ClosedError, match="the model was closed"):
        m.generate(**inputs)
    with pytest.raises(ClosedError):
        m(**inputs)


INTERRUPTED = """
import signal, sys, time
from openautoglm import AutoGLMTokenizer, AutoGLMVisionModel
signal.signal(signal.SIGINT, signal.default_int_handler)    # a shell has it ignored for what runs in the background
t, m = (c.from_pretrained(sys.argv[1]) for c in (AutoGLMTokenizer, AutoGLMVisionModel))
inputs = t("Hello", return_tensors="np")
def say(text):
    print("begun", flush=True)
    time.sleep(60)          # the answer may be complete before the signal comes; this call is not
try:
    m.generate(**inputs, streamer=say, request={"ignore_eos": True, "logit_bias": {str(t.pad_token_id): -100}})
except KeyboardInterrupt:
    print("interrupted", m.generate(**inputs, max_new_tokens=1).shape)
"""


def test_keyboard_interrupt():
    env = os.environ | {"PYTHONPATH": str(ROOT / "python")}
    p = subprocess.Popen([sys.executable, "-c", INTERRUPTED, str(MODEL)], env=env, stdout=subprocess.PIPE, text=True)
    assert p.stdout.readline() == "begun\n"
    p.send_signal(signal.SIGINT)
    out = p.communicate(timeout=PATIENCE)[0]
    assert p.returncode == 0 and out.splitlines()[-1] == "interrupted (1, 1)"


OPENED_AGAIN = """
import gc, os, sys
from pathlib import Path
from openautoglm import AutoGLMTokenizer, AutoGLMVisionModel
inputs = AutoGLMTokenizer.from_pretrained(sys.argv[1])("Hello", return_tensors="np")
for i in range(12):
    m = AutoGLMVisionModel.from_pretrained(sys.argv[1], threads=1)
    m.generate(**inputs, max_new_tokens=2)
    if i % 2:
        m.close()
    del m                                        # what is not closed goes with its last reference
    gc.collect()
    print(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE"))
"""


def test_closing_frees():
    """An open model holds about 25 MB. The process is one of its own: what other tests leave behind comes and goes."""
    env = os.environ | {"PYTHONPATH": str(ROOT / "python")}
    out = subprocess.run([sys.executable, "-c", OPENED_AGAIN, str(MODEL)], env=env, check=True, capture_output=True,
                         text=True, timeout=PATIENCE).stdout
    sizes = [int(line) for line in out.split()]
    assert min(sizes[-3:]) - min(sizes[:3]) < 8 << 20, sizes
