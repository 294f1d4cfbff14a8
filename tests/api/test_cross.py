"""Heads for classes over texts: cross-encoders for /rerank and /score, and /classify, against transformers
(python/rankers.py)."""

import json
import math
import subprocess

import numpy as np
import pytest

from conftest import BIN, ROOT, ask
from test_vectors import rewritten

RANKER, JUDGE = ROOT / "tests/model/rankers/qwen3", ROOT / "tests/model/rankers/qwen2"
TEXTS = ROOT / "tests/model/qwen3/grouped"


def told(folder):
    return json.loads((folder / "scores.json").read_text())


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_pairs(start):
    """Both texts are read at once; the score is the sigmoid of the one class' logit, as vLLM has it."""
    s, t = start(model=RANKER), told(RANKER)
    want = [sigmoid(r[0]) for r in t["pairs"]]
    status, body = s.post("/v1/score", {"text_1": t["query"], "text_2": t["documents"]})
    assert status == 200, body
    assert all(abs(d["score"] - w) < 1e-4 for d, w in zip(body["data"], want, strict=True))
    status, body = s.post("/rerank", {"query": t["query"], "documents": [{"text": d} for d in t["documents"]],
                                      "top_n": 2})
    order = sorted(range(len(want)), key=lambda i: -want[i])[:2]
    assert status == 200 and [r["index"] for r in body["results"]] == order
    assert all(abs(r["relevance_score"] - want[i]) < 1e-4 for r, i in zip(body["results"], order, strict=True))
    assert [r["document"]["text"] for r in body["results"]] == [t["documents"][i] for i in order]
    status, body = s.post("/v1/score", {"text_1": [t["query"]] * 3, "text_2": t["documents"]})
    assert status == 200 and all(abs(d["score"] - w) < 1e-4 for d, w in zip(body["data"], want, strict=True))
    status, body = s.post("/v1/score", {"text_1": [5, 6], "text_2": "a"})
    assert status == 400 and body["error"]["param"] == "text_1"
    status, body = s.post("/v1/chat/completions", {"messages": ask("a")})
    assert status == 400 and body["error"]["code"] == "text_not_supported"


def test_classes(start):
    s, t = start(model=JUDGE), told(JUDGE)
    status, body = s.post("/classify", {"input": t["documents"]})
    assert status == 200, body
    for d, logits in zip(body["data"], t["texts"], strict=True):
        e = np.exp(np.array(logits) - max(logits))
        assert np.abs(np.array(d["probs"]) - e / e.sum()).max() < 1e-4
        assert d["label"] == ["bad", "good", "neither"][int(np.argmax(logits))]


def test_texts_of_one_token_together(start):
    """One's logits are not written where the states of the next one lie."""
    s, texts = start(model=JUDGE), "abcdefgh"
    alone = [s.post("/classify", {"input": text})[1]["data"][0]["probs"] for text in texts]
    status, body = s.post("/classify", {"input": list(texts)})
    assert status == 200 and [d["probs"] for d in body["data"]] == alone


def test_more_classes_than_a_step_has_numbers(start, tmp_path):
    """Their logits have room in the plan."""
    n = 60000
    folder = rewritten(tmp_path / "m", "rankers/qwen2", lambda name, shape, part: (
        ([n, shape[1]], part[:2 * shape[1]] * n) if name == "score.weight" else (shape, part)))
    config = json.loads((folder / "config.json").read_text()) | {"num_labels": n, "id2label": None, "label2id": None}
    (folder / "config.json").write_text(json.dumps(config))
    s = start("--max-num-seqs", "1", "--max-batched-tokens", "1", model=folder)
    status, body = s.post("/classify", {"input": "a"})
    assert status == 200 and len(body["data"][0]["probs"]) == n


def changed(folder, to, changes):
    for f in folder.iterdir():
        (to / f.name).symlink_to(f)
    config = json.loads((folder / "config.json").read_text()) | changes
    (to / "config.json").unlink()
    (to / "config.json").write_text(json.dumps(config))
    return to


def test_from_tokens(start, tmp_path):
    """The head's rows for two tokens as vLLM's users write it: the probability of the second, of the two."""
    plain = start(model=TEXTS)
    _, body = plain.post("/v1/completions", {"prompt": "abcd", "max_tokens": 1, "logprobs": 1, "temperature": 0,
                                             "allowed_token_ids": [77, 88]})
    _, pieces = plain.post("/tokenize", {"prompt": "no"})
    folder = changed(TEXTS, tmp_path, {"architectures": ["Qwen3ForSequenceClassification"],
                                       "classifier_from_token": ["n", "y"], "is_original_qwen3_reranker": True})
    s = start(model=folder)
    status, answer = s.post("/v1/score", {"text_1": "ab", "text_2": "cd"})
    assert status == 200, answer
    ids = {c: plain.post("/tokenize", {"prompt": c}) for c in "ny"}
    lp = {}
    for c, (_, t) in ids.items():
        _, one = plain.post("/v1/completions", {"prompt": "abcd", "max_tokens": 1, "logprobs": 1, "temperature": 0,
                                                "allowed_token_ids": t["tokens"]})
        lp[c] = one["choices"][0]["logprobs"]["token_logprobs"][0]
    want = math.exp(lp["y"]) / (math.exp(lp["y"]) + math.exp(lp["n"]))
    assert abs(answer["data"][0]["score"] - want) < 1e-4


@pytest.mark.parametrize("folder, changes, named", [
    (RANKER, {"id2label": {"0": "a", "1": "b"}, "num_labels": 2}, "score.weight"),
    (TEXTS, {"classifier_from_token": ["no such token", "y"]}, "classifier_from_token"),
    (TEXTS, {"classifier_from_token": []}, "classifier_from_token"),
    (TEXTS, {"classifier_from_token": ["y"]}, "classifier_from_token"),
])
def test_damaged(folder, changes, named, tmp_path):
    run = subprocess.run([BIN, "plan", "--model", changed(folder, tmp_path, changes)], capture_output=True, text=True)
    assert run.returncode != 0 and run.stderr.count("\n") == 1 and named in run.stderr, run.stderr
