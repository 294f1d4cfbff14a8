"""lm-evaluation-harness's local-completions: its very requests, with the right answers.

lm_eval 0.4.13 was run once against this server with a task of three questions of multiple choice, with
--model local-completions --model_args tokenized_requests=True,... --batch_size 2. make_lm_eval.py made lm_eval.json
of what it sent: the log probability of each token of each prompt as transformers computes it."""

import json
from pathlib import Path

import pytest

from conftest import ROOT, Server

CASES = json.loads((Path(__file__).parent / "lm_eval.json").read_text())


@pytest.fixture(scope="module")
def llama():
    s = Server("--served-model-name", "llama3", model=ROOT / "tests/model/llama/llama3")
    yield s
    assert s.stop() == 0


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_loglikelihoods_are_those_of_transformers(llama, case):
    """The last token is the one that was made; the harness leaves it out."""
    status, answer = llama.post("/v1/completions", case["body"])
    assert status == 200, answer
    assert [c["index"] for c in answer["choices"]] == list(range(len(case["body"]["prompt"])))
    for choice, want in zip(answer["choices"], case["logprobs"]):
        told = choice["logprobs"]
        assert told["token_logprobs"][0] is None and told["token_logprobs"][1:-1] == pytest.approx(want, abs=2e-4)
        for token, p, top in zip(told["tokens"][1:], told["token_logprobs"][1:], told["top_logprobs"][1:]):
            assert top[token] == p and max(top.values()) >= p
