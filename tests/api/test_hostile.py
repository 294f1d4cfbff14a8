"""Clients that mean no good, or do not know better: what they get is an answer, and nobody else is held up."""

import json
import socket
import struct
import time
import zlib

import pytest

from conftest import PATIENCE, data_url

CHAT = json.dumps({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}).encode()


def exchange(server, data, *, pieces=0):
    """Everything that comes back until the server closes the connection. Sends all at once, or so many bytes at a
    time."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as c:
        c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for i in range(0, len(data), pieces or len(data)):
                c.sendall(data[i:i + (pieces or len(data))])
        except OSError:
            if not pieces:
                raise
        out = b""
        while part := c.recv(65536):
            out += part
    return out


def post(headers, body, path=b"/v1/chat/completions"):
    return b"POST " + path + b" HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n" + body


def only_refusal(out, statuses=(400,), code=None):
    """There is one answer, it is our error object, and it ends the connection."""
    head, _, body = out.partition(b"\r\n\r\n")
    assert int(head.split()[1]) in statuses and b"Connection: close" in head, out
    assert b"Content-Type: application/json" in head, out
    error = json.loads(body)["error"]                                   # and nothing behind it
    assert error["message"] and code in (None, error["code"])
    return error


SMUGGLED = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(CHAT)


@pytest.mark.parametrize("headers", [
    LENGTH + b"Content-Length: 3\r\n", LENGTH + LENGTH, b"Content-Length: 5, 5\r\n", b"Content-Length: +5\r\n",
    b"Content-Length: 0x5\r\n",
    LENGTH + b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n", b"Transfer-Encoding: identity\r\n",
    b"Transfer-Encoding: xchunked\r\n", b"Transfer-Encoding: chunked, chunked\r\n",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
], ids=str)
def test_a_body_that_ends_in_two_places(server, headers):
    """A proxy in front may read it the other way; what it takes for one request must not become two."""
    only_refusal(exchange(server, post(headers, CHAT + SMUGGLED)), code="invalid_framing")


@pytest.mark.parametrize("headers", [
    b"Content-Length: 5\r\nTransfer-Encoding : chunked\r\n", b"Transfer-Encoding: chunked\r\n , identity\r\n",
    b"Content-Length: 5\r\nTransfer-Encoding:\r\n chunked\r\n",
    b"Content-: 5\r\n Length\r\n", b"Transfer-: chunked\r\n Encoding\r\n", b"Content-Length: 5\r\n: v\r\n",
    b"Content-Length: 5\0\r\n",
    b"Content-Length: 5\x0b\r\n", b"Content-Length: 5\n", b"Content-Length: 5\r\nX: \rTransfer-Encoding: chunked\r\n",
    b"Content-Length: 5\r\nno colon\r\n",
    b"Content-Length: 5\r\nX\x00: y\r\n", b" Content-Length: 5\r\n", b"Host: y\r\nContent-Length: 5\r\n",
    b"Content-Length: 5\r\nX: a\r\n\tb\r\n",
], ids=str)
def test_a_head_that_can_be_read_in_two_ways(server, headers):
    only_refusal(exchange(server, post(headers, b"hello" + SMUGGLED)))
    out = exchange(server, post(LENGTH, CHAT) + post(headers, b"hello" + SMUGGLED))     # behind a good request
    assert out.startswith(b"HTTP/1.1 200 ")
    only_refusal(out[out.index(b"HTTP/1.1 400 "):])
    only_refusal(exchange(server, post(headers, b"hello" + SMUGGLED), pieces=1))


@pytest.mark.parametrize("chunks", [
    b"+5\r\nhello\r\n0\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n", b"5 \r\nhello\r\n0\r\n\r\n",
    b"10000000000000005\r\nhello\r\n0\r\n\r\n", b"5\nhello\n0\n\n",
    b"5\r\nhello\n0\r\n\r\n", b"5;\nhello\r\n0\r\n\r\n", b"5;" + b"a" * 40000 + b"\r\nhello\r\n0\r\n\r\n",
    b"5" * 40000 + b"\r\n", b"5\r\nhelloX\r\n0\r\n\r\n",
    b"5\r\nhello\r\n0\r\nX : y\r\n\r\n", b"5\r\nhello\r\n0\r\nno colon\r\n\r\n",
    b"5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n", b"5\r\nhello\r\n0\r\nX: y\n\n",
    b"5\r\nhello\r\n0\r\n" + SMUGGLED, b"5\0\r\nhello\r\n0\r\n\r\n",
], ids=lambda b: str(b[:40]))
def test_chunks_that_are_none(server, chunks):
    only_refusal(exchange(server, post(b"Transfer-Encoding: chunked\r\n", chunks + SMUGGLED)))
    if len(chunks) < 1000:
        only_refusal(exchange(server, post(b"Transfer-Encoding: chunked\r\n", chunks + SMUGGLED), pieces=1))


@pytest.mark.parametrize("request_head, status", [
    (b"GET /health HTTP/1.1\r\n\r\n", 400), (b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    (b"GET /he alth HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"GET /health\tHTTP/1.1\r\nHost: x\r\n\r\n", 400), (b"GET /health HTTP/2.0\r\nHost: x\r\n\r\n", 505),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    (b"GET /health\r\n\r\n", 400), (b"GET /" + b"a" * 40000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 40000, 431),
    (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431), (b"\x16\x03\x01\x00\xc8\x01\x00\r\n", 400),
    (b"GET /health HTTP/1.1\nHost: x\n\n", 400),
    (b"GET /v1/models%00.html HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"GET /v1/models/%00 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"GET http://x/health%00 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"GET /health%0d%0aX:%20y HTTP/1.1\r\nHost: x\r\n\r\n", 400), (b"GET /health%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n", 413),
], ids=lambda v: str(v[:40]) if isinstance(v, bytes) else None)
def test_errors_have_our_body(server, request_head, status):
    only_refusal(exchange(server, request_head + SMUGGLED), (status,))


def test_chunks_in_single_bytes(server):
    chunks = b"".join(b"01\r\n%c\r\n" % b for b in CHAT) + b"0\r\n\r\n"
    health = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    out = exchange(server, post(b"Transfer-Encoding: chunked\r\n", chunks) + health, pieces=1)
    assert out.startswith(b"HTTP/1.1 200 ") and b'"finish_reason":"length"' in out and out.count(b"HTTP/1.1 200 ") == 2


def test_chunks(server):
    chunks = b"".join(b"1;x=y\r\n%c\r\n" % b for b in CHAT) + b"0\r\nTrailer: z\r\n\r\n"
    out = exchange(server, post(b"Transfer-Encoding: chunked\r\nConnection: close\r\n", chunks))
    assert out.startswith(b"HTTP/1.1 200 ") and b'"finish_reason":"length"' in out


def test_old_clients(server):
    """HTTP/1.0 knows neither chunks nor, unless it asks, a second request."""
    body = CHAT[:-1] + b', "stream": true}'
    request = b"POST /v1/chat/completions HTTP/1.0\r\nContent-Length: %d\r\n" % len(body)
    head, _, events = exchange(server, request + b"\r\n" + body).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ") and b"Connection: close" in head and b"Transfer-Encoding" not in head
    assert events.startswith(b"data: {") and events.endswith(b"data: [DONE]\n\n")
    out = exchange(server, b"GET /health HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\nGET /health HTTP/1.0\r\n\r\n")
    assert (out.count(b"HTTP/1.1 200 ") == 2 and out.count(b"Connection: keep-alive") ==
            out.count(b"Connection: close") == 1)


def test_who_still_sends_sees_the_answer(server):
    """Closing at once would reset the connection, and the answer with it."""
    body = b"x" * (16 << 20)
    only_refusal(exchange(server, post(b"Content-Length : %d\r\n" % len(body), body)))
    only_refusal(exchange(server, post(b"Content-Length: %d\r\nExpect: 100-continue\r\n" % len(body), body,
                                       b"/detokenize")), (413,))
    only_refusal(exchange(server, post(b"Transfer-Encoding: chunked\r\n", b"1g\r\n" + body)))


def test_pipelined_requests_are_answered_in_order(server):
    one = post(b"Content-Length: %d\r\n" % len(CHAT), CHAT)
    out = exchange(server, one * 3 + post(b"Content-Length: 1\r\nConnection: close\r\n", b"{"))
    assert (out.count(b"HTTP/1.1 200 OK") == 3 and out.count(b"HTTP/1.1 400 ") == 1 and out.rindex(b" 200 OK") <
            out.index(b" 400 "))


def ask_health(c):
    c.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    return c.recv(4096)


def test_too_many_connections(start):
    """The rest are told so, /health answers, and idle connections make room."""
    s = start("--max-connections", "4", "--idle-timeout", "3600", "--read-timeout", "3600")
    idle = [socket.create_connection(("127.0.0.1", s.port), timeout=PATIENCE) for _ in range(4)]
    assert all(b" 200 OK" in ask_health(c) for c in idle[:2])            # the others have not said a word yet
    slow = [socket.create_connection(("127.0.0.1", s.port), timeout=PATIENCE) for _ in range(8)]
    for c in slow:
        c.sendall(b"GET /health HTTP/1.1\r\n")
    time.sleep(0.2)
    status, headers, body = s.request("POST", "/v1/chat/completions", CHAT)
    assert status == 503 and headers["retry-after"] == "1" and headers["connection"] == "close"
    assert json.loads(body)["error"]["code"] == "too_many_connections"
    assert s.get("/v1/models")[0] == 503
    status, headers, _ = s.get("/health")
    assert status == 200 and headers["connection"] == "close"
    end = time.monotonic() + PATIENCE
    while s.request("POST", "/v1/chat/completions", CHAT)[0] != 200:     # seconds, although the timeouts are an hour
        assert time.monotonic() < end
        time.sleep(0.5)
    for c in idle + slow:
        c.close()


def test_more_connections_than_there_is_room_to_refuse(start):
    s = start("--max-connections", "2", "--idle-timeout", "3600")
    crowd = []
    for _ in range(200):
        c = socket.create_connection(("127.0.0.1", s.port), timeout=PATIENCE)
        crowd.append(c)
    end = time.monotonic() + PATIENCE
    while True:
        try:
            if s.get("/health")[0] == 200:
                break
        except OSError:
            pass
        assert time.monotonic() < end
        time.sleep(0.5)
    for c in crowd:
        c.close()


def test_fewer_files_than_connections(start):
    """The server takes as many connections as it may open files, so that the next ones are still told."""
    import resource
    s = start("--max-num-seqs", "4", "--max-queue", "4",
              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (160, 160)))
    assert any("at most 56 connections" in line for line in s.lines)
    crowd = [socket.create_connection(("127.0.0.1", s.port), timeout=PATIENCE) for _ in range(100)]
    assert s.get("/health")[0] == 200
    assert s.request("POST", "/v1/chat/completions", CHAT)[0] == 503
    for c in crowd:
        c.close()


def png_of(data, *, side=16, chunk=1 << 30):
    """A PNG of black pixels whose IDAT chunks hold `data` deflated."""
    def part(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    stream = zlib.compress(data, 9)
    return (b"\x89PNG\r\n\x1a\n" + part(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)) +
            b"".join(part(b"IDAT", stream[i:i + chunk]) for i in range(0, len(stream), chunk)) + part(b"IEND", b""))


def ask_about(server, png):
    return server.post("/v1/chat/completions", {"max_tokens": 1, "messages": [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": data_url(png)}}]}]})


def test_png_with_far_more_data_than_pixels(server):
    rows = b"\0" * 16 * (1 + 3 * 16)
    assert ask_about(server, png_of(rows))[0] == 200
    assert ask_about(server, png_of(rows, chunk=1))[0] == 200
    assert ask_about(server, png_of(rows + b"\0" * 1000))[0] == 200        # a little more is read over, as Pillow does
    status, answer = ask_about(server, png_of(rows + b"\0" * (1 << 26)))   # 64 MiB in 65 kB
    assert status == 400 and "more data" in answer["error"]["message"]
