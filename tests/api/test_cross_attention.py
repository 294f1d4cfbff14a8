"""Images that are looked at through cross-attention alone (Llama 3.2 Vision, Idefics): encoded once, whoever sends
them, and requests with and without images that do not change each other."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from conftest import ROOT
from test_families import image

CASE = ROOT / "tests" / "model" / "mllama" / "tiles"
IDEFICS = ROOT / "tests" / "model" / "idefics" / "resampler"
ENCODED = "openautoglm_image_encode_seconds_count"


def picture(seed, w, h):
    return image(np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8))


PICTURES = [picture(i, *size) for i, size in enumerate([(30, 20), (12, 60), (90, 24), (11, 11)])]


def say(*parts):
    return [{"role": "user", "content": [p if isinstance(p, dict) else {"type": "text", "text": p} for p in parts]}]


def chats():
    """Text alone, one image, several together, and in turns; those of each kind begin alike."""
    a, b, c, d = PICTURES
    then = [{"role": "assistant", "content": "There."}]
    return [say("Where?"), say(a, "Where?"), say("Where?", b), say(c, d, "Which?"), say("Where is the button?"),
            say(a, "Where?") + then + say(b, "And here?"), say(b, "Where?") + then + say("And now?"),
            say("Look: ", a, "and", b)]


def answer(client, messages, model=CASE.name, **more):
    more |= {"ignore_eos": True}
    said = client.chat.completions.create(model=model, messages=messages, temperature=0, max_tokens=12,
                                          logprobs=True, top_logprobs=3, extra_body=more).choices[0]
    return said.logprobs.model_dump_json()


@pytest.fixture(scope="module")
def alone():
    """What each of them gets from a server that remembers nothing."""
    from conftest import Server
    s = Server("--model", str(CASE), "--no-prefix-cache")
    yield [answer(s.client(), m) for m in chats()]
    assert s.stop() == 0


@pytest.mark.parametrize("device", ["cpu", "cusim"])
def test_requests_with_and_without_images_in_one_batch(start, alone, device):
    if device == "cusim" and not (ROOT / "build" / "libopenautoglm_cusim.so").exists():
        pytest.skip("`make cusim` was not run")
    s = start("--model", str(CASE), "--device", device, "--max-num-seqs", "8")
    if device == "cusim":            # its rounding is another one
        alone = [answer(s.client(), m) for m in chats()[:4]]
        s.stop()
        s = start("--model", str(CASE), "--device", device, "--max-num-seqs", "8")
    for _ in range(2):               # the second time from the caches
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(lambda m: answer(s.client(), m), chats()[:len(alone)])) == alone
    assert len(set(alone)) == len(alone)


def test_an_image_is_encoded_once(start, alone):
    s = start("--model", str(CASE), "--max-num-seqs", "2")
    c, before = s.client(), s.metrics().get(ENCODED, 0)
    asked = chats()
    assert answer(c, asked[1]) == alone[1]
    assert s.metrics()[ENCODED] == before + 1
    assert answer(c, asked[1]) == alone[1]           # the same request
    answer(c, say(PICTURES[0], "Something else"))    # another text about it
    assert s.metrics()[ENCODED] == before + 1
    assert answer(c, asked[5]) == alone[5]           # it, and another one behind it
    assert s.metrics()[ENCODED] == before + 2


def test_tokens_in_front_of_an_image_depend_on_it(start, alone):
    """More than a page of text in front of an image sees it in the reference, so it is not shared with other images."""
    s = start("--model", str(CASE))
    c, long = s.client(), "A text that is longer than any page of keys and values. " * 2
    fresh = []
    for p in PICTURES[:2]:
        fresh.append(answer(c, say(long, p, "?")))
    assert answer(c, say(long, PICTURES[1], "?")) == fresh[1] != fresh[0]
    other = start("--model", str(CASE), "--no-prefix-cache").client()
    assert [answer(other, say(long, p, "?")) for p in PICTURES[:2]] == fresh


def test_the_image_token_has_no_logit(start):
    """Its id lies beyond the vocabulary of the head: its logprob is none, and no penalty touches it."""
    s = start("--model", str(CASE))
    body = {"model": CASE.name, "messages": say(PICTURES[0], "Where?"), "temperature": 0, "max_tokens": 4,
            "repetition_penalty": 1.5, "presence_penalty": 0.5, "prompt_logprobs": 2}
    status, said = s.post("/v1/chat/completions", body)
    assert status == 200, said
    config = json.loads((CASE / "config.json").read_text())
    place = str(config["image_token_index"])
    told = [row for row in said["prompt_logprobs"] if row]
    assert any(row.get(place, {}).get("logprob") == -9999.0 for row in told)
    assert all(place not in row or len(row) > 1 for row in told)


def test_idefics(start):
    """Alone, in one batch and from the caches; an image is encoded once. Neighbours share the token between them."""
    s = start("--model", str(IDEFICS), "--no-prefix-cache")
    alone = [answer(s.client(), m, IDEFICS.name) for m in chats()]
    assert len(set(alone)) == len(alone)
    assert s.metrics()[ENCODED] == len(PICTURES)
    assert s.stop() == 0
    s = start("--model", str(IDEFICS), "--max-num-seqs", "8")
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda m: answer(s.client(), m, IDEFICS.name), chats())) == alone
    assert [answer(s.client(), m, IDEFICS.name) for m in chats()] == alone
    assert s.metrics()[ENCODED] == len(PICTURES)

    def tokens(*parts):
        return s.client().chat.completions.create(model=IDEFICS.name, messages=say(*parts),
                                                  max_tokens=1).usage.prompt_tokens
    a, b = PICTURES[:2]
    assert [tokens(a, "?"), tokens(a, b, "?"), tokens(a, "?", b)] == [tokens("?") + n for n in (3, 5, 6)]
