"""Standard error that takes nothing - a pipe that nobody reads, a file that may not grow - neither ends the server nor
holds anybody up."""

import http.client
import json
import os
import re
import resource
import signal
import subprocess
import threading
import time

import pytest

from conftest import BIN, MODEL, PATIENCE, ROOT, ask

CHAT = json.dumps({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}).encode()


def serve(stderr, *options, preexec_fn=None):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENAUTOGLM_")}
    return subprocess.Popen([BIN, "serve", "--model", str(MODEL), "--port", "0", "--log-format", "text", *options],
                            cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=stderr, preexec_fn=preexec_fn)


def port_of(read_line):
    while not (m := re.search(r"listening on http://\S+:(\d+)", read_line())):
        pass
    return int(m[1])


def chat(port):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    c.request("POST", "/v1/chat/completions", CHAT)
    status = c.getresponse().status
    c.close()
    return status


def wait_ready(port):
    end = time.monotonic() + PATIENCE
    while True:
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        c.request("GET", "/ready")
        status = c.getresponse().status
        c.close()
        if status == 200:
            return
        assert time.monotonic() < end
        time.sleep(0.05)


def serve_into_a_pipe():
    """(process, port, file): a server whose standard error is read up to the line that names its port."""
    reading, writing = os.pipe()
    p = serve(writing)
    os.close(writing)
    lines = os.fdopen(reading, "r", errors="replace")
    port = port_of(lines.readline)
    wait_ready(port)
    return p, port, lines


def request_often(port, n, name):
    """n requests over one connection; name(i) is the id of each, which its line of the log has."""
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    for i in range(n):
        c.request("GET", "/v1/models", headers={"X-Request-Id": name(i)})
        assert c.getresponse().read()
    c.close()


def test_standard_error_that_nobody_reads():
    """Every request logs a line: four times what the buffer and a pipe hold together."""
    p, port, lines = serve_into_a_pipe()
    request_often(port, 12000, lambda i: "x" * 60)
    assert chat(port) == 200
    p.send_signal(signal.SIGTERM)
    assert p.wait(PATIENCE) == 0           # without a reader to the end
    lines.close()


def test_the_log_says_what_is_missing():
    p, port, lines = serve_into_a_pipe()
    request_often(port, 6000, lambda i: f"r{i:04}" + "x" * 60)
    text = []
    reader = threading.Thread(target=lambda: text.append(lines.read()))
    reader.start()
    assert chat(port) == 200
    p.send_signal(signal.SIGTERM)
    assert p.wait(PATIENCE) == 0
    reader.join()
    lines.close()
    told = [int(x) for x in re.findall(r" warn (\d+) lines of the log are missing here", text[0])]
    there = re.findall(r" info request id=(r\d{4})x+ method=GET", text[0])
    assert told and there == sorted(there) and sum(told) + len(there) >= 6000 and text[0].endswith("stopped\n")


def test_a_log_that_may_not_grow(tmp_path):
    """`ulimit -f`: the signal that comes with it does not end the process."""
    log = tmp_path / "log"
    with log.open("wb") as f:
        p = serve(f, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)))
    end = time.monotonic() + PATIENCE
    while "listening" not in log.read_text():
        assert p.poll() is None and time.monotonic() < end
        time.sleep(0.01)
    port = port_of(iter(log.read_text().splitlines()).__next__)
    wait_ready(port)
    for _ in range(50):
        assert chat(port) == 200
    assert log.stat().st_size == 4096
    p.send_signal(signal.SIGTERM)
    assert p.wait(PATIENCE) == 0


def records(server, request_id):
    """The lines of the log with this id, once there is one: it is written after the answer was sent."""
    end = time.monotonic() + PATIENCE
    while not (found := [json.loads(x) for x in server.lines if request_id in x]):
        assert time.monotonic() < end, "".join(server.lines[-20:])
        time.sleep(0.01)
    return found


