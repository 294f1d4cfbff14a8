"""PaliGemma: prompts whose tokens see each other both ways. How a chat without a template becomes a prompt, what of it
is cached for whom, and what does not fit. (test_families.py has the reference's answers.)"""

import concurrent.futures
import io

import numpy as np
import openai
import pytest
from PIL import Image

from conftest import ROOT, Server, data_url

CASE = ROOT / "tests/model/paligemma/second"          # Gemma 2, with windows of 9 tokens
PLACES = 9                                            # of an image
TEXT = "detect cat ; dog ; <loc0003> ; "


@pytest.fixture(scope="module")
def server():
    s = Server("--model", str(CASE), "--max-num-seqs", "4")
    yield s
    assert s.stop() == 0


def picture(seed):
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(out, "PNG")
    return {"type": "image_url", "image_url": {"url": data_url(out.getvalue())}}


def part(text):
    return {"type": "text", "text": text}


def answer(server, content, **more):
    messages = content if isinstance(content[0], dict) and "role" in content[0] else [
        {"role": "user", "content": content}]
    return server.client().chat.completions.create(model=CASE.name, max_tokens=12, logprobs=True, temperature=0,
                                                   messages=messages, extra_body={"ignore_eos": True, **more})


def cached(a):
    return a.usage.prompt_tokens_details.cached_tokens


def test_prompt(server):
    """Images, bos, texts joined by spaces, a line break: whatever the order of parts and messages."""
    alone = answer(server, [part("answer en where is it?")])
    seen = answer(server, [picture(1), part("answer en where is it?")])
    assert seen.usage.prompt_tokens == alone.usage.prompt_tokens + PLACES
    assert seen.usage.prompt_tokens_details.image_tokens == PLACES
    for content in ([part("answer en where is it?"), picture(1)],
                    [{"role": "system", "content": "answer en"},
                     {"role": "user", "content": [picture(1), part("where is it?")]}]):
        assert answer(server, content).choices == seen.choices
    status, said = server.post("/v1/completions", {"model": CASE.name, "prompt": "answer en where is it?\n",
                                                   "max_tokens": 12, "temperature": 0, "ignore_eos": True})
    assert status == 200 and said["usage"]["prompt_tokens"] == alone.usage.prompt_tokens
    assert said["choices"][0]["text"] == alone.choices[0].message.content


def test_cache(server):
    """A prompt serves itself alone: one that goes on differently is computed from its beginning."""
    long = [picture(2), part(TEXT * 5)]
    first, again = answer(server, long), answer(server, long)
    assert cached(first) == 0 and cached(again) == (first.usage.prompt_tokens - 1) // 32 * 32 > 64
    assert again.choices == first.choices
    other = [long[0], part(TEXT * 5 + "x")]
    assert cached(answer(server, other)) == 0
    chat = [{"role": "user", "content": long}, {"role": "assistant", "content": first.choices[0].message.content},
            {"role": "user", "content": "where?"}]
    assert cached(answer(server, chat)) == 0
    assert cached(answer(server, [picture(3), part(TEXT * 5)])) == 0
    unshared = Server("--model", str(CASE), "--no-prefix-cache")
    try:
        assert answer(unshared, other).choices == answer(server, other).choices
    finally:
        unshared.stop()


def test_together(server):
    """With and without images, alone and all at the same time."""
    asks = [[picture(10 + i), part(f"{i} {TEXT}" * i)] if i % 2 else [part(f"{i} {TEXT * 3}")] for i in range(6)]
    alone = [answer(server, a, cache_salt="alone").choices for a in asks]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda a: answer(server, a, cache_salt="together").choices, asks)) == alone


def test_refused(server):
    """What does not fit into one step, and logprobs of tokens that know what comes."""
    with pytest.raises(openai.BadRequestError) as e:
        answer(server, [picture(1), part("a b c d " * 200)])
    assert "--max-batched-tokens" in e.value.message and e.value.code == "context_length_exceeded"
    status, said = server.post("/v1/completions", {"model": CASE.name, "prompt": "a", "max_tokens": 1,
                                                   "prompt_logprobs": 1})
    assert status == 400 and "both ways" in said["error"]["message"]
    assert said["error"]["param"] == "prompt_logprobs"
