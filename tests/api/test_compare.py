"""openautoglm compare: what is lost between two precisions of a model, against figures that NumPy computes."""

import json
import os
import subprocess

import numpy as np
import pytest

from conftest import BIN, MODEL, PATIENCE, ROOT, ask, image_part

LLAMA = ROOT / "tests" / "model" / "llama" / "published"
TEXTS = ["The quick brown fox jumps over the lazy dog.", "Zwölf Boxkämpfer jagen Viktor quer über den Sylter Deich.",
         "x"]


def compare(*args, model=LLAMA):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENAUTOGLM_")}
    return subprocess.run([BIN, "compare", "--model", model, *map(str, args)], cwd=ROOT, env=environment,
                          capture_output=True, text=True, timeout=PATIENCE)


def figures(*args, **kw):
    r = compare("--json", *args, **kw)
    assert r.returncode == 0, r.stderr
    return json.loads(r.stdout)


@pytest.fixture
def data(tmp_path):
    """A file with these values, one a line."""
    def write(*lines):
        path = tmp_path / "data.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path
    return write


def token_ids(text):
    r = subprocess.run([BIN, "tokenize", "--model", LLAMA, "--special"], input=json.dumps(text) + "\n", text=True,
                       capture_output=True, check=True)
    return json.loads(r.stdout)


def test_a_model_and_itself(data):
    lines = [{"text": t} for t in TEXTS] + [{"messages": [{"role": "user", "content": "Hello"}]}]
    f = figures("--data", data(*lines), "--generate", 8)
    assert (f["kl_mean"], f["kl_999"], f["kl_max"], f["top1_agreement"]) == (0, 0, 0, 1)
    assert f["perplexity"][0] == f["perplexity"][1] > 1
    assert f["lines"] == 4 and f["answers"] == {"answers": 4, "equal": 4, "share": 1}


def test_the_figures_are_those_of_the_logits(data, tmp_path):
    """Everything once more from the logits that both models gave, in the plainest way."""
    out = tmp_path / "logits.npy"
    f = figures("--data", data(*({"text": t} for t in TEXTS)), "--weights", "f32", "--against-weights", "int4",
                "--logits", out)
    logits = np.load(out).astype(np.float64)
    ids = [token_ids(t) for t in TEXTS]
    assert logits.shape == (sum(map(len, ids)), 2, 576) and f["positions"] == len(logits)
    logp = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    a, b = logp[:, 0], logp[:, 1]
    kl = (np.exp(a) * (a - b)).sum(-1)
    assert kl.mean() > 1e-3
    assert f["kl_mean"] == pytest.approx(kl.mean(), rel=1e-5)
    assert f["kl_999"] == pytest.approx(np.quantile(kl, 0.999), rel=1e-5)
    assert f["kl_max"] == pytest.approx(kl.max(), rel=1e-5)
    assert f["top1_agreement"] == pytest.approx((a.argmax(-1) == b.argmax(-1)).mean())
    rows, following, start = [], [], 0
    for one in ids:
        rows += range(start, start + len(one) - 1)
        following += one[1:]
        start += len(one)
    for i in range(2):
        assert f["perplexity"][i] == pytest.approx(np.exp(-logp[rows, i, following].mean()), rel=1e-6)
    assert f["against"]["bits_per_weight"] < f["model"]["bits_per_weight"] / 2


def test_screens_and_taps(data):
    """The shipped model's chats with images; a chat that ends with an answer is compared and not continued."""
    asked = {"messages": ask("Tap the button", 1)}
    answered = {"messages": [*ask("Tap the button", 2),
                             {"role": "assistant", "content": 'do(action="Tap", element=[500,300])'}]}
    f = figures("--data", data(asked, answered), "--against-weights", "bf16", "--generate", 40, model=MODEL)
    assert f["lines"] == 2 and f["answers"]["answers"] == 1
    assert 0 <= f["kl_mean"] < 0.1 and f["top1_agreement"] > 0.9
    places = figures("--data", data({"messages": [{"role": "user", "content": [image_part(1)]}]}), model=MODEL)
    assert places["positions"] < f["positions"]


def chat(*texts):
    return {"messages": [{"role": r, "content": t} for r, t in zip(["user", "assistant"] * 2, texts)]}


