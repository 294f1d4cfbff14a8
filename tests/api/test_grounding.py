"""Answers that say where in the image things are: boxes beside the text, whole and streamed, and the text as it is
where a request says so. A parrot says the answers; Kosmos-2 itself (tests/model/kosmos-2) answers about an image."""

import concurrent.futures
import io
import json

import numpy as np
import openai
import pytest
from PIL import Image

import parrot
from conftest import ROOT, Server, data_url

KOSMOS = ROOT / "tests/model/kosmos-2/published"
SAID = {
    "dog": " An image of<phrase> a dog</phrase><object><patch_index_0044><patch_index_0863></object> near<phrase> two "
           "fires </phrase><object><patch_index_0005><patch_index_0911></delimiter_of_multi_objects/><patch_index_0033>"
           "<patch_index_0033></object>.",
    "cut": "<phrase> it</phrase><object><patch_index_0001><patch_index_",
    "huge": "<phrase>far</phrase><object><patch_index_999999999999999999999><patch_index_0002></object> away < here",
    "beyond": "<phrase>low</phrase><object><patch_index_0031><patch_index_1055></object>",
    "none": "a plain answer",
}
DOG = [{"phrase": "a dog", "box": [0.390625, 0.046875, 0.984375, 0.828125]},
       {"phrase": "two fires", "box": [0.171875, 0.015625, 0.484375, 0.890625]},
       {"phrase": "two fires", "box": [0.03125, 0.03125, 0.0625, 0.0625]}]
WANT = {"dog": ("An image of a dog near two fires .", DOG), "cut": ("it<patch_index_", []),
        "huge": ("far away < here", []),
        "beyond": ("low", [{"phrase": "low", "box": [.96875, 0, 1, 1.03125]}]), "none": ("a plain answer", [])}


@pytest.fixture(scope="module")
def parrots(tmp_path_factory):
    folder = parrot.write(tmp_path_factory.mktemp("grounding") / "parrot", SAID, form="none",
                          hint="<grounding>{{ grounding }}")
    s = Server("--model", str(folder))
    yield s
    s.stop()


def ask(server, cue, **more):
    return dict(model=server.client().models.list().data[0].id, temperature=0, max_tokens=200,
                messages=[{"role": "user", "content": cue}], extra_body=more)


@pytest.mark.parametrize("cue", SAID)
def test_whole_and_streamed(parrots, cue):
    c, (text, boxes) = parrots.client(), WANT[cue]
    message = c.chat.completions.create(**ask(parrots, cue), n=2).choices[1].message
    assert (message.content, message.grounding) == (text, boxes)
    deltas = [k.choices[0].delta for k in c.chat.completions.create(**ask(parrots, cue), stream=True) if k.choices]
    assert "".join(d.content or "" for d in deltas) == text
    told = [d.grounding for d in deltas if hasattr(d, "grounding")]
    assert [box for some in told for box in some] == boxes and all(told)


@pytest.mark.parametrize("cue", SAID)
def test_the_text_as_it_is(parrots, cue):
    c = parrots.client()
    message = c.chat.completions.create(**ask(parrots, cue, grounding=False)).choices[0].message
    assert message.content == SAID[cue] and not hasattr(message, "grounding")
    deltas = [k.choices[0].delta for k in c.chat.completions.create(**ask(parrots, cue, grounding=False), stream=True)
              if k.choices]
    assert "".join(d.content or "" for d in deltas) == SAID[cue] and not any(hasattr(d, "grounding") for d in deltas)
    # other forms of answers have no member for boxes
    status, said = parrots.post("/v1/responses", {"input": cue, "temperature": 0, "max_output_tokens": 200})
    assert status == 200 and said["output"][0]["content"][0]["text"] == SAID[cue]


