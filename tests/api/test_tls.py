"""HTTPS by the server itself: what it speaks and refuses, clients that stop in the middle, new certificates."""

import http.client
import json
import re
import select
import shutil
import signal
import socket
import ssl
import subprocess
import time

import openai
import pytest

from conftest import BIN, MODEL, PATIENCE
from test_sockets import ENV, UnixConnection, ask, run

CHAT = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2, "ignore_eos": True}
__all__ = ["run"]


def certificate(folder, name="cert", *more):
    """A certificate of its own for localhost, and its key."""
    if not shutil.which("openssl"):
        pytest.skip("the program openssl is not installed (ca-certificates brings it)")
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-days", "30",
                    "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-out", cert,
                    "-keyout", key, *(more or ["-nodes"])], check=True, capture_output=True)
    key.chmod(0o600)
    return cert, key


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return certificate(tmp_path_factory.mktemp("tls"))


class Client:
    def __init__(self, server, trusted):
        (port,) = re.findall(r"listening on https://[\w.]+:(\d+)", "".join(server.lines))
        self.port = int(port)
        self.context = ssl.create_default_context(cafile=trusted)

    def raw(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def wrap(self, context=None):
        return (context or self.context).wrap_socket(self.raw(), server_hostname="localhost")

    def connection(self):
        return http.client.HTTPSConnection("localhost", self.port, timeout=PATIENCE, context=self.context)

    def ask(self, connection=None, method="POST", path="/v1/chat/completions", body=CHAT):
        c = connection or self.connection()
        c.request(method, path, json.dumps(body))
        r = c.getresponse()
        out = r.status, r.read()
        if not connection:
            c.close()
        return out

    def metric(self, name):
        text = self.ask(method="GET", path="/metrics")[1].decode()
        return next(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name + " "))


@pytest.fixture
def serve(run, files):
    def one(*options, cert=files[0], key=files[1]):
        s = run("--port", "0", "--tls-cert", str(cert), "--tls-key", str(key), *options).until("ready after")
        return s, Client(s, cert)
    return one


def test_it_speaks_https(serve, files):
    s, client = serve()
    c = client.connection()
    assert client.ask(c)[0] == 200
    sock = c.sock
    assert sock.version() == "TLSv1.3"
    status, body = client.ask(c, body=CHAT | {"stream": True, "max_tokens": 60})
    assert status == 200 and body.endswith(b"data: [DONE]\n\n") and body.count(b"data: {") > 2
    assert client.ask(c, body=CHAT | {"messages": [{"role": "user", "content": "x" * 3000000}]})[0] == 400
    status, page = client.ask(c, "GET", "/")
    assert status == 200 and b"<html" in page and c.sock is sock           # one connection for all of it
    c.close()
    api = openai.OpenAI(base_url=f"https://localhost:{client.port}/v1", api_key="x", max_retries=0,
                        http_client=openai.DefaultHttpx2Client(verify=client.context))
    assert api.chat.completions.create(model="open-autoglm-v1", messages=CHAT["messages"], max_tokens=2).choices
    health = subprocess.run([BIN, "health", "--port", str(client.port), "--tls-cert", files[0]], capture_output=True,
                            text=True, timeout=PATIENCE, env=ENV)
    assert health.returncode == 0 and health.stdout == f"https://127.0.0.1:{client.port}/health: 200\n"
    assert client.metric('openautoglm_tls_handshakes_total{result="done"}') >= 3
    days = (client.metric("openautoglm_tls_certificate_expiry_timestamp_seconds") - time.time()) / 86400
    assert 29 < days < 31
    assert not any("warn" in line for line in s.lines), "".join(s.lines)


