"""`openautoglm bench`: what it sends, what it measures, and that it survives whatever a server answers."""

import base64
import io
import json
import os
import re
import signal
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from conftest import BIN, PATIENCE, ROOT
from test_commands import run


class Fake(ThreadingHTTPServer):
    """A server of OpenAI's API that keeps what it is asked and answers what the test says."""

    daemon_threads = True

    def __init__(self):
        self.asked, self.lock, self.at_once, self.most_at_once = [], threading.Lock(), 0, 0
        self.answer, self.keys, self.started = stream, [], []
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        body = b'{"data": [{"id": "fake-model"}]}' if self.path == "/v1/models" else b"{}"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        s = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with s.lock:
            number = len(s.asked)
            s.asked.append(body)
            s.keys.append(self.headers["Authorization"])
            s.started.append(time.monotonic())
            s.at_once += 1
            s.most_at_once = max(s.most_at_once, s.at_once)
        try:
            s.answer(self, number)
        except OSError:
            pass
        with s.lock:
            s.at_once -= 1

    def begin(self, status=200, kind="text/event-stream"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def event(self, text):
        self.wfile.write(b"data: " + text.encode() + b"\n\n")
        self.wfile.flush()


def piece(text, **more):
    return json.dumps({"choices": [{"delta": {"content": text}} | more]})


def stream(handler, number, pieces=4, usage=True):
    handler.begin()
    handler.event('{"choices":[{"delta":{"role":"assistant","content":""}}]}')
    handler.wfile.write(b": keep-alive\r\n\r\n")
    for i in range(pieces):
        time.sleep(0.02)
        handler.event(piece("x"))
    handler.event(piece("", finish_reason="stop"))
    if usage:
        handler.event('{"choices":[],"usage":{"prompt_tokens":50,"completion_tokens":%d}}' % (2 * pieces))
    handler.event("[DONE]")


@pytest.fixture
def fake():
    server = Fake()
    yield server
    server.shutdown()
    server.server_close()


def bench(server, *options, status=0):
    r = run("bench", "--url", server.url, "--json", *options)
    assert r.returncode == status, r
    return json.loads(r.stdout), r


SMALL = ("--image-size", "40x60", "--prompt-words", "9")


def test_what_it_sends(fake):
    out, _ = bench(fake, "--requests", "7", "--concurrency", "3", "--images", "2", "--max-tokens", "5", "--seed", "3",
                   "--api-key", "sesame", "--ignore-eos", *SMALL)
    assert out["completed"] == 7 and out["failed"] == 0 and len(fake.asked) == 7 and 1 < fake.most_at_once <= 3
    assert out["model"] == "fake-model" and set(fake.keys) == {"Bearer sesame"}
    texts, pictures = set(), set()
    for body in fake.asked:
        assert body["model"] == "fake-model" and body["stream"] and body["stream_options"] == {"include_usage": True}
        assert body["max_tokens"] == 5 and body["temperature"] == 0 and body["ignore_eos"]
        *images, text = body["messages"][0]["content"]
        assert len(images) == 2 and len(text["text"].split()) == 9
        texts.add(text["text"])
        for part in images:
            head, data = part["image_url"]["url"].split(",")
            assert head == "data:image/png;base64"
            im = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
            im.load()
            assert im.size == (40, 60) and len(im.getcolors(1 << 20)) > 4
            pictures.add(data)
    assert len(texts) == 7 and len(pictures) == 14
    first = sorted(json.dumps(b) for b in fake.asked)
    fake.asked.clear()
    bench(fake, "--requests", "7", "--images", "2", "--max-tokens", "5", "--seed", "3", "--ignore-eos", *SMALL)
    assert sorted(json.dumps(b) for b in fake.asked) == first, "the same seed asks for the same"
    fake.asked.clear()
    bench(fake, "--requests", "1", "--images", "0", "--seed", "4", "--model", "mine", *SMALL)
    [body] = fake.asked
    assert [p["type"] for p in body["messages"][0]["content"]] == ["text"] and body["model"] == "mine"
    assert "ignore_eos" not in body and body["max_tokens"] == 64


def test_what_it_measures(fake):
    out, _ = bench(fake, "--requests", "6", "--concurrency", "2", *SMALL)
    assert (out["completed"], out["prompt_tokens"], out["completion_tokens"]) == (6, 300, 48)
    assert out["tokens_counted_by_server"] and out["errors"] == {}
    assert out["ttft_ms"]["count"] == out["e2e_ms"]["count"] == out["tpot_ms"]["count"] == 6
    assert out["itl_ms"]["count"] == 6 * 3, "the role alone, keep-alives and the end are no pieces"
    for name, least in (("ttft_ms", 20), ("itl_ms", 5), ("e2e_ms", 80), ("tpot_ms", 60 / 7 * 0.5)):
        t = out[name]
        assert least <= t["p50"] <= t["p90"] <= t["p95"] <= t["p99"] <= t["max"], name
        assert least <= t["mean"] <= t["max"], name
    assert out["e2e_ms"]["p50"] > out["ttft_ms"]["p50"] + 50
    assert out["answers_per_second"] == pytest.approx(6 / out["seconds"])
    fake.answer = lambda h, n: stream(h, n, usage=False)
    out, _ = bench(fake, "--requests", "2", *SMALL)
    assert out["completion_tokens"] == 8 and not out["tokens_counted_by_server"]


def cut(handler, number):
    handler.begin()
    handler.event(piece("x"))


def refuse(handler, number):
    handler.begin(429, "application/json")
    handler.wfile.write(b'{"error": {"message": "come \\u001b[2J later"}}')


def fail_inside(handler, number):
    handler.begin()
    handler.event(piece("x"))
    handler.event('{"error": {"message": "the engine is down", "code": 500}}')
    handler.event("[DONE]")


def nonsense(handler, number):
    handler.begin()
    for text in ("{", "[1,2]", '"text"', '{"choices": 5}', '{"choices": [{"delta": 3}], "usage": []}', "\0\xff" * 99):
        handler.event(text)


def no_http(handler, number):
    handler.wfile.write(b"220 mail.example ESMTP\r\n")
    handler.close_connection = True


def endless(handler, number):
    handler.begin()
    for _ in range(80):
        handler.wfile.write(b"x" * (1 << 16))


@pytest.mark.parametrize("answer, says", [
    (cut, "the stream ended in the middle"), (refuse, "429: come ?[2J later"), (fail_inside, "the engine is down"),
    (nonsense, "the stream ended in the middle"), (no_http, None), (endless, "an event is too long"),
    (lambda h, n: h.begin(503), "status 503"), (lambda h, n: h.begin(200), "the stream ended in the middle")])
def test_answers_that_are_none(fake, answer, says):
    fake.answer = lambda h, n: answer(h, n) if n % 2 else stream(h, n, 1)
    out, r = bench(fake, "--requests", "4", "--concurrency", "1", *SMALL, status=1)
    assert (out["completed"], out["failed"]) == (2, 2) and sum(out["errors"].values()) == 2
    assert says is None or list(out["errors"]) == [says], out["errors"]


def test_rate_and_duration(fake):
    """Not a timed test: requests that come at a rate do not wait for answers, and none begins after the duration."""
    fake.answer = lambda h, n: (time.sleep(0.3), stream(h, n, 1))
    out, _ = bench(fake, "--rate", "40", "--duration", "0.5", "--concurrency", "200", "--images", "0")
    assert out["failed"] == 0 and out["completed"] == len(fake.asked) == out["options"]["requests"]
    assert fake.most_at_once > 3 and max(fake.started) - min(fake.started) < 0.5 + PATIENCE / 60


def test_the_table_and_the_file(fake, tmp_path):
    r = run("bench", "--url", fake.url + "/v1/", "--requests", "3", *SMALL, "--json", tmp_path / "out.json")
    out = json.loads((tmp_path / "out.json").read_text())
    assert r.returncode == 0 and out["completed"] == 3 and out["url"] == fake.url + "/v1", r
    assert re.search(r"answered +3 in \d+\.\d\d s, 0 failed", r.stdout) and not r.stderr
    row = re.search(r"^  first piece +" + r"([\d.]+) +" * 5 + r"([\d.]+)$", r.stdout, re.M)
    assert float(row[1]) == pytest.approx(out["ttft_ms"]["mean"], abs=0.06), r.stdout
    assert all(len(line) < 100 for line in r.stdout.splitlines())
    r = run("bench", "--url", fake.url, "--requests", "1", *SMALL, "--json", "/nowhere/out.json")
    assert r.returncode == 1 and "/nowhere/out.json" in r.stderr


def test_what_is_wrong_with_the_command(fake):
    for args, word in [(("--url", "ftp://x"), "url"), (("--url", "nonsense"), "url"), (("--image-size", "9x"), "9x"),
                       (("--image-size", "0x5"), "0x5"), (("--image-size", "9999x5"), "8192"), (("extra",), "extra"),
                       (("--json", "a", "b"), "'b'"), (("--requests", "0"), "requests"), (("--port", "1"), "port")]:
        r = run("bench", *args)
        assert r.returncode == 2 and word in r.stderr and len(r.stderr.splitlines()) == 1, r
    r = run("bench", "--url", "http://127.0.0.1:1")
    assert r.returncode == 1 and "http://127.0.0.1:1/v1/models" in r.stderr and len(r.stderr.splitlines()) == 1, r


def test_a_bar_on_a_terminal_and_ctrl_c(fake):
    fake.answer = lambda h, n: stream(h, n, 4 if n < 3 else 100000)
    mine, theirs = os.openpty()
    p = subprocess.Popen([BIN, "bench", "--url", fake.url, "--requests", "50", "--concurrency", "1", *SMALL],
                         cwd=ROOT, stdout=subprocess.PIPE, stderr=theirs, text=True)
    os.close(theirs)
    said = b""
    while b" 3 answered" not in said:
        said += os.read(mine, 4096)
    p.send_signal(signal.SIGINT)
    out, _ = p.communicate(timeout=PATIENCE)
    os.close(mine)
    assert p.returncode == 0 and re.search(r"answered +3 in", out) and b"\r[" in said, (out, said)


def test_our_own_server(server):
    r = run("bench", "--url", server.url, "--requests", "4", "--concurrency", "2", "--max-tokens", "3", "--image-size",
            "144x288", "--json")
    out = json.loads(r.stdout)
    assert r.returncode == 0 and out["completed"] == 4 and out["model"] == "open-autoglm-v1", r
    assert out["prompt_tokens"] > 100 and 0 < out["completion_tokens"] <= 12 and out["tokens_counted_by_server"]
