"""Images that a request names by URL: who may be asked, at every hop, and what it costs."""

import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from conftest import PATIENCE, Server, ask, png

PICTURES = {f"/{i}.png": png(i) for i in range(4)}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        shop = self.server.shop
        with shop.lock:
            shop.asked.append((self.path, dict(self.headers)))
        if self.path.startswith("/to/"):
            return self.answer(302, Location=self.path[4:])
        if self.path.startswith("/meet/"):             # waits until three are asked for at the same time
            shop.meeting.wait(PATIENCE)
            return self.answer(200, PICTURES["/1.png"])
        if self.path == "/hang":
            shop.hanging.set()
            shop.gone = self.connection.recv(1) == b""
            shop.gone_event.set()
            self.close_connection = True
            return None
        if self.path == "/large":
            self.send_response(200)
            self.send_header("Content-Length", str(30 << 20))
            self.end_headers()
            return None
        if self.path == "/endless":
            self.send_response(200)
            self.send_header("Connection", "close")
            self.end_headers()
            try:
                while True:
                    self.wfile.write(bytes(1 << 20))
                    shop.sent += 1 << 20
            except OSError:
                self.close_connection = True
            return None
        if self.path not in PICTURES:
            return self.answer(404, b"no")
        tag = f'"tag{self.path}"'
        if self.headers.get("If-None-Match") == tag:
            return self.answer(304)
        return self.answer(200, PICTURES[self.path], ETag=tag)


class Shop:
    """A web server with pictures."""

    def __init__(self):
        self.lock = threading.Lock()
        self.asked, self.sent, self.gone = [], 0, None
        self.meeting = threading.Barrier(3)
        self.hanging, self.gone_event = threading.Event(), threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.shop, self.server.daemon_threads = self, True
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def url(self, path, host="127.0.0.1"):
        return f"http://{host}:{self.port}{path}"


@pytest.fixture
def shop():
    s = Shop()
    yield s
    s.server.shutdown()
    s.server.server_close()


@pytest.fixture(scope="module")
def allowing():
    """A server for a list of hosts; the same one for the same list."""
    servers = {}
    yield lambda hosts: servers.get(hosts) or servers.setdefault(hosts, Server("--allow-image-hosts", hosts))
    for s in servers.values():
        assert s.stop() == 0


def chat(*urls, text="What is on the screen?"):
    parts = [{"type": "image_url", "image_url": {"url": u}} for u in urls]
    return {"model": "open-autoglm-v1", "max_tokens": 8, "temperature": 0,
            "messages": [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]}


def post(server, *urls):
    status, body = server.post("/v1/chat/completions", chat(*urls))
    return status, body["choices"][0]["message"]["content"] if status == 200 else body["error"]["message"]


def test_off_by_default(server, shop):
    for url in (shop.url("/1.png"), "https://example.com/a.png", "file:///etc/passwd", "HTTP://example.com"):
        status, words = post(server, url)
        assert status == 400 and "--allow-" in words and "data: URL" in words, words
    assert not shop.asked


def test_same_answer_as_a_sent_image_and_an_etag(allowing, shop):
    s = allowing("127.0.0.1")
    status, body = s.post("/v1/chat/completions", {**chat(), "messages": ask("What is on the screen?", 1)})
    wanted = body["choices"][0]["message"]["content"]
    for _ in range(2):
        assert post(s, shop.url("/1.png")) == (200, wanted)
    assert [h.get("If-None-Match") for _, h in shop.asked] == [None, '"tag/1.png"']
    assert not any("Authorization" in h or "Cookie" in h for _, h in shop.asked)
    status, body = s.post("/v1/chat/completions", {**chat(shop.url("/absent")), "stream": True})
    assert status == 400 and "404" in body["error"]["message"]
    assert body["error"]["code"] == "invalid_image_url"
    assert body["error"]["param"] == "messages[0].content[0].image_url.url"


@pytest.mark.parametrize("listed, host", [
    ("*", "127.0.0.1"), ("*", "localhost"), ("*", "2130706433"), ("*", "0177.0.0.1"), ("*", "0x7f000001"),
    ("*", "127.1"), ("*", "[::ffff:127.0.0.1]"), ("*", "[::ffff:7f00:1]"), ("*", "0.0.0.0"),
    ("*,localhost", "127.0.0.1"), ("*", "rebound.localhost"), ("rebound.localhost", "rebound.localhost"),
    ("127.0.0.1", "localhost"), ("localhost", "127.0.0.1"), ("127.0.0.2", "127.0.0.1"),
    ("example.com", "127.0.0.1"), ("example.com", "example.com@127.0.0.1"),
])
def test_hosts_that_are_refused(allowing, shop, listed, host):
    """rebound.localhost is a name whose owner points it at this machine."""
    status, words = post(allowing(listed), shop.url("/1.png", host))
    assert status == 400 and "--allow-image-hosts" in words, words
    assert not shop.asked