def test_the_end_of_an_answer_without_a_length(serve):
    """HTTP/1.0: the stream ends with the connection, and TLS says so."""
    _, client = serve()
    body = json.dumps(CHAT | {"stream": True}).encode()
    with client.wrap() as c:
        c.sendall(b"POST /v1/chat/completions HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        text = b"".join(iter(lambda: c.recv(65536), b""))
    assert text.endswith(b"data: [DONE]\n\n")


def test_small_pieces(serve):
    """A request whose bytes come one by one, each in a record of its own; and two requests in one record."""
    _, client = serve()
    with client.wrap() as c:
        for byte in b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n":
            c.sendall(bytes([byte]))
        assert c.recv(4096).startswith(b"HTTP/1.1 200")
        c.sendall(b"GET /live HTTP/1.1\r\nHost: x\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        text = b"".join(iter(lambda: c.recv(4096), b""))
        assert text.count(b"HTTP/1.1 200") == 1 and text.count(b"HTTP/1.1 404") == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_protocols(serve):
    _, client = serve()
    for offered, chosen in ((["h2", "http/1.1"], "http/1.1"), (["http/1.0"], "http/1.0"), ([], None)):
        context = ssl.create_default_context(cafile=None)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if offered:
            context.set_alpn_protocols(offered)
        with client.wrap(context) as c:
            assert c.selected_alpn_protocol() == chosen
    context.set_alpn_protocols(["h2"])
    with pytest.raises(ssl.SSLError, match="(?i)no.application.protocol"):
        client.wrap(context)
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        client.wrap(old)
    new = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    new.check_hostname, new.verify_mode = False, ssl.CERT_NONE
    new.maximum_version = ssl.TLSVersion.TLSv1_2
    with client.wrap(new) as c:
        assert c.version() == "TLSv1.2" and "ECDHE" in c.cipher()[0]


def test_no_renegotiation(serve):
    _, client = serve()
    out = subprocess.run(["openssl", "s_client", "-tls1_2", "-connect", f"127.0.0.1:{client.port}"], input=b"R\n",
                         capture_output=True, timeout=PATIENCE)
    assert b"RENEGOTIATING" in out.stdout + out.stderr and b"no renegotiation" in out.stdout + out.stderr
    assert client.ask()[0] == 200


def test_who_does_not_speak_tls(serve):
    _, client = serve()
    with client.raw() as c:
        c.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        text = b"".join(iter(lambda: c.recv(4096), b""))
        assert text.startswith(b"HTTP/1.1 400") and b"https_needed" in text
    for bytes_ in (b"\x00" * 100, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xff" * 600,
                   b"\x16\x03\x01\xff\xff"):
        with client.raw() as c:
            c.sendall(bytes_)
            c.shutdown(socket.SHUT_WR)
            while c.recv(4096):
                pass
    with client.raw():
        pass
    assert client.ask()[0] == 200 and client.metric('openautoglm_tls_handshakes_total{result="failed"}') >= 4


def test_handshakes_that_do_not_go_on(serve):
    """Sixteen of 64 connections may be in a handshake: older ones go, and everybody else is answered. Were they only
    closed when their time is over, they would all go together."""
    _, client = serve("--max-connections", "64")
    silent = [client.raw() for _ in range(60)]
    for c in silent[::2]:
        c.sendall(b"\x16\x03\x01\x02\x00\x01")
    for _ in range(5):
        assert client.ask()[0] == 200
    gone = 0
    while gone < 44:
        gone = len(select.select(silent, [], [], PATIENCE)[0])
        assert gone > 0
        time.sleep(0.01)
    assert gone < 60
    for c in silent:
        c.close()


def test_a_handshake_has_its_time(serve):
    _, client = serve("--read-timeout", "1.5")
    with client.raw() as c:
        assert c.recv(1) == b""
    with client.wrap() as c:
        c.sendall(b"GET /live HTTP/1.1\r\n")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            raise ConnectionError if c.recv(1) == b"" else AssertionError
    assert client.ask()[0] == 200


def test_a_client_that_hangs_up(serve):
    _, client = serve()
    c = client.connection()
    c.request("POST", "/v1/chat/completions", json.dumps(CHAT | {"stream": True, "max_tokens": 20000}))
    assert c.getresponse().read1()
    c.close()
    end = time.monotonic() + PATIENCE
    while client.metric("openautoglm_generations") > 0:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_slow_reader_and_the_others(serve):
    """Whoever does not read his answer is dropped in time, and holds up nobody."""
    _, client = serve("--write-timeout", "1")
    with client.wrap() as c:
        c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        c.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 200)
        for _ in range(5):
            assert client.ask()[0] == 200
        end = time.monotonic() + PATIENCE
        while client.metric("openautoglm_http_connections") > 1:
            assert time.monotonic() < end
            time.sleep(0.1)


def subject(client):
    return ssl.DER_cert_to_PEM_cert(client.wrap().getpeercert(True))


def test_a_new_certificate(serve, tmp_path):
    cert, key = certificate(tmp_path)
    s, client = serve(cert=cert, key=key)
    old = cert.read_text()
    c = client.connection()
    c.request("POST", "/v1/chat/completions", json.dumps(CHAT | {"stream": True, "max_tokens": 1200}))
    stream = c.getresponse()
    assert stream.read1()
    good = certificate(tmp_path, "other")
    cert.write_text("-----BEGIN CERTIFICATE-----\nnothing\n-----END CERTIFICATE-----\n")
    s.process.send_signal(signal.SIGHUP)
    s.until("the certificate stays as it was")
    assert subject(client) == old
    cert.write_text(good[0].read_text())                       # the key is still that of the first one
    s.process.send_signal(signal.SIGHUP)
    s.until("key values mismatch")
    assert subject(client) == old
    key.write_text(good[1].read_text())
    s.process.send_signal(signal.SIGHUP)
    s.until("is the certificate of new connections")
    client.context = ssl.create_default_context(cafile=good[0])
    assert subject(client) == good[0].read_text() and client.ask()[0] == 200
    assert stream.read().endswith(b"data: [DONE]\n\n")
    c.close()


def test_wrong_files(files, tmp_path):
    locked = certificate(tmp_path, "locked", "-passout", "pass:secret")
    other = certificate(tmp_path, "other")
    (tmp_path / "empty").write_text("")
    for cert, key, says in ((tmp_path / "none", files[1], "option tls-cert: "),
                            (tmp_path / "empty", files[1], "tls-cert"),
                            (files[0], tmp_path / "none", "option tls-key: "), (files[0], other[1], "mismatch"),
                            (locked[0], locked[1], "passphrase"), (files[0], None, "option tls-key"),
                            (None, files[1], "needs --tls-cert")):
        options = [*(["--tls-cert", cert] if cert else []), *(["--tls-key", key] if key else [])]
        out = subprocess.run([BIN, "serve", "--model", MODEL, "--port", "0", *options], capture_output=True, text=True,
                             timeout=PATIENCE, env=ENV)
        assert out.returncode == 2 and says in out.stderr, (says, out.stderr)


def test_one_file_for_both_and_modes(run, files, tmp_path):
    both = tmp_path / "both.pem"
    both.write_text(files[0].read_text() + files[1].read_text())
    both.chmod(0o644)
    s = run("--port", "0", "--tls-cert", str(both)).until("ready after")
    assert Client(s, files[0]).ask()[0] == 200
    assert any("warn" in line and "mode 0644" in line for line in s.lines)


def test_a_unix_socket_stays_plain(run, files, tmp_path):
    path = tmp_path / "s"
    run("--uds", str(path), "--tls-cert", str(files[0]), "--tls-key", str(files[1])).until("ready after")
    assert ask(UnixConnection(path))[0] == 200
    health = subprocess.run([BIN, "health", "--uds", path, "--tls-cert", files[0]], timeout=PATIENCE, env=ENV)
    assert health.returncode == 0
