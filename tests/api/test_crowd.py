"""Many clients at once: the same answers as alone, places freed by those that
leave, and nobody held up by the slow and the idle."""

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from conftest import PATIENCE, ROOT, ask

QUESTIONS = ["Tap the button", "What is the title?", "Go back", "Count the rows"]


def answer(client, i, stream=False):
    r = client.chat.completions.create(
        model="open-autoglm-v1", messages=ask(QUESTIONS[i % 4], i), temperature=0, max_tokens=16, stream=stream,
        frequency_penalty=0.2 if i % 3 == 0 else 0)
    if not stream:
        return r.choices[0].message.content
    return "".join(c.choices[0].delta.content or "" for c in r if c.choices)


def test_32_clients_get_what_they_get_alone(start):
    s = start("--no-prefix-cache")
    client = s.client()
    alone = [answer(client, i) for i in range(32)]
    assert len(set(alone)) > 4                       # the screenshots matter
    with ThreadPoolExecutor(32) as pool:
        together = list(pool.map(lambda i: answer(s.client(), i, stream=i % 2 == 0), range(32)))
    assert together == alone
    with ThreadPoolExecutor(32) as pool:             # and again, from the image cache
        assert list(pool.map(lambda i: answer(client, i), range(32))) == alone


def test_clients_of_an_emulated_gpu(start):
    """Eight, on the real sources of the CUDA backend, with room for the tokens of two, and two more that leave."""
    if not (ROOT / "build" / "libopenautoglm_cusim.so").exists():
        pytest.skip("`make cusim` was not run")
    s = start("--device", "cusim", "--max-num-seqs", "8", "--max-model-len", "256", "--kv-bytes", "600K",
              "--no-prefix-cache", "--min-pixels", "1024", "--max-pixels", "10000")
    leaving = [send(s, {"messages": ask("Tap", 90 + i), "stream": i == 0, "ignore_eos": True, "max_tokens": 100})
               for i in range(2)]
    with ThreadPoolExecutor(8) as pool:
        together = [pool.submit(answer, s.client(), i, i % 2 == 0) for i in range(8)]
        assert leaving[0].recv(64)
        for c in leaving:
            c.close()
        together = [t.result() for t in together]
    s.wait_idle()
    client = s.client()
    assert together == [answer(client, i) for i in range(8)] and len(set(together)) > 2
    assert not [x for x in s.lines if "cusim" in x and '"error"' in x], s.lines


def send(server, body):
    c = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
    data = json.dumps(body).encode()
    c.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
    return c


LONG = {"max_tokens": 1500, "ignore_eos": True, "temperature": 0}


@pytest.mark.parametrize("stream", [False, True])
def test_leaving_frees_the_place(server, stream):
    before = server.metrics()
    connections = [send(server, {"messages": ask("Tap", 50 + i), "stream": stream, **LONG}) for i in range(3)]
    for c in connections[1:]:                        # some at once: while the prompt is read or the image encoded
        c.close()
    if stream:
        assert b"200 OK" in connections[0].recv(64)
    else:
        time.sleep(0.5)
    connections[0].close()
    server.wait_idle()
    after = server.metrics()
    tokens = after["openautoglm_completion_tokens_total"] - before["openautoglm_completion_tokens_total"]
    assert tokens < 3 * LONG["max_tokens"]


def test_idle_and_slow_connections_hold_up_nobody(server):
    idle = []
    for _ in range(300):
        c = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
        c.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert c.recv(4096).startswith(b"HTTP/1.1 200")
        idle.append(c)
    slow = [send(server, {"messages": [{"role": "user", "content": "hi"}], "stream": True, **LONG}) for _ in range(4)]
    stop = threading.Event()

    def read_slowly():
        while not stop.wait(0.2):
            for c in slow:
                c.recv(1)

    reader = threading.Thread(target=read_slowly)
    reader.start()
    try:
        with ThreadPoolExecutor(64) as pool:
            client = server.client()
            texts = list(pool.map(lambda i: answer(client, 7, stream=True), range(64)))
        assert len(set(texts)) == 1 and texts[0]
    finally:
        stop.set()
        reader.join()
    for c in slow + idle:
        c.close()
    server.wait_idle(60)