@pytest.mark.parametrize("listed, host", [
    ("127.0.0.1", "127.0.0.1"), ("127.0.0.0/8", "2130706433"), ("localhost", "localhost"),
    ("rebound.localhost,127.0.0.1", "rebound.localhost"), ("*,127.0.0.1", "127.1"),
])
def test_hosts_that_are_listed(allowing, shop, listed, host):
    assert post(allowing(listed), shop.url("/1.png", host))[0] == 200


def test_every_hop_is_checked(allowing, shop):
    s = allowing("127.0.0.1")
    assert post(s, shop.url("/to//to//to//1.png"))[0] == 200
    status, words = post(s, shop.url("/to//to//to//to//1.png"))
    assert status == 400 and "too often" in words
    before = len(shop.asked)
    for to in (shop.url("/1.png", "localhost"), shop.url("/1.png", "127.0.0.2"), "file:///etc/passwd",
               "ftp://127.0.0.1/a", "http://169.254.169.254/latest/meta-data"):
        status, words = post(s, shop.url(f"/to/{to}"))
        assert status == 400 and "image_url" in words, (to, words)
    assert len(shop.asked) == before + 5, "none of these was followed"


def test_sizes(allowing, shop):
    s = allowing("127.0.0.1")
    for path in ("/large", "/endless"):
        status, words = post(s, shop.url(path))
        assert status == 400 and "20971520" in words, words
    assert shop.sent < 40 << 20


def test_several_at_once(allowing, shop):
    """Each of three waits for the other two, so one after the other would never end."""
    s = allowing("127.0.0.1")
    assert post(s, *(shop.url(f"/meet/{i}") for i in range(3)))[0] == 200


def test_nobody_else_waits_and_who_leaves_takes_it_along(start, shop):
    s = start("--allow-image-hosts", "127.0.0.1", "--input-threads", "1")
    body = json.dumps(chat(shop.url("/hang"))).encode()
    c = socket.create_connection(("127.0.0.1", s.port))
    c.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: "
              + str(len(body)).encode() + b"\r\n\r\n" + body)
    assert shop.hanging.wait(PATIENCE)
    status, body = s.post("/v1/chat/completions", {**chat(), "messages": ask("Tap the button", 1)})
    assert status == 200 and s.get("/health")[0] == 200
    began = time.monotonic()
    c.close()
    assert shop.gone_event.wait(PATIENCE) and shop.gone
    print(f"the transfer ended {time.monotonic() - began:.2f} s after its client had gone")
    s.wait_idle()


def test_more_than_may_wait(allowing, shop):
    """16 requests fetch, 64 wait; others hear so at once."""
    s = allowing("127.0.0.1")
    body = json.dumps(chat(shop.url("/hang"))).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: "
    clients = [socket.create_connection(("127.0.0.1", s.port)) for _ in range(90)]
    for c in clients:
        c.sendall(head + str(len(body)).encode() + b"\r\n\r\n" + body)
    refused = 0
    end = time.monotonic() + 5
    while refused < 10 and time.monotonic() < end:
        for c in clients:
            c.setblocking(False)
            try:
                refused += c.recv(4096).startswith(b"HTTP/1.1 503")
            except BlockingIOError:
                pass
    for c in clients:
        c.close()
    assert refused == 10
    s.wait_idle()
    assert post(s, shop.url("/1.png"))[0] == 200


def test_local_files(start, tmp_path):
    inside = tmp_path / "in"
    inside.mkdir()
    (inside / "a b.png").write_bytes(png(1))
    (inside / "link.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "secret.png").write_bytes(png(2))
    s = start("--allow-local-images", str(inside))
    assert post(s, f"file://{inside}/a%20b.png")[0] == 200
    for path in (f"{tmp_path}/secret.png", f"{inside}/../secret.png", f"{inside}/%2e%2e/secret.png",
                 f"{inside}/link.png", f"{inside}/absent.png", "/etc/passwd"):
        status, words = post(s, f"file://{path}")
        assert status == 400 and "--allow-local-images" in words, words
    assert post(s, "http://127.0.0.1:9/a.png")[0] == 400


def test_settings(tmp_path):
    from test_commands import run
    for option, value in (("--allow-image-hosts", "a b"), ("--allow-image-hosts", "10.0.0.0/99"),
                          ("--allow-local-images", "/nowhere")):
        r = run("serve", "--port", "0", option, value)
        assert r.returncode == 2 and value in r.stderr and "listening" not in r.stderr, r
    bytes_of = [json.loads(run("plan", "--json", *options).stdout)["requests_bytes"]
                for options in ((), ("--allow-image-hosts", "*"))]
    assert bytes_of[1] > bytes_of[0], "what is fetched is planned for"
