"""A stand-in for the Hugging Face hub and for the store that it sends large files from.

    with Hub({"org/name": {"config.json": b"..."}}) as hub:
        hub.url                       # for HF_ENDPOINT
        hub.asked                     # "GET /org/name/resolve/...", in order
        hub.token = "secret"          # from now on others hear 401
        hub.break_after = 1000        # a connection ends after so many bytes of a body

Files that end in .safetensors are large ones: the hub redirects them to the store, which is another host (another
name and port), with an address that is good for one request.
"""

import hashlib
import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def git_sha1(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def etag(name, data):
    return hashlib.sha256(data).hexdigest() if name.endswith(".safetensors") else git_sha1(data)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    @property
    def hub(self):
        return self.server.hub

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        hub = self.hub
        with hub.lock:
            hub.asked.append(f"{self.command} {self.path}")
            hub.headers.append((self.server.is_store, self.path, dict(self.headers)))
            fail = hub.fail.pop(0) if hub.fail and not self.server.is_store else None
        if fail:
            return self.answer(fail)
        if self.server.is_store:
            return self.store()
        if hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
            return self.answer(401, X_Error_Message="Invalid credentials")
        if hub.forbidden:
            return self.answer(403, X_Error_Code="GatedRepo", X_Error_Message="Access is restricted")
        parts = unquote(self.path).split("/")
        if parts[1:3] == ["api", "models"]:
            return self.listing("/".join(parts[3:5]), "/".join(parts[6:]))
        return self.resolve("/".join(parts[1:3]), parts[4], "/".join(parts[5:]))

    def listing(self, model, revision):
        hub = self.hub
        if model not in hub.models:
            return self.answer(404, X_Error_Code="RepoNotFound")
        if revision not in ("main", hub.commit, *hub.tags):
            return self.answer(404, X_Error_Code="RevisionNotFound")
        names = [*hub.models[model], *hub.more_names]
        body = json.dumps({"id": model, "sha": hub.commit, "siblings": [{"rfilename": n} for n in names]})
        self.answer(200, body.encode(), Content_Type="application/json")

    def resolve(self, model, commit, name):
        hub = self.hub
        data = hub.models.get(model, {}).get(name)
        if data is None or commit not in ("main", hub.commit, *hub.tags):
            return self.answer(404, X_Error_Code="EntryNotFound")
        tag, size = hub.etags.get(name, etag(name, data)), hub.sizes.get(name, len(data))
        if not name.endswith(".safetensors"):
            return self.send_file(name, data, ETag=f'"{tag}"', X_Repo_Commit=hub.commit)
        ticket = secrets.token_hex(8)
        with hub.lock:
            hub.tickets.add(ticket)
        self.answer(302, b"Found", Location=f"{hub.store_url}/{model}/{name}?signature={ticket}",
                    X_Repo_Commit=hub.commit, X_Linked_Etag=f'"{tag}"', X_Linked_Size=str(size))

    def store(self):
        hub = self.hub
        path, _, ticket = self.path.partition("?signature=")
        with hub.lock:
            known = ticket in hub.tickets
            hub.tickets.discard(ticket)
            hub.running += 1
            hub.most_running = max(hub.most_running, hub.running)
        try:
            if not known:
                return self.answer(403, b"the signature is not valid")
            org, name, file = path.strip("/").split("/", 2)
            self.send_file(file, hub.models[f"{org}/{name}"][file], ETag='"of-the-store"')
        finally:
            with hub.lock:
                hub.running -= 1

    def send_file(self, name, data, **headers):
        hub = self.hub
        data = hub.bytes.get(name, data)
        wanted = self.headers.get("Range")
        if wanted and hub.ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(data):
                return self.answer(416, Content_Range=f"bytes */{len(data)}")
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            data = data[start:]
        else:
            self.send_response(200)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if hub.break_after is not None and len(data) > hub.break_after:
            self.wfile.write(data[:hub.break_after])
            self.wfile.flush()
            self.close_connection = True
            return
        step = max(1, int(hub.bytes_per_second / 20)) if hub.bytes_per_second else 1 << 20
        try:
            for at in range(0, len(data), step):
                self.wfile.write(data[at:at + step])
                if hub.bytes_per_second:
                    time.sleep(1 / 20)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True


class Hub:
    def __init__(self, models, tls=None):
        """`tls`: an ssl.SSLContext of a server; without one it is plain HTTP"""
        self.models = models
        self.commit, self.tags = COMMIT, []
        self.token = None             # if set, what requests to the hub must bring
        self.forbidden = False        # everybody hears 403
        self.fail = []                # statuses of the next answers
        self.more_names = []          # files that it lists beside those it has
        self.etags, self.sizes = {}, {}      # by name: lies about a file
        self.bytes = {}               # by name: what is sent in the place of a file
        self.ranges = True            # the store heeds Range
        self.store_scheme = None      # if set, what redirects to the store begin with
        self.break_after = self.bytes_per_second = None
        self.asked, self.headers, self.tickets = [], [], set()
        self.running = self.most_running = 0
        self.lock = threading.Lock()
        self.scheme = "https" if tls else "http"
        self.servers = [ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2)]
        for server, is_store in zip(self.servers, (False, True)):
            server.hub, server.is_store, server.daemon_threads = self, is_store, True
            if tls:
                server.socket = tls.wrap_socket(server.socket, server_side=True)
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.servers[0].server_port}"

    @property
    def store_url(self):
        return f"{self.store_scheme or self.scheme}://localhost:{self.servers[1].server_port}"

    def gets(self, word=""):
        return [a for a in self.asked if a.startswith("GET") and word in a]

    def close(self):
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
