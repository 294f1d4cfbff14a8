"""Uploads larger than a screen: full-page screenshots and photos of 48
megapixels are resized as any other picture, without being in memory whole."""

import io
import json
import os
import subprocess

import openai
import pytest
from PIL import Image

from conftest import BIN, MODEL, Server, data_url


def picture(w, h):
    """Ramps and tiles; cheap to make and to compress."""
    tile = Image.merge("RGB", [Image.linear_gradient("L").resize((97, 61)),
                               Image.radial_gradient("L").resize((97, 61)), Image.new("L", (97, 61), 90)])
    out = Image.new("RGB", (w, h), (240, 240, 235))
    for i in range(12):
        out.paste(tile.resize((w // 8, h // 16)), (w * (i % 4) // 4, h * (i // 4) // 3))
    return out


def encoded(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def ask(server, data):
    message = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": data_url(data)}},
                                           {"type": "text", "text": "Tap on Wi-Fi"}]}
    answer = server.client().chat.completions.create(model=MODEL.name, temperature=0, max_tokens=4, logprobs=True,
                                                     messages=[message])
    return [(t.token, t.logprob) for t in answer.choices[0].logprobs.content], answer.usage.prompt_tokens


def shown(path):
    return json.loads(subprocess.run([BIN, "preprocess", "--model", MODEL, "--image", path], capture_output=True,
                                     check=True).stdout)


def peak(server):
    status = open(f"/proc/{server.process.pid}/status").read()
    return int(status.split("VmHWM:")[1].split()[0]) << 10


CASES = {
    "page.png": (1080, 6000, "PNG", {}), "tall.png": (360, 4200, "PNG", {}),
    "wide.webp": (9000, 700, "WEBP", {"quality": 70}),
    "photo.jpg": (4500, 4000, "JPEG", {"quality": 60}), "turned.jpg": (2000, 4500, "JPEG", {"quality": 60}),
    "progressive.jpg": (4200, 2000, "JPEG", {"quality": 60, "progressive": True}),
}


def test_larger_than_a_screen(server, tmp_path):
    """The same bits as the answer to what Pillow makes of the picture."""
    for name, (w, h, kind, options) in CASES.items():
        exif = Image.Exif()
        exif[0x0112] = 6 if name == "turned.jpg" else 1
        data = encoded(picture(w, h), kind, exif=exif, **options)
        (tmp_path / name).write_bytes(data)
        upright = Image.open(io.BytesIO(data))
        if name == "turned.jpg":
            upright = upright.transpose(Image.Transpose.ROTATE_270)
        size = shown(tmp_path / name)["resized"]
        small = encoded(upright.convert("RGB").resize(size, Image.Resampling.BICUBIC), "PNG")
        assert ask(server, data) == ask(server, small), name


@pytest.mark.skipif("TEST_SLOW" in os.environ, reason="the sanitizers keep what was freed")
def test_a_photo_is_never_in_memory_whole():
    server = Server("--max-num-seqs", "2")
    try:
        ask(server, encoded(picture(1024, 768), "PNG"))       # what the model takes for a picture of this shape
        before = peak(server)
        for kind in ("JPEG", "PNG"):
            ask(server,
                encoded(picture(8064, 6048), kind, **({"quality": 60} if kind == "JPEG" else {"compress_level": 1})))
        assert peak(server) - before < 12 << 20        # of 146 MB
    finally:
        server.stop()


def test_limits_on_uploads():
    server = Server("--max-image-pixels", "1000000", "--max-image-side", "5000")
    try:
        ask(server, encoded(picture(1000, 1000), "PNG"))
        for w, h, said in [(1001, 1000, "1001x1000 has more than 1000000 pixels"),
                           (5001, 100, "5001x100 is larger than 5000 a side")]:
            with pytest.raises(openai.BadRequestError) as e:
                ask(server, encoded(picture(w, h), "PNG"))
            assert e.value.param == "messages[0].content[0].image_url.url" and said in e.value.message
    finally:
        server.stop()
