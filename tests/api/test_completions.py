"""/v1/completions with lists of prompts, token ids and echo: what evaluation harnesses send, read as they read it."""

import json
import math

import pytest


def ids_of(server, text):
    return server.post("/tokenize", {"prompt": text})[1]["tokens"]


def complete(server, **body):
    status, answer = server.post("/v1/completions", {"temperature": 0, "max_tokens": 3} | body)
    assert status == 200, answer
    assert [c["index"] for c in answer["choices"]] == list(range(len(answer["choices"])))
    return answer


def test_lists_are_their_prompts_one_by_one(server):
    texts = ["one", "another one", "a third"]
    alone = [complete(server, prompt=t) for t in texts]
    together = complete(server, prompt=texts)
    assert [c["text"] for c in together["choices"]] == [a["choices"][0]["text"] for a in alone]
    for k in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert together["usage"][k] == sum(a["usage"][k] for a in alone)
    ids = [ids_of(server, t) for t in texts]
    of_ids = complete(server, prompt=ids, return_token_ids=True)
    assert [c["text"] for c in of_ids["choices"]] == [c["text"] for c in together["choices"]]
    assert [c["prompt_token_ids"] for c in of_ids["choices"]] == ids
    assert complete(server, prompt=ids[1])["choices"][0]["text"] == alone[1]["choices"][0]["text"]


def test_n_answers_to_each_prompt_stand_together(server):
    def texts(**body):
        return [c["text"] for c in complete(server, temperature=1, seed=5, n=2, max_tokens=8, **body)["choices"]]
    assert texts(prompt=["one", "two"]) == texts(prompt="one") + texts(prompt="two")


def test_streams_have_every_choice(server):
    whole = complete(server, prompt=["one", "two"], max_tokens=6)
    texts, ends = ["", ""], []
    for chunk in server.client().completions.create(model=whole["model"], prompt=["one", "two"], max_tokens=6,
                                                    temperature=0, stream=True):
        for c in chunk.choices:
            texts[c.index] += c.text
            ends += [c.index] if c.finish_reason else []
    assert texts == [c["text"] for c in whole["choices"]] and sorted(ends) == [0, 1]


def test_echo(server):
    text = complete(server, prompt="one")["choices"][0]["text"]
    assert complete(server, prompt="one", echo=True)["choices"][0]["text"] == "one" + text
    ids = ids_of(server, "one")
    written = server.post("/detokenize", {"tokens": ids})[1]["prompt"]
    assert complete(server, prompt=ids, echo=True)["choices"][0]["text"] == written + text
    nothing = complete(server, prompt="one", echo=True, max_tokens=0)
    assert nothing["choices"][0]["text"] == "one" and nothing["choices"][0]["finish_reason"] == "length"
    assert nothing["usage"]["completion_tokens"] == 0


def loglikelihood(choice, n_context):
    """As lm-evaluation-harness has it: the last token is the one that was made."""
    probs = choice["logprobs"]["token_logprobs"][n_context:-1]
    tops = choice["logprobs"]["top_logprobs"][n_context:-1]
    return sum(probs), all(p == max(t.values()) for p, t in zip(probs, tops))


def test_loglikelihoods_as_harnesses_ask_for_them(server):
    """Of a continuation that the model itself would make, and of others; the same as from the answer's own log
    probabilities, token by token."""
    context = ids_of(server, "The button is")
    made = complete(server, prompt=context, max_tokens=4, logprobs=1, return_token_ids=True, ignore_eos=True)
    made = made["choices"][0]
    others = ids_of(server, " somewhere else")[-2:]
    asked = [context + made["token_ids"], context + others]
    answer = complete(server, prompt=asked, max_tokens=1, logprobs=1, echo=True, seed=1234)
    for c, ids in zip(answer["choices"], asked):
        probs = c["logprobs"]
        assert {len(v) for v in probs.values()} == {len(ids) + 1}
        assert probs["token_logprobs"][0] is None and probs["top_logprobs"][0] is None
        assert all(p <= 0 and token in top for token, p, top in
                   zip(probs["tokens"][1:], probs["token_logprobs"][1:], probs["top_logprobs"][1:]))
        assert probs["text_offset"] == [len("".join(probs["tokens"][:i])) for i in range(len(ids) + 1)]
    total, greedy = loglikelihood(answer["choices"][0], len(context))
    assert greedy and math.isclose(total, sum(made["logprobs"]["token_logprobs"]), abs_tol=1e-3)
    other, greedy = loglikelihood(answer["choices"][1], len(context))
    assert not greedy and other < total
    none = complete(server, prompt=asked[1], max_tokens=0, logprobs=1, echo=True)["choices"][0]["logprobs"]
    assert none["token_logprobs"] == answer["choices"][1]["logprobs"]["token_logprobs"][:-1]
    one = complete(server, prompt=context[:1], max_tokens=0, logprobs=1, echo=True)["choices"][0]["logprobs"]
    assert one["token_logprobs"] == [None]


