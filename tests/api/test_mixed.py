"""Requests with images of many shapes and requests of text alone, at the same time, get the answers that each gets
alone."""

import concurrent.futures
import io

import numpy as np
import pytest
from PIL import Image

from conftest import ROOT, Server, data_url

SHAPES = [(20, 20), (90, 30), (11, 64), (300, 200)]


def picture(width, height):
    out = io.BytesIO()
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(out, "PNG")
    return {"type": "image_url", "image_url": {"url": data_url(out.getvalue())}}


@pytest.mark.parametrize("case", ["llava/clip", "pixtral/merged", "internvl/tiles", "internvl_chat/tiles",
                                  "deepseek_vl/head", "glm_ocr/tied"])
def test_the_same_alone(case):
    server = Server("--model", str(ROOT / "tests/model" / case))
    try:
        c, text = server.client(), {"type": "text", "text": "What is it?"}

        def answer(content):
            return c.chat.completions.create(model=case.split("/")[1], max_tokens=10, logprobs=True, temperature=0,
                                             extra_body={"ignore_eos": True},
                                             messages=[{"role": "user", "content": content}])

        asks = [a for w, h in SHAPES for a in ([picture(w, h), text], f"{w} What is it?")]
        asks.append([picture(40, 41), text, picture(33, 70)])
        alone = [answer(a) for a in asks]
        with concurrent.futures.ThreadPoolExecutor(len(asks)) as pool:
            together = list(pool.map(answer, asks))
    finally:
        server.stop()
    assert [a.choices for a in together] == [a.choices for a in alone]
    assert len({str(a.choices[0].logprobs) for a in alone}) == len(asks)
    images = [a.usage.prompt_tokens_details.image_tokens for a in alone]
    assert all((n > 0) == isinstance(a, list) for n, a in zip(images, asks))


# Ways of their own on a GPU: images read both ways in layers with windows, routed experts, cross-attention.
@pytest.mark.parametrize("case", ["gemma3/windows", "qwen3_moe/normed", "idefics/resampler"])
def test_the_same_alone_on_an_emulated_gpu(start, case):
    """On the real sources of the CUDA backend, streamed and not."""
    if not (ROOT / "build" / "libopenautoglm_cusim.so").exists():
        pytest.skip("`make cusim` was not run")
    s = start("--model", str(ROOT / "tests/model" / case), "--device", "cusim", "--max-num-seqs", "6",
              "--max-model-len", "128", "--no-prefix-cache")
    c, text = s.client(), {"type": "text", "text": "What?"}

    def answer(content, stream=False):
        said = c.chat.completions.create(model=case.split("/")[1], max_tokens=5, logprobs=True, temperature=0,
                                         stream=stream, extra_body={"ignore_eos": True},
                                         messages=[{"role": "user", "content": content}])
        parts = [k.choices[0] for k in said if k.choices] if stream else said.choices
        return [(t.token, t.logprob) for p in parts if p.logprobs for t in p.logprobs.content or []]

    asks = ["What?", "Which one is it, 图?", "a " * 20, "Go"]
    if not case.startswith("qwen3"):
        asks[1:3] = [[picture(20, 20), text], [text, picture(90, 30), text]]
    alone = [answer(a) for a in asks]
    with concurrent.futures.ThreadPoolExecutor(len(asks)) as pool:
        assert list(pool.map(answer, asks, [True, False, True, False])) == alone
    assert len({str(a) for a in alone}) == len(asks) and all(len(a) == 5 for a in alone)
    assert not [line for line in s.lines if "cusim" in line and '"error"' in line], s.lines
