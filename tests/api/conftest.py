"""Fixtures of the API tests: a server on the default model, clients, screenshots.

OPENAUTOGLM_BIN names the program (build/openautoglm), so that sanitizer builds
run the same tests; TEST_SLOW=1 multiplies the patience.
"""

import base64
import functools
import http.client
import io
import json
import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import openai
import pytest
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parents[2]
BIN = os.path.abspath(os.environ.get("OPENAUTOGLM_BIN", ROOT / "build" / "openautoglm"))
MODEL = ROOT / "models" / "open-autoglm-v1"
PATIENCE = 120 * (5 if os.environ.get("TEST_SLOW") else 1)


@functools.lru_cache(maxsize=64)
def png(number, size=(144, 288)):
    """A screenshot of its own for every number."""
    im = Image.new("RGB", size, ((37 * number) % 256, 200, (91 * number) % 256))
    draw = ImageDraw.Draw(im)
    for i in range(5):
        y = 20 + 50 * i
        draw.rectangle([10 + 3 * (number % 7), y, 60 + 11 * (number % 8), y + 30],
                       fill=(255, (60 * i + number) % 256, 40 * i))
    out = io.BytesIO()
    im.save(out, "PNG")
    return out.getvalue()


def data_url(data, mime="image/png"):
    return f"data:{mime};base64," + base64.b64encode(data).decode()


def image_part(number):
    return {"type": "image_url", "image_url": {"url": data_url(png(number))}}


def ask(text, *images):
    return [{"role": "user", "content": [*map(image_part, images), {"type": "text", "text": text}]}]


class Server:
    """A running `openautoglm serve`."""

    def __init__(self, *options, env=None, ready=True, preexec_fn=None, model=MODEL):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENAUTOGLM_")} | (env or {})
        self.lines = []
        self.process = subprocess.Popen(
            [BIN, "serve", *(["--model", str(model)] if model else []), "--port", "0", *options],
            cwd=ROOT, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
            preexec_fn=preexec_fn)
        self.port = None
        for line in self.process.stderr:
            self.lines.append(line)
            if m := re.search(r"listening on http://\S+:(\d+)", line):
                self.port = int(m[1])
                break
        if self.port is None:
            raise RuntimeError("the server did not start:\n" + "".join(self.lines))
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.process.stderr), daemon=True)
        self.reader.start()
        if ready:
            self.wait_ready()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def wait_ready(self):
        end = time.monotonic() + PATIENCE
        while self.get("/ready")[0] != 200:
            assert time.monotonic() < end and self.process.poll() is None, "".join(self.lines)
            time.sleep(0.05)

    def request(self, method, path, body=None, headers=None):
        """status, headers (lower case), body as bytes"""
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        c.request(method, path, body=body, headers=headers or {})
        r = c.getresponse()
        out = r.status, {k.lower(): v for k, v in r.getheaders()}, r.read()
        c.close()
        return out

    def get(self, path, **headers):
        return self.request("GET", path, headers=headers)

    def post(self, path, body, **headers):
        status, head, data = self.request("POST", path, json.dumps(body),
                                          {"Content-Type": "application/json", **headers})
        return status, json.loads(data)

    def metrics(self):
        text = self.get("/metrics")[2].decode()
        return {m[1]: float(m[2]) for m in re.finditer(r"^([^#\s]\S*) (\S+)$", text, re.M)}

    def wait_idle(self, seconds=30):
        """Until no request has a place any more."""
        end = time.monotonic() + seconds * PATIENCE / 120
        while True:
            m = self.metrics()
            busy = m["openautoglm_generations"] + m["openautoglm_requests_running"] + m["openautoglm_requests_waiting"]
            if busy == 0:
                return
            assert time.monotonic() < end, f"{busy} requests still hold a place"
            time.sleep(0.05)

    def client(self, **kw):
        return openai.OpenAI(base_url=self.url + "/v1", api_key=kw.pop("api_key", "EMPTY"), max_retries=0,
                             timeout=PATIENCE, **kw)

    def stop(self, sig=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(sig)
        code = self.process.wait(PATIENCE)
        self.reader.join(PATIENCE)         # its last lines, too
        if code != 0:
            print("".join(self.lines))
        return code


class Loading:
    """A server that goes on loading until it is let: it wants to write a trace into a pipe that nobody reads yet."""

    def __init__(self, start, folder, *options):
        self.fifo = folder / "trace"
        os.mkfifo(self.fifo)
        self.server = start("--trace", str(self.fifo), *options, ready=False)

    def let(self):
        def read_all():
            with self.fifo.open("rb") as f:
                while f.read(1 << 16):
                    pass
        threading.Thread(target=read_all, daemon=True).start()
        self.server.wait_ready()


@pytest.fixture
def loading(start, tmp_path):
    return lambda *options: Loading(start, tmp_path, *options)


@pytest.fixture(scope="session")
def server():
    s = Server()
    yield s
    assert s.stop() == 0, "".join(s.lines[-50:])


@pytest.fixture
def client(server):
    return server.client()


@pytest.fixture
def start():
    """Starts servers with options of their own and stops them after the test."""
    running = []

    def run(*options, **kw):
        running.append(Server(*options, **kw))
        return running[-1]

    yield run
    for s in running:
        if s.process.poll() is None:
            assert s.stop() == 0, "".join(s.lines[-50:])