def test_answers_alone(data, tmp_path):
    """Only what the assistant wrote counts, with the token that ends it: as many logits, and those of these tokens."""
    out, every = tmp_path / "answers.npy", tmp_path / "every.npy"
    args = ("--weights", "f32", "--against-weights", "int4", "--data")
    asked, said, more, again = "How are you?", "Quite well, thanks.", "And now?", "Better."
    both = data(chat(asked, said, more, again))
    f = figures(*args, both, "--answers", "--logits", out)
    whole = figures(*args, both, "--logits", every)
    assert 4 < f["positions"] < whole["positions"] - 4
    counted, rows = np.load(out), np.load(every)
    at = [next(i for i, row in enumerate(rows) if (row == one).all()) for one in counted]
    assert at == sorted(set(at)) and len(np.flatnonzero(np.diff(at) > 1)) == 1         # two answers
    first = figures(*args, data(chat(asked, said)), "--answers")["positions"]
    assert np.flatnonzero(np.diff(at) > 1)[0] + 1 == first
    longer = figures(*args, data(chat(asked, said + " x")), "--answers")["positions"]
    assert longer > first
    assert figures(*args, data(chat(asked + " x", said)), "--answers")["positions"] == first


def test_answers_of_the_shipped_model(data):
    answered = {"messages": [*ask("Tap the button", 2),
                             {"role": "assistant", "content": 'do(action="Tap", element=[500,300])'}]}
    f = figures("--data", data(answered), "--against-weights", "int8", "--answers", model=MODEL)
    assert f["positions"] == 5           # four tokens and the end


@pytest.mark.parametrize("line, message", [
    ({"text": "Hello"}, "a text has no answers"), (chat("Hello"), "the assistant has written nothing")])
def test_lines_without_answers(data, line, message):
    r = compare("--data", data(line), "--answers")
    assert r.returncode == 1 and message in r.stderr and "line 1" in r.stderr, r.stderr


def test_text_for_people(data):
    r = compare("--data", data({"text": "Hello there"}), "--against-weights", "int8")
    assert r.returncode == 0 and "KL divergence" in r.stdout and "weights int8" in r.stdout
    assert compare("--help").stdout.startswith("usage: openautoglm compare")


def test_types_of_the_cache(data):
    """float16 loses something and int8 more, on whichever side; the same type on both sides loses nothing."""
    def lost(*args):
        r = compare("--json", "--data", data({"text": "Hello there, what is on the screen?"}), *args)
        return json.loads(r.stdout)["kl_mean"]

    half = lost("--against-kv-cache-dtype", "f16")
    assert 0 < half < lost("--against-kv-cache-dtype", "int8") and lost("--kv-cache-dtype", "f16") > 0
    assert lost("--kv-cache-dtype", "f16", "--against-kv-cache-dtype", "f16") == 0


@pytest.mark.parametrize("line, message", [
    ('{"text": 5}', "line 2: neither"), ("[1]", "line 2: neither"), ("{", "line 2: it"),
    ('{"messages": []}', "line 2: messages must not be empty"),
    (json.dumps({"text": "word " * 300}), "line 2: the prompt has"),
    (json.dumps({"messages": ask("what?", 1)}), "line 2: this model takes no images")])
def test_lines_that_cannot_be_used(tmp_path, line, message):
    path = tmp_path / "data.jsonl"
    path.write_text('{"text": "Hello"}\n' + line + "\n")
    r = compare("--data", path, "--max-tokens", 200)
    assert r.returncode == 1 and message in r.stderr and len(r.stderr.splitlines()) == 1, r.stderr


@pytest.mark.parametrize("args, message", [
    ((), "needs --model and --data"), (("--data",), "--data needs a value"), (("--what", "x"), "no option --what"),
    (("--data", "/nowhere"), "/nowhere: No such file"), (("--data", "/dev/null"), "there is no line"),
    (("--data", "x", "--weights", "int3"), "int3"), (("--data", "x", "--against", "/nowhere"), "/nowhere"),
    (("--data", "x", "--kv-cache-dtype", "auto"), "KV cache of type 'auto'"),
    (("--data", "x", "--activations", "int8"), "--weights int8"), (("--data", "x", "--generate", "-1"), "--generate"),
    (("--data", "x", "--against", MODEL), "vocabularies of 576 and")])
def test_arguments_that_are_wrong(args, message):
    r = compare(*args)
    assert r.returncode in (1, 2) and message in r.stderr and len(r.stderr.splitlines()) == 1, r.stderr
