"""Log probabilities of a prompt's own tokens: those that an answer would have told that goes the same way, however the
prompt is cut into steps and whoever else is served."""

import json
import threading

from conftest import ask

PROMPT = {"model": None, "prompt": "tap the red button", "temperature": 0, "max_tokens": 4}


def complete(server, **more):
    status, answer = server.post("/v1/completions", PROMPT | more)
    assert status == 200, answer
    return answer["choices"][0]


def test_as_an_answer_would_tell_them(server):
    """The answer's tokens, appended to the prompt, have the log probabilities that they had as an answer."""
    answer = complete(server, max_tokens=40, ignore_eos=True, logprobs=3, return_token_ids=True, temperature=1, seed=3)
    ids = answer["prompt_token_ids"] + answer["token_ids"]
    text = server.post("/detokenize", {"tokens": ids})[1]["prompt"]
    again = server.post("/tokenize", {"prompt": text, "add_special_tokens": False})[1]["tokens"]
    if again != ids:                     # what was drawn need not be how the text is cut
        ids = again
    told = complete(server, prompt=text, prompt_logprobs=3, return_token_ids=True, add_special_tokens=False)
    assert told["prompt_token_ids"] == ids and len(told["prompt_logprobs"]) == len(ids)
    assert told["prompt_logprobs"][0] is None
    for i, at in enumerate(told["prompt_logprobs"][1:], 1):
        assert str(ids[i]) in at and 3 <= len(at) <= 4
        ranks = sorted((t["rank"] for t in at.values() if t["rank"]))
        assert ranks == [1, 2, 3] and all(t["logprob"] <= 0 for t in at.values())
        best = max(at.values(), key=lambda t: t["logprob"])
        assert best["rank"] == 1
    # the next token after each beginning, by a request of its own
    for i in (1, 7, len(ids) - 1):
        head = server.post("/detokenize", {"tokens": ids[:i]})[1]["prompt"]
        if server.post("/tokenize", {"prompt": head, "add_special_tokens": False})[1]["tokens"] != ids[:i]:
            continue
        first = complete(server, prompt=head, add_special_tokens=False, max_tokens=1, logprobs=1, temperature=0,
                         ignore_eos=True)["logprobs"]
        best = max(told["prompt_logprobs"][i].values(), key=lambda t: t["logprob"])
        assert best["logprob"] == first["token_logprobs"][0] and best["decoded_token"] == first["tokens"][0]


def test_images_and_chunks_and_company(server, start):
    """The same bits in small steps, with others, after a cached prefix, and the answer itself is unchanged."""
    body = {"messages": ask("where is it? " * 20, 4), "temperature": 0, "max_tokens": 6, "logprobs": True}
    want = server.post("/v1/chat/completions", body)[1]
    one = server.post("/v1/chat/completions", body | {"prompt_logprobs": 2})[1]
    assert one["choices"] == want["choices"] and len(one["prompt_logprobs"]) == one["usage"]["prompt_tokens"]
    small = start("--max-num-seqs", "3", "--max-batched-tokens", "48")
    got = []
    threads = [threading.Thread(target=lambda: got.append(small.post("/v1/chat/completions", body | {
        "prompt_logprobs": 2})[1])) for _ in range(5)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert all(json.dumps(g["prompt_logprobs"]) == json.dumps(one["prompt_logprobs"]) for g in got)
    assert all(g["choices"] == want["choices"] for g in got)
    several = small.post("/v1/chat/completions", body | {"prompt_logprobs": 2, "n": 2})[1]
    assert several["prompt_logprobs"] == one["prompt_logprobs"] and len(several["choices"]) == 2
    assert small.post("/v1/chat/completions", body | {"stream": True, "prompt_logprobs": 1})[0] == 400


def test_many_rows_a_step_where_one_request_is_computed_at_a_time(start):
    """A server for one request reads the weights of the logits once for many rows of a prompt, not for each; what the
    request wishes of its answer has no part in the prompt's, and its lists have room."""
    s = start("--max-num-seqs", "1", "--no-prefix-cache")
    wishes = {"repetition_penalty": 1.2, "logit_bias": {"9": 4}, "bad_words": ["the"], "logprobs": 2, "max_tokens": 3}
    body = PROMPT | {"prompt": "tap the red button " * 20} | wishes
    before = s.metrics()["openautoglm_steps_total"]
    status, told = s.post("/v1/completions", body | {"prompt_logprobs": 1, "return_token_ids": True})
    assert status == 200, told
    n = told["usage"]["prompt_tokens"]
    assert n > 120 and s.metrics()["openautoglm_steps_total"] - before < n / 16
    told = told["choices"][0]
    alone = s.post("/v1/completions", body)[1]["choices"][0]
    assert (told["text"], told["logprobs"]) == (alone["text"], alone["logprobs"])
    bare = s.post("/v1/completions", {"prompt": body["prompt"], "max_tokens": 1, "prompt_logprobs": 1})[1]["choices"][0]
    assert bare["prompt_logprobs"] == told["prompt_logprobs"] and len(bare["prompt_logprobs"]) == n
