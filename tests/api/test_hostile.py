"""Clients that mean no good, or do not know better: what they get is an answer, and nobody else is held up."""

import json
import socket
import struct
import time
import zlib

import pytest

from conftest import PATIENCE, data_url

CHAT = json.dumps({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}).encode()


def exchange(server, data):
    """Everything that comes back until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as c:
        c.sendall(data)
        out = b""
        while part := c.recv(65536):
            out += part
    return out


def post(headers, body, path=b"/v1/chat/completions"):
    return b"POST " + path + b" HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n" + body


@pytest.mark.parametrize("headers", [
    b"Content-Length: %d\r\nContent-Length: 3\r\n" % len(CHAT), b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n" % len(CHAT),
    b"Transfer-Encoding: gzip\r\n", b"Transfer-Encoding: identity\r\n", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
], ids=["two lengths", "length and chunks", "gzip", "identity", "twice"])
def test_a_body_that_ends_in_two_places(server, headers):
    """A proxy in front may read it the other way; what it takes for one request must not become two."""
    smuggled = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
    out = exchange(server, post(headers, CHAT + smuggled))
    head, _, body = out.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ") and b"Connection: close" in head
    assert json.loads(body)["error"]["code"] == "invalid_framing"        # and nothing behind it


def test_chunks(server):
    chunks = b"".join(b"1;x=y\r\n%c\r\n" % b for b in CHAT) + b"0\r\nTrailer: z\r\n\r\n"
    out = exchange(server, post(b"Transfer-Encoding: chunked\r\nConnection: close\r\n", chunks))
    assert out.startswith(b"HTTP/1.1 200 ") and b'"finish_reason":"length"' in out


def test_pipelined_requests_are_answered_in_order(server):
    one = post(b"Content-Length: %d\r\n" % len(CHAT), CHAT)
    out = exchange(server, one * 3 + post(b"Content-Length: 1\r\nConnection: close\r\n", b"{"))
    assert out.count(b"HTTP/1.1 200 OK") == 3 and out.count(b"HTTP/1.1 400 ") == 1 and out.rindex(b" 200 OK") < out.index(b" 400 ")


@pytest.mark.parametrize("request_line", [b"\x16\x03\x01\x00\xc8\x01\x00\r\n", b"GET /health\r\n", b"PRI * HTTP/2.0\r\n", b"GET /" + b"a" * 70000])
def test_what_is_not_http_is_closed(server, request_line):
    out = exchange(server, request_line + b"\r\n\r\n")
    assert not out or out.startswith(b"HTTP/1.1 4") or out.startswith(b"HTTP/1.1 505")
    assert server.get("/health")[0] == 200


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
