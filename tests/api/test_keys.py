"""API keys of a file: names, limits, the headers that tell them, and SIGHUP."""

import fcntl
import http.client
import json
import os
import pty
import signal
import subprocess
import termios
import threading
import time

import openai
import pytest

from conftest import BIN, MODEL, PATIENCE

CHAT = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2, "ignore_eos": True}


def key_file(folder, text, mode=0o600):
    path = folder / "keys"
    path.write_text(text)
    path.chmod(mode)
    return path


def post(server, key, body=CHAT):
    status, headers, data = server.request("POST", "/v1/chat/completions", json.dumps(body),
                                           {"Authorization": f"Bearer {key}"})
    return status, headers, json.loads(data)


def until_logged(server, text):
    end = time.monotonic() + PATIENCE
    while not any(text in line for line in server.lines):
        assert time.monotonic() < end, "".join(server.lines)
        time.sleep(0.02)


def row(server, name, key):
    text = server.get("/metrics", Authorization=f"Bearer {key}")[2].decode()
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1])
            for line in text.splitlines() if not line.startswith("#")}[name]


def test_limits(start, tmp_path):
    keys = key_file(tmp_path, "# who may ask\nalice k1 rpm=3\nbob k2 tpm=500\nadmin k3\n")
    s = start("--api-key-file", str(keys))
    assert post(s, "k4")[0] == 401 and post(s, "alice")[0] == 401 and s.get("/v1/models")[0] == 401
    for left in (2, 1, 0):
        status, headers, _ = post(s, "k1")
        assert status == 200 and headers["x-ratelimit-limit-requests"] == "3"
        assert headers["x-ratelimit-remaining-requests"] == str(left)
        assert headers["x-ratelimit-reset-requests"].endswith("s") and "x-ratelimit-limit-tokens" not in headers
    status, headers, body = post(s, "k1")
    assert status == 429 and body["error"]["code"] == "rate_limit_exceeded" and "3 requests per minute" in str(body)
    assert 1 <= int(headers["retry-after"]) <= 20 and headers["x-ratelimit-remaining-requests"] == "0"
    with pytest.raises(openai.RateLimitError):
        s.client(api_key="k1").chat.completions.create(model="open-autoglm-v1", **{k: CHAT[k] for k in ("messages",)})
    assert s.get("/v1/models", Authorization="Bearer k1")[0] == 200          # only what is posted counts
    assert json.loads(s.request("POST", "/v1/messages", json.dumps(CHAT), {"x-api-key": "k1"})[2])["type"] == "error"
    status, headers, body = post(s, "k2", CHAT | {"max_tokens": 600})
    assert status == 200 and headers["x-ratelimit-limit-tokens"] == "500"
    status, headers, body = post(s, "k2")
    assert status == 429 and "500 tokens per minute" in body["error"]["message"] and int(headers["retry-after"]) > 10
    status, headers, _ = post(s, "k3")
    assert status == 200 and not [name for name in headers if name.startswith("x-ratelimit")]
    assert row(s, 'openautoglm_key_requests_total{key="alice"}', "k3") == 3
    assert row(s, 'openautoglm_key_limited_total{key="alice",limit="requests"}', "k3") == 3
    assert row(s, 'openautoglm_key_tokens_total{key="bob"}', "k3") > 600
    assert not any(k in line for line in s.lines for k in ("k1", "k2", "k3"))


class Stream(threading.Thread):
    """A streamed answer of so many tokens; `begun` once its first piece is there."""

    def __init__(self, server, key, tokens):
        super().__init__()
        self.begun, self.text = threading.Event(), b""
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        self.body = json.dumps(CHAT | {"stream": True, "max_tokens": tokens})
        self.key = key
        self.start()

    def run(self):
        self.connection.request("POST", "/v1/chat/completions", self.body, {"Authorization": f"Bearer {self.key}"})
        r = self.connection.getresponse()
        while piece := r.read1():
            self.text += piece
            self.begun.set()
        self.connection.close()


def test_reload_while_a_stream_runs(start, tmp_path):
    keys = key_file(tmp_path, "old k1 concurrent=1\nboth k2\n")
    s = start("--api-key-file", str(keys))
    stream = Stream(s, "k1", 1500)
    assert stream.begun.wait(PATIENCE)
    status, headers, body = post(s, "k1")
    assert status == 429 and "1 requests at one time" in body["error"]["message"] and headers["retry-after"] == "1"
    keys.write_text("both k2\nnew k3 rpm=0\n")
    s.process.send_signal(signal.SIGHUP)
    until_logged(s, "stay as they were")
    assert any(f"{keys}: line 2: rpm= wants" in line for line in s.lines) and post(s, "k2")[0] == 200
    keys.write_text("both k2\nnew k3\n")
    s.process.send_signal(signal.SIGHUP)
    until_logged(s, "SIGHUP: 2 API keys")
    assert post(s, "k1")[0] == 401 and post(s, "k3")[0] == 200
    stream.join(PATIENCE)
    assert stream.text.endswith(b"data: [DONE]\n\n") and stream.text.count(b"data: ") > 2
    assert row(s, 'openautoglm_key_running{key="both"}', "k2") == 0


def test_a_stream_counts_its_tokens(start, tmp_path):
    s = start("--api-key-file", str(key_file(tmp_path, "a k1\n")))
    stream = Stream(s, "k1", 50)
    stream.join(PATIENCE)
    assert row(s, 'openautoglm_key_tokens_total{key="a"}', "k1") > 50
    assert row(s, 'openautoglm_key_running{key="a"}', "k1") == 0


def test_file_that_others_may_read(start, tmp_path):
    s = start("--api-key-file", str(key_file(tmp_path, "k1\n", 0o644)))
    assert any("warn" in line and "mode 0644" in line for line in s.lines)
    s = start("--api-key-file", str(key_file(tmp_path, "k1\n")))
    assert not any("mode 0" in line for line in s.lines) and post(s, "k1")[0] == 200


@pytest.mark.parametrize("text, says", [("", "no key"), ("a k1\na k2\n", "line 2"), ("secret rpm=5\n", "needs a name")])
def test_a_wrong_file_is_no_start(tmp_path, text, says):
    path = key_file(tmp_path, text)
    out = subprocess.run([BIN, "serve", "--port", "0", "--api-key-file", path], capture_output=True, text=True,
                         timeout=PATIENCE)
    assert out.returncode == 2 and f"option api-key-file: {path}" in out.stderr and says in out.stderr
    assert "secret" not in out.stderr


def test_sighup_without_a_file(start):
    s = start()
    s.process.send_signal(signal.SIGHUP)
    until_logged(s, "nothing to read again")
    assert s.get("/health")[0] == 200


def test_a_closed_terminal_ends_it():
    """The kernel's SIGHUP to whoever runs on a terminal is no request to read files again."""
    master, slave = pty.openpty()

    def own_terminal():
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

    p = subprocess.Popen([BIN, "serve", "--model", MODEL, "--port", "0", "--log-format", "text"], stdin=slave,
                         stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=own_terminal)
    os.close(slave)
    while "ready after" not in p.stderr.readline():
        assert p.poll() is None
    os.close(master)
    assert p.wait(PATIENCE) == 0
    assert "stopped" in p.stderr.read()
    p.stderr.close()