@pytest.mark.parametrize("stream", [False, True])
def test_a_line_for_every_request(server, stream):
    body = {"messages": ask("what is this?", 1), "max_tokens": 5, "ignore_eos": True, "stream": stream}
    for name, cached in (("first", False), ("second", True)):
        status, head, data = server.request("POST", "/v1/chat/completions", json.dumps(body),
                                            {"X-Request-Id": f"line-{name}-{stream}"})
        assert status == 200
        [r] = records(server, f"line-{name}-{stream}")
        assert r["level"] == "info" and r["message"] == "request" and r["method"] == "POST" and r["status"] == 200
        assert r["path"] == "/v1/chat/completions" and r["answer"] in data.decode() and "error" not in r
        assert r["completion_tokens"] == 5 and r["finish"] == "length" and 0 < r["image_tokens"] < r["prompt_tokens"]
        assert 0 <= r["cached_tokens"] < r["prompt_tokens"]
        if cached:
            assert r["cached_tokens"] > 0 and r["encode_ms"] == 0
        parts = sum(r[k] for k in ("prepare_ms", "queue_ms", "encode_ms", "prefill_ms", "decode_ms"))
        assert r["prefill_ms"] > 0 and parts <= r["ms"] + 1
        if not stream:
            usage = json.loads(data)["usage"]
            assert usage["prompt_tokens"] == r["prompt_tokens"]
            assert usage["prompt_tokens_details"] == {k: r[k] for k in ("cached_tokens", "image_tokens")}


def test_lines_of_other_requests(server):
    server.request("POST", "/v1/chat/completions", "{", {"X-Request-Id": "line-bad"})
    [r] = records(server, "line-bad")
    assert r["status"] == 400 and r["error"] == "invalid_json" and "prompt_tokens" not in r
    server.request("GET", "/no/%22%C3%A4%5C%FF/" + "x" * 900, headers={"X-Request-Id": "line-long"})
    [r] = records(server, "line-long")
    assert r["path"].startswith('/no/"\u00e4\\?/xxx') and len(r["path"]) < 400 and r["status"] == 404
    for _ in range(3):
        server.get("/health", **{"X-Request-Id": "line-probe"})
    server.get("/v1/models", **{"X-Request-Id": "line-models"})
    records(server, "line-models")
    assert not [x for x in server.lines if "line-probe" in x], "probes are told at debug"


def test_what_was_said_is_not_logged(server):
    server.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "sesame-in"}], "max_tokens": 3},
                **{"X-Request-Id": "line-secret"})
    server.post("/v1/chat/completions", {"messages": [{"role": "sesame-in", "content": 3}]},
                **{"X-Request-Id": "line-refused"})
    records(server, "line-secret"), records(server, "line-refused")
    assert "sesame" not in "".join(server.lines)


def test_every_line_is_json(start):
    """Where standard error is no terminal; --log-format text has the other form anywhere."""
    s = start("--log-level", "debug")
    s.get("/v1/models")
    assert s.stop() == 0
    lines = [json.loads(x) for x in s.lines]
    assert {"info", "debug"} <= {x["level"] for x in lines} and lines[-1]["message"] == "stopped"
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", x["time"]) for x in lines)
    s = start("--log-format", "text")
    s.get("/v1/models", **{"X-Request-Id": "a=b"})
    assert s.stop() == 0
    assert [x for x in s.lines if re.fullmatch(r'\S+Z info request id="a=b" method=GET path=/v1/models status=200 '
                                               r"ms=\d+\.\d\n", x)], s.lines


def test_lines_for_people_on_a_terminal():
    """Text, and colours for what is amiss, unless NO_COLOR is set."""
    for colours in (True, False):
        mine, theirs = os.openpty()
        env = os.environ | {"TERM": "xterm"} | ({} if colours else {"NO_COLOR": "1"})
        p = subprocess.Popen([BIN, "serve", "--model", str(MODEL), "--port", "0", "--device", "cpu",
                              "--gpu-memory-fraction", "0.5"], cwd=ROOT, env=env, stderr=theirs)
        os.close(theirs)
        said = b""
        while b"listening" not in said:
            said += os.read(mine, 4096)
        p.send_signal(signal.SIGTERM)
        assert p.wait(PATIENCE) == 0
        os.close(mine)
        assert (b"\x1b[33mwarn\x1b[0m --gpu-memory-fraction" in said) == colours and b" info listening" in said, said
        assert b"{" not in said
