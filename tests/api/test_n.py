"""Several answers to one prompt: each is the one that a request of its own would get, the prompt is computed once, and
every answer counts among those that run."""

import json

from conftest import ask

TEXT = "Describe the screen " + "and every button on it " * 12


def body(**more):
    return {"messages": ask(TEXT, 3), "temperature": 1.3, "max_tokens": 12, "ignore_eos": True, "seed": 7,
            "logprobs": True, "top_logprobs": 2} | more


def post(server, **more):
    status, answer = server.post("/v1/chat/completions", body(**more))
    assert status == 200, answer
    return answer


def told(choice):
    return choice["message"], choice["logprobs"], choice["finish_reason"]


def test_each_is_that_of_its_own_seed(server):
    several = post(server, n=4)["choices"]
    assert [c["index"] for c in several] == [0, 1, 2, 3]
    assert [told(c) for c in several] == [told(post(server, seed=7 + i)["choices"][0]) for i in range(4)]
    assert len({c["message"]["content"] for c in several}) > 1


def test_greedy_ones_are_equal(server):
    several = post(server, n=16, temperature=0)["choices"]
    single = post(server, temperature=0)["choices"][0]
    assert all(told(c) == told(single) for c in several) and len(several) == 16


def test_streamed(server):
    want = post(server, n=3)
    data = server.request("POST", "/v1/chat/completions", json.dumps(body(
        n=3, stream=True, stream_options={"include_usage": True})))[2].decode()
    chunks = [json.loads(line[6:]) for line in data.splitlines() if line.startswith("data: {")]
    assert data.endswith("data: [DONE]\n\n") and chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == want["usage"]["completion_tokens"] == 36
    for i in range(3):
        mine = [c for chunk in chunks for c in chunk["choices"] if c["index"] == i]
        assert mine[0]["delta"]["role"] == "assistant" and not any("role" in c["delta"] for c in mine[1:])
        assert "".join(c["delta"].get("content", "") for c in mine) == want["choices"][i]["message"]["content"]
        assert [c["finish_reason"] for c in mine if c["finish_reason"]] == ["length"] and mine[-1]["finish_reason"]


def test_the_prompt_is_computed_once(start):
    """With and without a cache of prefixes, which then has nothing for other requests."""
    for options, others in (((), True), (("--no-prefix-cache",), False)):
        server = start("--max-num-seqs", "4", *options)
        before = server.metrics()["openautoglm_cached_tokens_total"]
        usage = post(server, n=4)["usage"]
        hits = server.metrics()["openautoglm_cached_tokens_total"] - before
        details = usage["prompt_tokens_details"]
        assert details["cached_tokens"] == 0 and details["image_tokens"] > 0
        assert hits == 3 * ((usage["prompt_tokens"] - 1) // 32 * 32) > 0
        again = post(server)["usage"]["prompt_tokens_details"]["cached_tokens"]
        assert (again > 0) == others


def test_all_places_or_none(start):
    server = start("--max-num-seqs", "2", "--max-queue", "1")
    status, answer = server.post("/v1/chat/completions", body(n=4))
    assert status == 429 and answer["error"]["code"] == "queue_full"
    assert len(post(server, n=3)["choices"]) == 3
    server.wait_idle()


def test_who_goes_away_cancels_all(start):
    import http.client
    server = start("--max-num-seqs", "3")
    c = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    c.request("POST", "/v1/chat/completions", json.dumps(body(n=3, max_tokens=1500, stream=True, logprobs=False,
                                                              top_logprobs=0)))
    r = c.getresponse()
    r.fp.readline()
    c.sock.close() if c.sock else r.close()
    r.close()
    server.wait_idle()
    assert server.metrics().get('openautoglm_requests_finished_total{reason="cancelled"}', 3) == 3


def test_salts_keep_apart(server):
    def cached(**more):
        usage = post(server, messages=ask("salt " + TEXT, 5), **more)["usage"]
        return usage["prompt_tokens_details"]["cached_tokens"]

    assert cached(cache_salt="a") == 0 and cached(cache_salt="a") > 0
    assert cached(cache_salt="b") == 0 and cached() == 0
    assert cached() > 0


def test_timings(server):
    answer = post(server, messages=ask("time " + TEXT, 6))
    t, usage = answer["timings"], answer["usage"]
    assert (t["cache_n"], t["prompt_n"], t["predicted_n"]) == (0, usage["prompt_tokens"], 12)
    assert t["prompt_ms"] >= t["image_encode_ms"] > 0 and t["image_decode_ms"] > 0 and t["predicted_ms"] > 0
    assert abs(t["prompt_ms"] - t["image_encode_ms"] - t["prefill_ms"]) < 0.01 and t["predicted_ms"] == t["decode_ms"]
    assert post(server, messages=ask("time " + TEXT, 6))["timings"]["image_encode_ms"] == 0
    data = server.request("POST", "/v1/chat/completions", json.dumps(body(stream=True, timings_per_token=True)))[2]
    chunks = [json.loads(line[6:]) for line in data.decode().splitlines() if line.startswith("data: {")]
    made = [c["timings"]["predicted_n"] for c in chunks]
    assert made == sorted(made) and made[-1] == 12
    data = server.request("POST", "/v1/chat/completions", json.dumps(body(stream=True)))[2]
    chunks = [json.loads(line[6:]) for line in data.decode().splitlines() if line.startswith("data: {")]
    assert ["timings" in c for c in chunks] == [False] * (len(chunks) - 1) + [True]
