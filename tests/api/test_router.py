"""Two replicas behind HAProxy, with the probe that it makes of /health, and behind nginx, which probes nothing: a
replica that loads gets no request, and one that is told to stop loses none."""

import http.client
import json
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

from conftest import PATIENCE

CHAT = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 3, "temperature": 0}
ASKED = 'openautoglm_http_requests_total{method="POST",route="/v1/chat/completions",status="200"}'

HAPROXY = """
global
    stats socket {folder}/admin mode 600
defaults
    mode http
    timeout connect 10s
    timeout client 120s
    timeout server 120s
    timeout check 10s
    option redispatch
    default-server check inter 100ms fall 2 rise 1
frontend all
    bind 127.0.0.1:{port}
    default_backend replicas
backend replicas
    balance roundrobin
    option httpchk GET /health
{servers}
"""

NGINX = """
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream replicas {{
{servers}
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://replicas; proxy_buffering off; }}
    }}
}}
"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


class Router:
    def __init__(self, program, folder, servers, template, command):
        self.folder, self.port = folder, free_port()
        lines = "\n".join(servers)
        (folder / "router.conf").write_text(template.format(folder=folder, port=self.port, servers=lines))
        self.process = subprocess.Popen([program, *command(folder / "router.conf")], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)

    def ask(self, path="/v1/chat/completions", body=CHAT):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        c.request("POST", path, json.dumps(body))
        r = c.getresponse()
        out = r.status, r.read()
        c.close()
        return out

    def stop(self):
        self.process.terminate()
        self.process.wait(PATIENCE)


def haproxy(folder, *replicas):
    program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if not program:
        pytest.skip("haproxy is not installed (./setup.sh test installs it)")
    servers = [f"    server r{i} 127.0.0.1:{s.port}" for i, s in enumerate(replicas)]
    return Router(program, folder, servers, HAPROXY, lambda conf: ["-db", "-f", str(conf)])


def nginx(folder, *replicas):
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if not program:
        pytest.skip("nginx is not installed")
    servers = [f"        server 127.0.0.1:{s.port};" for s in replicas]
    return Router(program, folder, servers, NGINX, lambda conf: ["-c", str(conf), "-e", str(folder / "error.log")])


def until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def states(router):
    """What HAProxy makes of its probes: {"r0": "UP", ...}"""
    try:
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(str(router.folder / "admin"))
            s.sendall(b"show stat\n")
            text = b"".join(iter(lambda: s.recv(65536), b"")).decode()
    except OSError:
        return {}
    rows = [line.split(",") for line in text.splitlines() if line.startswith("replicas,r")]
    return {row[1]: row[17].split()[0] for row in rows}


def answers(router):
    try:
        return router.ask()[0] == 200
    except OSError:
        return False


class Clients:
    """Six clients that ask without a pause, whole and streamed, and note every answer that is not one."""

    def __init__(self, router):
        self.router, self.bad, self.n, self.ending = router, [], 0, False
        self.threads = [threading.Thread(target=self.ask, args=(i % 2 == 0,)) for i in range(6)]
        for t in self.threads:
            t.start()

    def ask(self, stream):
        while not self.ending:
            try:
                status, body = self.router.ask(body=CHAT | {"stream": stream, "ignore_eos": True, "max_tokens": 40})
                whole = (body.endswith(b"data: [DONE]\n\n") and b'"error"' not in body if stream
                         else b'"finish_reason":"length"' in body)
                if status != 200 or not whole:
                    self.bad.append((status, body[-300:]))
            except OSError as e:
                self.bad.append(e)
            self.n += 1

    def more(self, n):
        goal = self.n + n
        until(lambda: self.n >= goal)

    def end(self):
        self.ending = True
        for t in self.threads:
            t.join()
        return self.bad


def test_haproxy_sends_nothing_to_a_replica_that_loads(start, loading, tmp_path):
    slow = loading()
    router = haproxy(tmp_path, start(), slow.server)
    try:
        until(lambda: states(router) == {"r0": "UP", "r1": "DOWN"})
        assert [router.ask()[0] for _ in range(20)] == [200] * 20
        metrics = slow.server.metrics()
        assert (not any("/v1/chat/completions" in name for name in metrics) and
                metrics["openautoglm_http_connections"] <= 2)
        slow.let()
        until(lambda: states(router) == {"r0": "UP", "r1": "UP"})
        assert [router.ask()[0] for _ in range(4)] == [200] * 4
        until(lambda: slow.server.metrics().get(ASKED, 0) > 0)
    finally:
        router.stop()


@pytest.mark.parametrize("kind", [haproxy, nginx])
def test_no_request_is_lost_over_sigterm(start, tmp_path, kind):
    leaving, staying = start("--drain-delay", "3", "--drain-seconds", str(PATIENCE)), start()
    router = kind(tmp_path, leaving, staying)
    try:
        until(lambda: answers(router))
        if kind is haproxy:
            until(lambda: states(router) == {"r0": "UP", "r1": "UP"})
        clients = Clients(router)
        clients.more(40)
        leaving.process.send_signal(signal.SIGTERM)
        if kind is haproxy:
            until(lambda: states(router)["r0"] == "DOWN")
        assert leaving.process.wait(PATIENCE) == 0
        clients.more(40)
        assert clients.end() == []
    finally:
        router.stop()
