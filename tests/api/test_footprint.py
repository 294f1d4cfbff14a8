"""What the server takes of the machine's memory, and that it gives it back."""

import io
import json
import os
import random
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from conftest import BIN, MODEL, PATIENCE, ask, data_url, png

pytestmark = pytest.mark.skipif("TEST_SLOW" in os.environ, reason="the sanitizers' own memory is not what is meant")
MIB = 1 << 20


def plan(*options):
    r = subprocess.run([BIN, "plan", "--json", "--model", MODEL, *options], capture_output=True, text=True, check=True)
    return json.loads(r.stdout)


def memory(server):
    """VmRSS, VmHWM, RssAnon ... in bytes"""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return {m[1]: int(m[2]) << 10 for m in re.finditer(r"^(\w+):\s+(\d+) kB$", status, re.M)}


def noise(seed, side):
    """A PNG that cannot be compressed."""
    out = io.BytesIO()
    Image.frombytes("RGB", (side, side), random.Random(seed).randbytes(3 * side * side)).save(out, "PNG",
                                                                                              compress_level=0)
    return out.getvalue()


def question(picture):
    part = {"type": "image_url", "image_url": {"url": data_url(picture)}}
    text = {"type": "text", "text": "Tap \"Camera\""}
    return {"model": "open-autoglm-v1", "max_tokens": 8, "messages": [{"role": "user", "content": [part, text]}]}


def test_a_small_model_is_a_small_process(start):
    s = start()
    assert 4 * memory(s)["VmHWM"] < plan()["total_bytes"]
    assert s.post("/v1/chat/completions", {"model": "open-autoglm-v1", "messages": ask("Tap the button", 1),
                                           "max_tokens": 4})[0] == 200
    assert 2 * memory(s)["VmHWM"] < plan()["total_bytes"]


def test_memory_of_large_requests_goes_back(start):
    s = start()
    large = [question(noise(seed, 2400)) for seed in range(4)]         # 17 MB each
    assert s.post("/v1/chat/completions", large[0])[0] == 200          # what is kept for good is there now
    time.sleep(2)
    before = memory(s)["RssAnon"]
    with ThreadPoolExecutor(4) as pool:
        assert [status for status, _ in pool.map(lambda q: s.post("/v1/chat/completions", q), large)] == [200] * 4
    end = time.monotonic() + PATIENCE
    while memory(s)["RssAnon"] > before + 24 * MIB:
        assert time.monotonic() < end, f"{(memory(s)['RssAnon'] - before) / MIB:.0f} MiB are kept"
        time.sleep(0.1)


def test_the_plan_is_the_ceiling_under_load(start):
    """Large uploads and screenshots at the same time: some are refused, but memory never passes what was planned."""
    limits = "--max-body-bytes", "32M", "--max-body-total", "64M"
    s = start(*limits)
    large, screens = [question(noise(seed, 2400)) for seed in range(6)], [question(png(n, (1080, 2400)))
                                                                          for n in range(24)]
    with ThreadPoolExecutor(30) as pool:
        told = list(pool.map(lambda q: s.post("/v1/chat/completions", q), large + screens))
    for status, answer in told:
        assert status == 200 or (status == 503 and answer["error"]["code"] == "overloaded"), answer
    assert [status for status, _ in told].count(200) >= 8
    assert memory(s)["VmHWM"] <= plan(*limits)["total_bytes"]


def test_scratch_of_a_large_image_goes_back(start):
    s = start("--max-pixels", "600000")
    before = memory(s)["RssAnon"]
    assert s.post("/v1/chat/completions", question(noise(1, 1600)))[0] == 200
    assert memory(s)["VmHWM"] > before + 160 * MIB           # what encoding 585 tokens takes
    end = time.monotonic() + PATIENCE
    while memory(s)["RssAnon"] > before + 80 * MIB:
        assert time.monotonic() < end, f"{(memory(s)['RssAnon'] - before) / MIB:.0f} MiB are kept"
        time.sleep(0.1)
