"""What the official client sees of an answer, whole and streamed."""

import math

import openai
import pytest

from conftest import ask, data_url, image_part, png

TEXT = [{"role": "user", "content": "What is on the screen?"}]


def create(client, messages=TEXT, **kw):
    return client.chat.completions.create(model="open-autoglm-v1", messages=messages,
                                          **{"temperature": 0, "max_tokens": 12, **kw})


def text_of(stream):
    return "".join(c.choices[0].delta.content or "" for c in stream if c.choices)


def test_answer(client):
    r = create(client, ask("Tap the button", 1))
    assert (r.object == "chat.completion" and r.id.startswith("chatcmpl-") and r.model == "open-autoglm-v1" and
            r.created > 1.6e9)
    (choice,) = r.choices
    assert choice.index == 0 and choice.message.role == "assistant" and choice.message.content
    assert choice.finish_reason in ("stop", "length") and choice.logprobs is None and choice.message.tool_calls is None
    u = r.usage
    assert u.total_tokens == u.prompt_tokens + u.completion_tokens and 1 <= u.completion_tokens <= 12
    assert u.prompt_tokens > 10 and 0 <= u.prompt_tokens_details.cached_tokens < u.prompt_tokens


def test_stream_equals_answer(client):
    whole = create(client, ask("Tap the button", 2))
    chunks = list(create(client, ask("Tap the button", 2), stream=True))
    assert text_of(chunks) == whole.choices[0].message.content
    assert (len({(c.id, c.created, c.model, c.object) for c in chunks}) == 1 and
            chunks[0].object == "chat.completion.chunk")
    assert chunks[0].choices[0].delta.role == "assistant"
    assert all(c.choices[0].delta.role is None for c in chunks[1:])
    assert ([c.choices[0].finish_reason for c in chunks if c.choices[0].finish_reason] ==
            [whole.choices[0].finish_reason])
    assert chunks[-1].choices[0].finish_reason and all(c.usage is None for c in chunks)


