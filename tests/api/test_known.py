"""Fields that other servers know and this one does not do, as openapi.yaml lists them: accepted where they change
nothing, refused by name where they would change the answer. And what routers add to every request."""

import json
import re

import pytest

from conftest import ROOT, data_url, png

CHAT = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2, "temperature": 0}
OTHERS = [3, -3, 0.5, "x", "", True, False, [], ["x"], [3], {}, {"x": 1}, 10**30]


def schemas_of(block):
    """The one-line properties of a schema in components."""
    text = re.search(rf"^    {block}:\n(.*?)^    \w", (ROOT / "openapi.yaml").read_text(), re.M | re.S)[1]
    for name, schema in re.findall(r"^        (\w+): (\{.*\})$", text, re.M):
        words = re.sub(r'"[^"]*"|[A-Za-z_]\w*', lambda m: m[0] if m[0][0] == '"' or m[0] in ("true", "false", "null")
                       else f'"{m[0]}"', schema)
        yield name, json.loads(words)


def fits(v, schema):
    if "anyOf" in schema:
        return any(fits(v, s) for s in schema["anyOf"])
    if "enum" in schema:
        return any(v == e and isinstance(v, bool) == isinstance(e, bool) for e in schema["enum"])
    kind = schema["type"]
    if kind == "array":
        return (isinstance(v, list) and
                (not v if "maxItems" in schema else all(x == schema["items"]["const"] for x in v)))
    if kind == "object":
        return v == {}
    return isinstance(v, (int, float)) and not isinstance(v, bool) and v < 0 if kind == "number" else v is None


def samples(schema):
    """Values that change nothing."""
    if "anyOf" in schema:
        return [v for s in schema["anyOf"] for v in samples(s)]
    kind = schema.get("type")
    if kind == "array":
        return [[]] if "maxItems" in schema else [[], [schema["items"]["const"]]]
    return schema.get("enum") or {"object": [{}], "number": [-1, -0.5], "null": [None]}[kind]


KNOWN = dict(schemas_of("NotSupported"))
ENDPOINTS = {"/v1/chat/completions": CHAT, "/v1/completions": {"prompt": "hi", "max_tokens": 2, "temperature": 0}}


def test_every_field_is_described():
    table = re.search(r"known_of_request\[\] = \{(.*?)\{ 0 \}", (ROOT / "server/known.c").read_text(), re.S)[1]
    assert re.findall(r'\{ "(\w+)", "', table) == list(KNOWN) and len(KNOWN) > 50


@pytest.mark.parametrize("path", ENDPOINTS)
def test_neutral_values_are_accepted(server, path):
    want = server.post(path, ENDPOINTS[path])[1]["choices"]
    for i in range(3):
        extra = {name: samples(schema)[i % len(samples(schema))] for name, schema in KNOWN.items()}
        status, answer = server.post(path, ENDPOINTS[path] | extra)
        assert status == 200 and answer["choices"] == want, answer


@pytest.mark.parametrize("name", KNOWN)
def test_others_are_refused_by_name(server, name):
    asked = 0
    for v in OTHERS:
        if fits(v, KNOWN[name]):
            continue
        for path, body in ENDPOINTS.items():
            status, answer = server.post(path, body | {name: v})
            assert (status, answer.get("error", {}).get("param"), answer.get("error", {}).get("code")) == (400, name,
                "unsupported_parameter"), (v, answer)
            asked += 1
    assert asked > 10


def test_what_routers_add(server):
    """sglang-router and vllm-router 0.1.17, LiteLLM: found in what they forward."""
    extra = {"logprobs": False, "no_stop_trim": False, "ignore_eos": False, "continue_final_message": False,
             "skip_special_tokens": True,
             "separate_reasoning": True, "stream_reasoning": True, "return_hidden_states": False,
             "include_reasoning": True,
             "parallel_tool_calls": True, "add_generation_prompt": True, "echo": False, "min_tokens": 0,
             "stop_token_ids": [],
             "spaces_between_special_tokens": True, "length_penalty": 1.0, "use_beam_search": False,
             "include_stop_str_in_output": False,
             "add_special_tokens": False, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "n": 1,
             "n_predict": -1, "priority": 0,
             "stream_options": {"include_usage": True, "continuous_usage_stats": False}, "user": "u",
             "metadata": {"a": "b"}, "store": False,
             "service_tier": "auto", "prompt_cache_key": "k", "safety_identifier": "s", "rid": "1", "session_id": "s",
             "cache_prompt": True,
             "repeat_last_n": 64, "logit_bias": {}, "tools": [], "tool_choice": "auto", "chat_template_kwargs": {},
             "reasoning_effort": None}
    status, answer = server.post("/v1/chat/completions", CHAT | extra)
    assert status == 200 and answer["choices"][0]["message"] == server.post("/v1/chat/completions",
                                                                            CHAT)[1]["choices"][0]["message"], answer


@pytest.mark.parametrize("path", ENDPOINTS)
def test_usage_in_every_chunk(server, path):
    def chunks(**options):
        body = ENDPOINTS[path] | {"max_tokens": 6, "ignore_eos": True, "stream": True, "stream_options": options}
        text = server.request("POST", path, json.dumps(body))[2].decode()
        return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]

    so_far = [c["usage"] for c in chunks(include_usage=True, continuous_usage_stats=True)]
    tokens = [u["completion_tokens"] for u in so_far]
    assert tokens == sorted(tokens) and tokens[-1] == tokens[-2] == 6
    assert len({u["prompt_tokens"] for u in so_far}) == 1 and all(u["total_tokens"] == u["prompt_tokens"] +
                                                                  u["completion_tokens"] for u in so_far)
    *others, last = [c["usage"] for c in chunks(include_usage=True)]
    assert set(others) == {None} and last == so_far[-1] | {"prompt_tokens_details": last["prompt_tokens_details"]}
    assert not any("usage" in c for c in chunks(continuous_usage_stats=True))


def test_pixels_of_one_image(server):
    """Beside image_url or within it, as Qwen's own service takes them; the chat's are for the others."""
    def tokens(*parts, **more):
        status, answer = (server.post("/v1/chat/completions",
                                      {"max_tokens": 1,
                                       "messages": [{"role": "user",
                                                     "content": [*parts, {"type": "text", "text": "x"}]}]} | more))
        assert status == 200, answer
        return answer["usage"]["prompt_tokens"]

    url = data_url(png(1))
    image = {"type": "image_url", "image_url": {"url": url}}
    large, small = tokens(image), tokens(image, mm_processor_kwargs={"max_pixels": 4096})
    assert small < large
    assert tokens(image | {"max_pixels": 4096}) == tokens({"type": "image_url",
                                                           "image_url": {"url": url, "max_pixels": 4096}}) == small
    assert tokens({"type": "image_url", "image_url": url, "max_pixels": 4096}, image) == large + small - tokens()
    assert tokens(image | {"max_pixels": 1 << 40}, mm_processor_kwargs={"max_pixels": 4096}) > small
