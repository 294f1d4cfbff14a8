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

from conftest import BIN, MODEL, PATIENCE, ROOT

CHAT = json.dumps({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}).encode()


def serve(stderr, *options, preexec_fn=None):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENAUTOGLM_")}
    return subprocess.Popen([BIN, "serve", "--model", str(MODEL), "--port", "0", "--log-level", "debug", *options],
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


def test_standard_error_that_nobody_reads():
    """Every request logs more than one line: four times what the buffer and a pipe hold together."""
    reading, writing = os.pipe()
    os.set_blocking(reading, True)
    p = serve(writing)
    os.close(writing)
    lines = os.fdopen(reading, "r", errors="replace")
    port = port_of(lines.readline)
    wait_ready(port)
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    for i in range(12000):
        c.request("GET", "/v1/models", headers={"X-Request-Id": "x" * 60})
        assert c.getresponse().read()
    c.close()
    assert chat(port) == 200
    p.send_signal(signal.SIGTERM)
    assert p.wait(PATIENCE) == 0           # without a reader to the end
    lines.close()


def test_the_log_says_what_is_missing():
    reading, writing = os.pipe()
    p = serve(writing)
    os.close(writing)
    lines = os.fdopen(reading, "r", errors="replace")
    port = port_of(lines.readline)
    wait_ready(port)
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    for i in range(6000):
        c.request("GET", "/v1/models", headers={"X-Request-Id": f"r{i:04}" + "x" * 60})
        assert c.getresponse().read()
    c.close()
    text = []
    reader = threading.Thread(target=lambda: text.append(lines.read()))
    reader.start()
    assert chat(port) == 200
    p.send_signal(signal.SIGTERM)
    assert p.wait(PATIENCE) == 0
    reader.join()
    lines.close()
    told = [int(x) for x in re.findall(r" warn (\d+) lines of the log are missing here", text[0])]
    there = re.findall(r" debug (r\d{4})x+ GET", text[0])
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