def test_include_usage(client):
    whole = create(client)
    chunks = list(create(client, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == [] and all(c.choices for c in chunks[:-1])
    assert all("usage" in c.model_fields_set and c.usage is None for c in chunks[:-1])
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens


def test_frames(server):
    body = '{"messages":[{"role":"user","content":"hi"}],"max_tokens":3,"stream":true}'
    status, headers, data = server.request("POST", "/v1/chat/completions", body, {"X-Request-Id": "mine-7"})
    assert status == 200 and headers["content-type"].startswith("text/event-stream")
    assert (headers["cache-control"] == "no-cache" and headers["x-accel-buffering"] == "no" and
            headers["x-request-id"] == "mine-7")
    frames = data.decode().split("\n\n")
    assert frames[-2:] == ["data: [DONE]", ""] and all(f.startswith(("data: {", ":")) for f in frames[:-2])


def test_max_tokens(client):
    r = create(client, max_tokens=3, extra_body={"ignore_eos": True})
    assert r.usage.completion_tokens == 3 and r.choices[0].finish_reason == "length"
    r = create(client, max_tokens=9, max_completion_tokens=4, extra_body={"ignore_eos": True})
    assert r.usage.completion_tokens == 4


def test_stop(client):
    whole = create(client, max_tokens=24, extra_body={"ignore_eos": True}).choices[0].message.content
    assert len(whole) > 6
    cut = whole[4:6]
    for stop in (cut, ["\u2603", cut]):
        r = create(client, max_tokens=24, stop=stop, extra_body={"ignore_eos": True})
        assert r.choices[0].message.content == whole[:whole.index(cut)] and r.choices[0].finish_reason == "stop"
    streamed = text_of(create(client, max_tokens=24, stop=cut, stream=True, extra_body={"ignore_eos": True}))
    assert streamed == whole[:whole.index(cut)]


def test_logprobs(client):
    r = create(client, ask("Tap the button", 3), logprobs=True, top_logprobs=4)
    content = r.choices[0].logprobs.content
    assert len(content) in (r.usage.completion_tokens, r.usage.completion_tokens - 1)    # the end token has no text
    for t in content:
        assert t.logprob <= 0 and len(t.top_logprobs) == 4
        best = [x.logprob for x in t.top_logprobs]
        assert best == sorted(best, reverse=True) and math.isclose(best[0], t.logprob)   # greedy takes the best
        assert bytes(t.bytes).decode("utf-8", "replace") == t.token
    text = b"".join(bytes(t.bytes) for t in content).decode("utf-8", "replace")
    assert text.startswith(r.choices[0].message.content)
    streamed = [t for c in create(client, ask("Tap the button", 3), logprobs=True, top_logprobs=4, stream=True)
                for t in (c.choices[0].logprobs.content if c.choices[0].logprobs else [])]
    assert [(t.token, t.logprob) for t in streamed] == [(t.token, t.logprob) for t in content]
    assert create(client, logprobs=False).choices[0].logprobs is None


def test_seed(client):
    def sample(seed):
        return create(client, temperature=2, seed=seed, max_tokens=16,
                      extra_body={"ignore_eos": True}).choices[0].message.content
    assert sample(5) == sample(5) and sample(-5) == sample(-5)
    assert len({sample(i) for i in range(6)}) > 1


def test_penalties(client):
    def texts(**penalty):
        # hot and seeded: where one answer is certain, a penalty of 2 changes nothing
        return [create(client, [{"role": "user", "content": q}], max_tokens=40, temperature=2, seed=7, **penalty,
                       extra_body={"ignore_eos": True, "skip_special_tokens": False}).choices[0].message.content
                for q in ("hi", "What is on the screen?", "Count", "1 2 3")]
    often, seen = {"frequency_penalty": 2}, {"frequency_penalty": 2, "presence_penalty": 2}
    assert texts(**often) == texts(**often) != texts()
    # Where the first has made the choice a close one, the second tips it; alone it may be too weak for a sure model.
    assert texts(**seen) == texts(**seen) != texts(**often)


def test_images_in_any_turn(client):
    two = [{"type": "text", "text": "Compare"}, image_part(1), image_part(2)]
    messages = [{"role": "system", "content": "You look at screens."}, {"role": "user", "content": two},
                {"role": "assistant", "content": "ok"},
                {"role": "user", "content": [image_part(3), {"type": "text", "text": "And this?"}]}]
    r = create(client, messages)
    one = create(client, messages[3:])
    assert r.choices[0].message.content and r.usage.prompt_tokens > 2.5 * one.usage.prompt_tokens


def test_image_formats(client):
    import io
    from PIL import Image
    for kind in ("PNG", "JPEG", "WEBP"):
        out = io.BytesIO()
        Image.open(io.BytesIO(png(4))).save(out, kind)
        part = {"type": "image_url", "image_url": {"url": data_url(out.getvalue(), "image/" + kind.lower())}}
        assert (create(client,
                       [{"role": "user",
                         "content": [part, {"type": "text", "text": "What?"}]}]).choices[0].message.content)


def test_completions(client):
    r = client.completions.create(model="open-autoglm-v1", prompt="do(action", temperature=0, max_tokens=6, logprobs=2)
    (choice,) = r.choices
    assert r.object == "text_completion" and r.id.startswith("cmpl-")
    assert len(choice.logprobs.tokens) == len(choice.logprobs.token_logprobs) == len(choice.logprobs.text_offset) > 0
    chunks = list(client.completions.create(model="open-autoglm-v1", prompt="do(action", temperature=0, max_tokens=6,
                                            stream=True))
    assert "".join(c.choices[0].text for c in chunks) == choice.text


def test_models(client):
    m, alias = client.models.list().data
    assert (alias.id, alias.root) == ("autoglm-phone-9b", m.id)
    assert m.id == "open-autoglm-v1" and m.object == "model" and m.created and m.owned_by
    assert client.models.retrieve("open-autoglm-v1").id == m.id
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other/model")


def test_error_classes(client, start):
    with pytest.raises(openai.BadRequestError) as e:
        create(client, temperature=9)
    assert (e.value.param == "temperature" and e.value.code == "invalid_value" and
            e.value.type == "invalid_request_error")
    assert e.value.request_id
    with pytest.raises(openai.NotFoundError) as e:
        client.chat.completions.create(model="nobody", messages=TEXT)
    assert e.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as e:
        create(client, [{"role": "user", "content": "word " * 60000}], stream=True)
    assert e.value.code == "context_length_exceeded" and e.value.body["n_prompt_tokens"] > e.value.body["n_ctx"] > 0
    with pytest.raises(openai.BadRequestError):
        list(create(client, stream=True, stop=[""]))
    s = start("--api-key", "sesame", "--served-model-name", "a,b")
    with pytest.raises(openai.AuthenticationError):
        create(s.client())
    right = s.client(api_key="sesame")
    assert [m.id for m in right.models.list().data] == ["a", "b"]
    assert right.chat.completions.create(model="b", messages=TEXT, max_tokens=1).model == "a"
    assert s.get("/health")[0] == 200 and s.get("/ready")[0] == 200 and s.get("/metrics")[0] == 401


def test_tokenize(server):
    text = 'do(action="Tap") Bluetooth'
    status, r = server.post("/tokenize", {"prompt": text, "return_token_strs": True})
    assert status == 200 and r["count"] == len(r["tokens"]) == len(r["token_strs"]) > 3
    status, back = server.post("/detokenize", {"tokens": r["tokens"]})
    assert status == 200 and back["prompt"].endswith(text)
