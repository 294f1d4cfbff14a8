"""Loading and leaving: what the probes say, who waits, and that nobody is lost."""

import json
import signal
import socket
import threading
import time

from conftest import PATIENCE

CHAT = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
LONG = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1500, "ignore_eos": True, "stream": True}


def probes(s):
    return [(s.get(path)[0], json.loads(s.get(path)[2])) for path in ("/health", "/ready", "/live")]


def until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def connections(s):
    """Those of others: the one that asks is not counted."""
    return s.metrics()["openautoglm_http_connections"] - 1


class Asking:
    """A request on a thread of its own."""

    def __init__(self, s, path, body):
        self.got = None
        self.thread = threading.Thread(target=self.ask, args=(s, path, body))
        self.thread.start()

    def ask(self, s, path, body):
        self.got = s.request("POST", path, json.dumps(body))

    def answer(self):
        self.thread.join(PATIENCE)
        return self.got


def test_requests_wait_for_the_model(loading):
    """More of them than there are places, and without taking one."""
    slow = loading("--max-num-seqs", "2", "--max-queue", "3")
    s = slow.server
    assert probes(s) == [(503, {"status": "loading"})] * 2 + [(200, {"status": "ok", "state": "loading"})]
    assert s.get("/v1/models")[0] == 200 and s.get("/model_info")[0] == 503
    waiting = [Asking(s, "/tokenize", {"prompt": "hi"}) for _ in range(4)]
    waiting += [Asking(s, "/v1/chat/completions", CHAT), Asking(s, "/v1/chat/completions", LONG | {"max_tokens": 3}),
                Asking(s, "/v1/completions", {"prompt": "hi", "max_tokens": 2})]
    until(lambda: connections(s) == 7)
    assert s.metrics()["openautoglm_generations"] == 0 and all(w.got is None for w in waiting)
    slow.let()
    assert [w.answer()[0] for w in waiting] == [200] * 7
    assert waiting[5].answer()[2].endswith(b"data: [DONE]\n\n")
    assert probes(s) == [(200, {"status": "ok", "state": "ready"})] * 3


def test_a_body_that_is_no_request_waits_as_well_and_a_client_may_leave(loading):
    slow = loading()
    s = slow.server
    wrong = Asking(s, "/v1/chat/completions", {"messages": []})
    with socket.create_connection(("127.0.0.1", s.port), timeout=PATIENCE) as c:
        c.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
        until(lambda: connections(s) == 2)
    until(lambda: connections(s) == 1)           # the one that left
    slow.let()
    assert wrong.answer()[0] == 400


def test_waiting_ends(loading):
    slow = loading("--load-wait", "0.2")
    for path, body in (("/v1/chat/completions", CHAT), ("/v1/completions", {"prompt": "hi"}),
                       ("/tokenize", {"prompt": "hi"})):
        status, headers, answer = slow.server.request("POST", path, json.dumps(body))
        assert (status == 503 and json.loads(answer)["error"]["code"] == "model_loading" and
                int(headers["retry-after"]) >= 1)
    slow.let()
    assert slow.server.post("/v1/chat/completions", CHAT)[0] == 200


def test_told_to_stop_while_loading(loading):
    s = loading().server
    waiting = Asking(s, "/v1/chat/completions", CHAT)
    until(lambda: s.metrics()["openautoglm_http_busy"] == 2)     # its request was read; the other asks for this
    assert s.stop() == 0
    status, _, body = waiting.answer()
    assert status == 503 and json.loads(body)["error"]["code"] == "shutting_down"


def test_it_says_that_it_leaves_and_still_serves(start):
    s = start("--drain-delay", "3600", "--drain-seconds", "3600")
    s.process.send_signal(signal.SIGTERM)
    until(lambda: s.get("/health")[0] == 503)
    assert probes(s) == [(503, {"status": "draining"})] * 2 + [(200, {"status": "ok", "state": "draining"})]
    for _ in range(3):
        status, headers, body = s.request("POST", "/v1/chat/completions", json.dumps(CHAT))
        assert status == 200 and headers["connection"] == "close" and json.loads(body)["choices"]
    assert s.get("/model_info")[0] == 200
    stream = Asking(s, "/v1/chat/completions", LONG | {"max_tokens": 1800})
    until(lambda: s.metrics()["openautoglm_generations"] > 0 or stream.got)
    # the second: neither the hour of delay nor that of the drain
    s.process.send_signal(signal.SIGTERM)
    assert s.process.wait(PATIENCE) == 0
    stream.thread.join()


def test_the_port_closes_after_the_delay_and_streams_finish(start):
    s = start("--drain-delay", "0.3", "--drain-seconds", str(PATIENCE))
    stream = Asking(s, "/v1/chat/completions", LONG)
    until(lambda: s.metrics()["openautoglm_generations"] == 1)
    idle = socket.create_connection(("127.0.0.1", s.port), timeout=PATIENCE)
    idle.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    assert idle.recv(4096).startswith(b"HTTP/1.1 200")
    s.process.send_signal(signal.SIGTERM)

    def refused():
        try:
            socket.create_connection(("127.0.0.1", s.port), timeout=PATIENCE).close()
            return False
        except ConnectionRefusedError:
            return True

    until(refused)
    if s.process.poll() is None:                             # a connection from before may bring one more request
        idle.sendall(b"GET /model_info HTTP/1.1\r\nHost: x\r\n\r\n")
        heard = idle.recv(4096)
        assert not heard or (heard.startswith(b"HTTP/1.1 200") and b"Connection: close" in heard)
    idle.close()
    status, _, body = stream.answer()
    assert status == 200 and body.endswith(b"data: [DONE]\n\n") and b'"error"' not in body
    assert s.process.wait(PATIENCE) == 0
