"""Runs what docker/compose.yaml starts, and the other routers' examples, as processes of this machine, and asks them.

    docker/as_processes.py [haproxy] [nginx] [caddy] [prometheus]      those of these programs that are here

Two replicas with the options of the compose file, each router with its example and each of them by itself: a session
stays at one replica, sessions spread, a large body and a stream come through, and no request is lost when a replica is
told to stop. Prometheus reads both, and answers every query of the dashboard. The examples are used as they are but for
the names of the replicas and the ports.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
PROGRAM = HERE.parent / "build/openautoglm"
REPLICAS = {"a": 18101, "b": 18102}
ROUTER, PROMETHEUS = 18100, 18190
CHAT = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 3, "temperature": 0}


def find(name):
    return shutil.which(name) or shutil.which(name, path="/usr/sbin")


def local(text):
    """The example with this machine's addresses in the place of the containers' names."""
    for name, port in REPLICAS.items():
        text = re.sub(rf"\b{name}:8000", f"127.0.0.1:{port}", text)
    text = re.sub(r"(bind |listen ):?8000\b", rf"\g<1>127.0.0.1:{ROUTER}", text)
    return re.sub(r"^:8000\b", f":{ROUTER}", text, flags=re.M)


def start(*command, **kw):
    return subprocess.Popen([str(c) for c in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **kw)


def ask(port, body=CHAT, path="/v1/chat/completions", **headers):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as r:
            return r.status, r.headers, r.read()
    except urllib.error.HTTPError as e:
        return e.code, e.headers, e.read()


def until(condition, what):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            if condition():
                return
        except OSError:
            pass
        time.sleep(0.2)
    sys.exit(f"as_processes: {what}: not within a minute")


def replica(name):
    compose = yaml.safe_load((HERE / "compose.yaml").read_text())
    p = start(PROGRAM, *compose["services"][name]["command"], "--port", REPLICAS[name])
    until(lambda: ask(REPLICAS[name], None, "/health")[0] == 200, f"replica {name}")
    return p


def served():
    """How many chats each replica has answered."""
    out = {}
    for name, port in REPLICAS.items():
        text = ask(port, None, "/metrics")[2].decode()
        rows = re.findall(r'^openautoglm_http_requests_total\{.*"/v1/chat/completions".*\} (\d+)$', text, re.M)
        out[name] = sum(map(int, rows))
    return out


def haproxy(folder):
    (folder / "haproxy.cfg").write_text(local((HERE / "haproxy.cfg").read_text()))
    return start(find("haproxy"), "-db", "-f", folder / "haproxy.cfg")


def nginx(folder):
    own = f"daemon off;\npid {folder}/pid;\nerror_log stderr;\n"
    (folder / "nginx.conf").write_text(own + local((HERE / "nginx.conf").read_text()))
    return start(find("nginx"), "-c", folder / "nginx.conf")


def caddy(folder):
    """A site that has a port and no name is served without TLS; with one Caddy would make an authority of its own, and
    have this machine trust it."""
    own = "{\n\tadmin off\n\tskip_install_trust\n\tauto_https off\n}\n"
    (folder / "Caddyfile").write_text(own + local((HERE / "Caddyfile").read_text()))
    return start(find("caddy"), "run", "--adapter", "caddyfile", "--config", folder / "Caddyfile",
                 env=os.environ | {"HOME": str(folder), "XDG_DATA_HOME": str(folder)})


def check_router(name, run, replicas):
    with tempfile.TemporaryDirectory() as folder:
        router = run(Path(folder))
        try:
            until(lambda: ask(ROUTER)[0] == 200, name)
            before = served()
            for _ in range(10):
                status, headers, _ = ask(ROUTER, **{"X-Session-ID": "one-and-the-same"})
                assert status == 200 and headers["X-Session-ID"] == "one-and-the-same"
            stuck = {k: n - before[k] for k, n in served().items()}
            assert sorted(stuck.values()) == [0, 10], stuck
            for i in range(40):
                ask(ROUTER, **{"X-Session-ID": f"session-{i}"})
            spread = {k: n - before[k] - stuck[k] for k, n in served().items()}
            assert min(spread.values()) >= 5, spread
            large = CHAT | {"messages": [{"role": "user", "content": "x" * 8_000_000}]}
            status, _, body = ask(ROUTER, large)
            assert status == 400 and b"context_length_exceeded" in body, (status, body[:200])
            status, headers, body = ask(ROUTER, CHAT | {"stream": True, "max_tokens": 100, "ignore_eos": True})
            assert status == 200 and body.endswith(b"data: [DONE]\n\n")
            lost = stop_one(replicas)
            print(f"{name}: a session at one replica, 40 sessions {spread}, 8 MB, a stream; "
                  f"{lost[0]} requests while a replica stopped and came back, {lost[1]} lost")
            assert lost[1] == 0
        finally:
            router.terminate()
            router.wait()


def stop_one(replicas):
    """Requests go on while replica a is told to stop, ends and is started again: (all, lost)."""
    results, ending = [], threading.Event()

    def client(i):
        n = 0
        while not ending.is_set():
            n += 1
            try:
                status = ask(ROUTER, **{"X-Session-ID": f"c{i}-{n}"})[0]
            except OSError as e:
                status = str(e)
            results.append(status)
    threads = [threading.Thread(target=client, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    replicas["a"].send_signal(signal.SIGTERM)
    assert replicas["a"].wait(60) == 0
    time.sleep(1)
    replicas["a"] = replica("a")
    time.sleep(2)
    ending.set()
    for t in threads:
        t.join()
    return len(results), sum(r != 200 for r in results)


def check_prometheus():
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "prometheus.yml"
        config.write_text(local((HERE / "prometheus.yml").read_text()).replace("5s", "1s"))
        p = start(find("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={folder}/data",
                  f"--web.listen-address=127.0.0.1:{PROMETHEUS}")

        def query(text):
            body = ask(PROMETHEUS, None, "/api/v1/query?" + urllib.parse.urlencode({"query": text}))[2]
            return json.loads(body)["data"]["result"]
        try:
            until(lambda: [r["value"][1] for r in query("up")] == ["1", "1"], "Prometheus sees both replicas")
            for i in range(40):
                ask(REPLICAS["ab"[i % 2]])
                time.sleep(0.1)
            panels = json.loads((HERE / "grafana/dashboard.json").read_text())["panels"]
            asked = [t["expr"].replace("$__rate_interval", "30s") for panel in panels for t in panel["targets"]]
            empty = [text for text in asked if not query(text)]
            assert not empty, empty
            print(f"prometheus: sees both replicas; {len(asked)} queries of the dashboard have an answer")
        finally:
            p.terminate()
            p.wait()


def main():
    wanted = sys.argv[1:] or ["haproxy", "nginx", "caddy", "prometheus"]
    wanted = [name for name in wanted if find(name) or print(f"{name}: is not here")]
    replicas = {name: replica(name) for name in REPLICAS}
    try:
        for name, run in (("haproxy", haproxy), ("nginx", nginx), ("caddy", caddy)):
            if name in wanted:
                check_router(name, run, replicas)
        if "prometheus" in wanted:
            check_prometheus()
    finally:
        for p in replicas.values():
            p.terminate()
        for p in replicas.values():
            p.wait()


if __name__ == "__main__":
    main()