def test_a_grammar_has_the_last_word(parrots):
    """Whatever it allowed stays, also what looks like a place."""
    c, held = parrots.client(), SAID["dog"]
    for form in ({"structured_outputs": {"choice": [held, "x"]}}, {"grounding": True, "guided_regex": r"[^#]*\."}):
        message = c.chat.completions.create(**ask(parrots, "dog", **form)).choices[0].message
        assert message.content == held and not hasattr(message, "grounding")
        deltas = [k.choices[0].delta for k in c.chat.completions.create(**ask(parrots, "dog", **form), stream=True)
                  if k.choices]
        assert "".join(d.content or "" for d in deltas) == held and not any(hasattr(d, "grounding") for d in deltas)


def test_a_stop_string_and_log_probabilities(parrots):
    answer = parrots.client().chat.completions.create(**ask(parrots, "dog"), logprobs=True, stop=["near"]).choices[0]
    assert answer.message.content == "An image of a dog" and answer.message.grounding == DOG[:1]
    assert "".join(t.token for t in answer.logprobs.content).startswith(" An image of<phrase>")


def test_models_without_places(server):
    status, said = server.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}], "max_tokens": 1,
                                                        "grounding": True})
    assert (status, said["error"]["param"]) == (400, "grounding")
    status, said = server.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}], "max_tokens": 1,
                                                        "grounding": None})
    assert status == 200 and "grounding" not in said["choices"][0]["message"]


def picture(side):
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(side).integers(0, 256, (side, 2 * side, 3), dtype=np.uint8)).save(out, "PNG")
    return {"type": "image_url", "image_url": {"url": data_url(out.getvalue())}}


def test_kosmos():
    """One image, which stands first wherever the chat has it; the tag once, whoever asks for it; text alone."""
    server = Server("--model", str(KOSMOS))
    try:
        c = server.client()

        def size(content, **more):
            return c.chat.completions.create(model="published", max_tokens=1, extra_body=more,
                                             messages=[{"role": "user", "content": content}]).usage

        text = {"type": "text", "text": "What is it?"}
        alone, seen = size("What is it?"), size([picture(30), text])
        assert seen.prompt_tokens == alone.prompt_tokens + 66       # <image>, 64 slots, </image>
        assert seen.prompt_tokens_details.image_tokens == 64
        assert size([text, picture(31)]).prompt_tokens == seen.prompt_tokens
        tagged = [picture(30), {"type": "text", "text": "<grounding> What is it?"}]
        assert [size([picture(30), text], grounding=True).prompt_tokens, size(tagged).prompt_tokens,
                size(tagged, grounding=True).prompt_tokens] == [seen.prompt_tokens + 1] * 3
        with pytest.raises(openai.BadRequestError) as e:
            size([picture(30), picture(31), text])
        assert "looks at one image" in e.value.message
        # alone, and all at the same time
        asks = [[picture(30 + i), text] if i % 2 else f"{i} What is it?" for i in range(6)]

        def answer(content):
            return c.chat.completions.create(model="published", max_tokens=12, logprobs=True, temperature=0,
                                             messages=[{"role": "user", "content": content}]).choices[0]

        one = [answer(a) for a in asks]
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            assert list(pool.map(answer, asks)) == one
        status, said = server.post("/tokenize", {"messages": [{"role": "user", "content": [picture(30), text]}]})
        slots = said["tokens"].index(4)
        assert status == 200 and said["tokens"][slots:slots + 64] == list(range(4, 68))
        # padding stands nowhere, and is not counted in the positions of the prompt
        padded = json.loads((KOSMOS / "golden.json").read_text())["padded"]
        for _ in range(2):
            status, completed = server.post("/v1/completions", {"prompt": padded["ids"], "temperature": 0,
                                                                "max_tokens": 24, "ignore_eos": True,
                                                                "return_token_ids": True})
            assert status == 200 and completed["choices"][0]["token_ids"] == padded["greedy"]
        assert said["tokens"][0] == 0 and server.get("/health")[0] == 200
    finally:
        server.stop()
