"""Unix sockets, sockets that a service manager passes on, and what it is told."""

import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time

import pytest

from conftest import BIN, MODEL, PATIENCE, ROOT

CHAT = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2, "ignore_eos": True}
ENV = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAUTOGLM_", "LISTEN_", "NOTIFY_"))}

PASS_ON = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
os.execv(sys.argv[2], sys.argv[2:])
"""


class Process:
    """A server without a port of its own. `lines` are those of its log."""

    def __init__(self, *options, env=(), passed=None):
        command = [BIN, "serve", "--model", str(MODEL), *options]
        if passed is not None:                 # as systemd does it: descriptor 3, and the process's own number
            command = [sys.executable, "-c", PASS_ON, str(passed.fileno()), *command]
        self.process = subprocess.Popen(command, cwd=ROOT, env=ENV | dict(env), text=True, stderr=subprocess.PIPE,
                                        pass_fds=(passed.fileno(),) if passed else ())
        self.lines = []
        threading.Thread(target=lambda: self.lines.extend(self.process.stderr), daemon=True).start()

    def until(self, text):
        end = time.monotonic() + PATIENCE
        while not any(text in line for line in self.lines):
            assert self.process.poll() is None and time.monotonic() < end, "".join(self.lines)
            time.sleep(0.02)
        return self

    def stop(self, sig=signal.SIGTERM):
        self.process.send_signal(sig)
        return self.process.wait(PATIENCE)


@pytest.fixture
def run():
    started = []

    def one(*options, **kw):
        started.append(Process(*options, **kw))
        return started[-1]

    yield one
    for p in started:
        if p.process.poll() is None:
            p.stop()


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=PATIENCE)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self.path)


def ask(connection, method="POST", path="/v1/chat/completions", body=CHAT):
    connection.request(method, path, json.dumps(body))
    r = connection.getresponse()
    return r.status, r.read()


def test_unix_socket(run, tmp_path):
    path = tmp_path / "s"
    s = run("--uds", str(path), "--uds-mode", "0600").until("ready after")
    assert any(f'"listening on unix:{path}"' in line for line in s.lines)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    c = UnixConnection(path)
    for _ in range(2):
        assert ask(c)[0] == 200
    status, body = ask(c, body=CHAT | {"stream": True, "max_tokens": 40})
    assert status == 200 and body.endswith(b"data: [DONE]\n\n")
    big = CHAT | {"messages": [{"role": "user", "content": "x" * 3000000}]}
    assert ask(c, body=big)[0] == 400
    c.close()
    health = subprocess.run([BIN, "health", "--uds", path], capture_output=True, text=True, timeout=PATIENCE, env=ENV)
    assert health.returncode == 0 and health.stdout == f"{path}: 200\n"
    assert s.stop() == 0 and not path.exists()


def test_a_client_that_hangs_up(run, tmp_path):
    path = tmp_path / "s"
    run("--uds", str(path)).until("ready after")
    c = UnixConnection(path)
    c.request("POST", "/v1/chat/completions", json.dumps(CHAT | {"stream": True, "max_tokens": 20000}))
    assert c.getresponse().read1()
    c.close()
    end = time.monotonic() + PATIENCE
    while b"openautoglm_generations 0\n" not in ask(UnixConnection(path), "GET", "/metrics")[1]:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_what_is_there_already(run, tmp_path):
    path = tmp_path / "s"
    first = run("--uds", str(path)).until("ready after")
    second = run("--uds", str(path))
    assert second.process.wait(PATIENCE) == 2
    assert ask(UnixConnection(path))[0] == 200                     # the first still has it
    first.stop(signal.SIGKILL)
    assert path.exists()
    assert run("--uds", str(path)).until("ready after").stop() == 0       # nobody is behind it: it is taken over
    path.write_text("precious")
    other = run("--uds", str(path))
    assert other.process.wait(PATIENCE) == 2 and path.read_text() == "precious"
    time.sleep(0.1)
    assert f"cannot listen on {path}: Address already in use" in "".join(other.lines)


@pytest.mark.parametrize("options, says", [(("--uds", "x" * 200), "at most 107 bytes"),
                                           (("--uds", "s", "--uds-mode", "rw"), "uds-mode"),
                                           (("--uds", "s", "--uds-mode", "4755"), "uds-mode"),
                                           (("--uds", "/nowhere/s"), "/nowhere/s: No such file")])
def test_wrong_options(options, says):
    out = subprocess.run([BIN, "serve", "--model", MODEL, *options], capture_output=True, text=True, timeout=PATIENCE,
                         env=ENV)
    assert out.returncode == 2 and says in out.stderr


def test_a_socket_that_is_passed_on(run, tmp_path):
    """The next process goes on with what comes while the first one ends."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        first = run("--port", "1", passed=listening).until("ready after")
        assert any(f"listening on http://127.0.0.1:{port}, which was passed on" in line for line in first.lines)
        stream = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        stream.request("POST", "/v1/chat/completions", json.dumps(CHAT | {"stream": True, "max_tokens": 1000}))
        pieces = stream.getresponse()
        assert pieces.read1()
        first.process.send_signal(signal.SIGTERM)
        first.until("may finish within")
        waiting = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        waiting.request("POST", "/v1/chat/completions", json.dumps(CHAT))
        assert pieces.read().endswith(b"data: [DONE]\n\n") and first.process.wait(PATIENCE) == 0
        second = run(passed=listening)
        assert waiting.getresponse().status == 200
        assert second.stop() == 0


def test_a_descriptor_that_is_no_socket(run, tmp_path):
    with (tmp_path / "file").open("w") as f:
        s = run(passed=f)
        assert s.process.wait(PATIENCE) == 2
    time.sleep(0.1)
    assert "descriptor 3 that was passed on is no stream socket" in "".join(s.lines)


def test_what_the_manager_is_told(run, tmp_path):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(PATIENCE)
        s = run("--port", "0", env={"NOTIFY_SOCKET": path})
        assert manager.recv(200).startswith(b"READY=1\n")
        s.process.send_signal(signal.SIGHUP)
        assert manager.recv(200).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert manager.recv(200) == b"READY=1"
        s.process.send_signal(signal.SIGTERM)
        assert manager.recv(200).startswith(b"STOPPING=1\n")
        assert s.process.wait(PATIENCE) == 0