LISTS = ("tokens", "token_logprobs", "top_logprobs", "text_offset")


def streamed(server, **more):
    """Text and log probabilities of every choice, put together from the chunks."""
    data = server.request("POST", "/v1/completions", json.dumps({"stream": True, **more}))[2].decode()
    out = {}
    for line in data.splitlines():
        for c in json.loads(line[6:])["choices"] if line.startswith("data: {") else []:
            text, probs = out.setdefault(c["index"], ["", {k: [] for k in LISTS}])
            out[c["index"]][0] = text + c["text"]
            for k in LISTS:
                probs[k] += c["logprobs"][k]
    return [out[i] for i in sorted(out)]


def test_echoed_log_probabilities_of_several_answers(server):
    """Each begins with the prompt's, which is computed once; the same in a stream."""
    asked = ["The button is", ids_of(server, "Tap the icon")]
    more = {"prompt": asked, "max_tokens": 5, "logprobs": 2, "echo": True, "seed": 7, "temperature": 1,
            "ignore_eos": True}
    choices = complete(server, n=3, **more)["choices"]
    alone = [complete(server, **more | {"prompt": p, "seed": 7 + i})["choices"][0] for p in asked for i in range(3)]
    assert [(c["text"], c["logprobs"]) for c in choices] == [(c["text"], c["logprobs"]) for c in alone]
    assert len({c["text"] for c in choices}) > 2
    assert streamed(server, n=3, **more) == [[c["text"], c["logprobs"]] for c in choices]
    assert streamed(server, **more | {"prompt": asked[0]}) == [[choices[0]["text"], choices[0]["logprobs"]]]
    nothing = {"prompt": asked[0], "max_tokens": 0, "logprobs": 1, "echo": True}
    whole = complete(server, **nothing)["choices"][0]
    assert streamed(server, **nothing) == [[whole["text"], whole["logprobs"]]]


@pytest.mark.parametrize("body, param, code", [
    ({"prompt": []}, "prompt", "invalid_value"),
    ({"prompt": [[]]}, "prompt", None),
    ({"prompt": ["a", 5]}, "prompt", "invalid_type"),
    ({"prompt": [5, "a"]}, "prompt", "invalid_type"),
    ({"prompt": [[5], ["a"]]}, "prompt", "invalid_type"),
    ({"prompt": {"a": 1}}, "prompt", "invalid_type"),
    ({"prompt": [1 << 40]}, "prompt", "invalid_value"),
    ({"prompt": [10**30]}, "prompt", "invalid_value"),
    ({"prompt": [-1]}, "prompt", "invalid_value"),
    ({"prompt": [0.5]}, "prompt", "invalid_type"),
    ({"prompt": ["a"] * 257}, "prompt", "invalid_value"),
    ({"prompt": ["a"] * 256, "n": 16}, "prompt", "invalid_value"),
    ({"prompt": "a", "echo": "x"}, "echo", "invalid_type"),
    ({"prompt": "a", "max_tokens": 0}, "max_tokens", "invalid_value"),
    ({"prompt": "a", "best_of": 3}, "best_of", None),
    ({"prompt": "a", "suffix": "x"}, "suffix", "unsupported_parameter"),
])
def test_what_is_refused(server, body, param, code):
    status, answer = server.post("/v1/completions", body)
    assert status == 400 and answer["error"]["param"] == param, answer
    assert code in (None, answer["error"]["code"]), answer
    server.wait_idle()