def test_full_queue_is_429(start):
    s = start("--max-num-seqs", "1", "--max-queue", "1")
    client = s.client()                              # making one takes longer than an answer on an idle machine
    busy, end = [], time.monotonic() + PATIENCE
    for name in ("openautoglm_requests_running", "openautoglm_requests_waiting"):
        busy.append(send(s, {"messages": [{"role": "user", "content": "hi"}], **LONG}))
        while s.metrics()[name] < 1:
            assert time.monotonic() < end
            time.sleep(0.02)
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(model="open-autoglm-v1", max_tokens=1,
                                       messages=[{"role": "user", "content": "hi"}])
    status, headers, _ = (s.request("POST", "/v1/chat/completions",
                                    json.dumps({"messages": [{"role": "user", "content": "hi"}]})))
    assert status == 429 and 1 <= int(headers["retry-after"]) <= 60
    for c in busy:
        c.close()
    s.wait_idle()


def test_streams_that_nobody_reads_hold_no_place(start):
    """As many as there are places; their texts wait until they are read."""
    s = start("--max-num-seqs", "4", "--max-queue", "4", "--write-timeout", "3600")
    unread, tokens = [], 400                         # half a megabyte, far more than the kernel keeps
    for i in range(8):
        c = socket.socket()
        c.settimeout(PATIENCE)
        c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        c.connect(("127.0.0.1", s.port))
        unread.append(c)
        data = json.dumps({"messages": [{"role": "user", "content": f"hi {i}"}], "stream": True, "logprobs": True,
                           "top_logprobs": 20, "max_tokens": tokens, "ignore_eos": True}).encode()
        c.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" %
                  len(data) + data)
    end = time.monotonic() + PATIENCE
    while (m := s.metrics())["openautoglm_requests_finished_total{reason=\"length\"}"] < 8:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert m["openautoglm_generations"] == 0 and m["openautoglm_answer_bytes"] > 1e5, m
    with ThreadPoolExecutor(8) as pool:
        client = s.client()
        assert len(set(pool.map(lambda i: answer(client, 3, stream=True), range(8)))) == 1
    for c in unread:
        got = b"".join(iter(lambda: c.recv(1 << 20), b""))
        assert (got.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n") and b'"error"' not in got and got.count(b'"bytes":') >=
                tokens)
        c.close()
    while s.metrics()["openautoglm_answer_bytes"]:
        assert time.monotonic() < end + PATIENCE
        time.sleep(0.05)


def test_drain(start):
    s = start("--drain-seconds", str(PATIENCE))
    got = []
    busy = threading.Thread(target=lambda: got.append(answer_long(s)))
    busy.start()
    end = time.monotonic() + PATIENCE
    while s.metrics()["openautoglm_generations"] < 1:
        assert time.monotonic() < end
        time.sleep(0.01)
    s.process.terminate()
    seen = set()
    while busy.is_alive() and s.process.poll() is None:
        try:
            seen.add((s.get("/ready")[0], s.get("/health")[0], s.get("/live")[0]))
            if (503, 503, 200) in seen:
                break
        except OSError:
            break
        time.sleep(0.01)
    busy.join()
    assert (503, 503, 200) in seen
    assert got and got[0].count("\n\n") > 3 and got[0].endswith("data: [DONE]\n\n") and '"error"' not in got[0]
    assert s.process.wait(PATIENCE) == 0


def answer_long(s):
    body = {"messages": [{"role": "user", "content": "hi"}], "stream": True, "max_tokens": 400, "ignore_eos": True}
    return s.request("POST", "/v1/chat/completions", json.dumps(body))[2].decode()
