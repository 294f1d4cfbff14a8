"""How fast the CUDA backend is on this machine's GPU, next to its limits: `make gpu-bench`, ten minutes at most, a table and
build/gpu-bench.json.

    tests/cusim/gpu_bench.py [--device cusim]    # cusim: small sizes on the emulator, to try this program

Operations (gpu_bench.c) are shown as shares of the bandwidth that a copy reaches and, where PyTorch is installed, next to
its linear layer in bfloat16 (cuBLAS). Then the server answers requests about a 1080x2400 screenshot, on a checkpoint of
AutoGLM-Phone-9B's shape without data (python/full.py --hollow: the arithmetic does not know), and, where vLLM is
installed, vLLM does.
"""

import argparse
import base64
import http.client
import importlib.util
import json
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib

import gpu

TORCH = r"""
import json, sys, torch
for line in sys.stdin:
    m, k, n = map(int, line.split())
    copies = max(1, (256 << 20) // (2 * k * n) + 1)
    w = [torch.randn(n, k, device="cuda", dtype=torch.bfloat16) for _ in range(copies)]
    x = torch.randn(m, k, device="cuda", dtype=torch.bfloat16)
    for i in range(3): torch.nn.functional.linear(x, w[i % copies])
    a, b, rounds = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True), 50
    a.record()
    for i in range(rounds): torch.nn.functional.linear(x, w[i % copies])
    b.record(); torch.cuda.synchronize()
    print(json.dumps({"shape": line.strip(), "ms": a.elapsed_time(b) / rounds}), flush=True)
    del w
"""


def operations(device, clock):
    status, out = gpu.run(gpu.BUILD / "tests/cusim/gpu_bench", device, *(["small"] if device != "cuda" else []), seconds=clock.left(240))
    rows = [json.loads(x) for x in out.splitlines() if x.startswith("{")]
    for line in out.splitlines():
        if not line.startswith("{"):
            print(line)
    if status:
        print(f"gpu_bench ended with {status}")
    return rows


def torch_times(rows, clock):
    """{(rows, in, out): milliseconds} of PyTorch for the shapes in rows; {} without it."""
    if not importlib.util.find_spec("torch"):
        print("skip: PyTorch is not there")
        return {}
    shapes = sorted({m.groups() for r in rows if (m := re.search(r"^linear bf16 .* (\d+)x(\d+)x(\d+)$", r["op"]))})
    r = subprocess.run([sys.executable, "-c", TORCH], input="\n".join(" ".join(s) for s in shapes), capture_output=True, text=True,
                       timeout=max(clock.left(120), 1))
    if r.returncode:
        print("skip: PyTorch:", r.stderr.strip().splitlines()[-1] if r.stderr.strip() else r.returncode)
    return {tuple(map(int, d["shape"].split())): d["ms"] for d in map(json.loads, r.stdout.splitlines())}


def compare(rows, torch):
    """Adds GB/s, TFLOP/s, the share of a copy's bandwidth, and PyTorch's time."""
    roof = next((r["bytes"] / r["ms"] for r in rows if r["op"] == "copy"), None)
    for r in rows:
        r["gb_per_s"], r["tflop_per_s"] = r["bytes"] / r["ms"] / 1e6, r["flop"] / r["ms"] / 1e9
        r["of_copy"] = r["bytes"] / r["ms"] / roof if roof else None
        m = re.search(r" (\d+)x(\d+)x(\d+)$", r["op"])
        r["torch_ms"] = torch.get(tuple(map(int, m.groups()))) if m else None
    yield "operation", "ms", "GB/s", "of a copy", "TFLOP/s", "PyTorch bf16 ms"
    for r in rows:
        yield (r["op"], f"{r['ms']:.3f}", f"{r['gb_per_s']:.0f}", f"{100 * r['of_copy']:.0f} %" if roof else "", f"{r['tflop_per_s']:.1f}",
               f"{r['torch_ms']:.3f}" if r["torch_ms"] else "")


# ---- the server ----

def png(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    line = b"\0" + bytes(x for i in range(width) for x in (i % 256, i // 5 % 256, 90))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(line * height, 1)) + chunk(b"IEND", b""))


class Server:
    """A program that listens on a port of its own choice (port None: told in its log) and answers /health."""

    def __init__(self, command, port, seconds):
        self.log, self.port = [], port
        self.process = subprocess.Popen([str(c) for c in command], cwd=gpu.ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                        start_new_session=True)
        threading.Thread(target=self.read, daemon=True).start()
        self.began, end = time.monotonic(), time.monotonic() + seconds
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > end:
                self.close()
                raise RuntimeError(f"{command[0]} did not start: " + "".join(self.log[-5:]).strip())
            time.sleep(0.1)
        self.start_seconds = time.monotonic() - self.began

    def read(self):
        for line in self.process.stdout:
            self.log.append(line)
            if self.port is None and (m := re.search(r"listening on http://\S+:(\d+)", line)):
                self.port = int(m[1])

    def ready(self):
        try:
            c = http.client.HTTPConnection("127.0.0.1", self.port or 1, timeout=5)
            c.request("GET", "/ready" if b"openautoglm" in self.process.args[0].encode() else "/health")
            return self.port is not None and c.getresponse().status == 200
        except OSError:
            return False

    def close(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)


def ask(port, content, tokens, out):
    """Streams one answer; appends (seconds to the first token, tokens, seconds in all) to out."""
    body = json.dumps({"model": MODEL_NAME, "messages": [{"role": "user", "content": content}], "max_tokens": tokens, "temperature": 0,
                       "ignore_eos": True, "stream": True, "stream_options": {"include_usage": True}})
    began, first, n = time.monotonic(), None, 0
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    c.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    r = c.getresponse()
    if r.status != 200:
        raise RuntimeError(r.read().decode())
    for line in r:
        if not line.startswith(b"data: {"):
            continue
        d = json.loads(line[6:])
        if first is None and d["choices"]:
            first = time.monotonic() - began
        n = (d.get("usage") or {}).get("completion_tokens", n)
    out.append((first, n, time.monotonic() - began))


MODEL_NAME = "bench"


def requests(port, image, tokens, batch):
    """What the server makes of a screenshot, of the same again, of a short text, and of `batch` texts at once."""
    def many(n, text):
        out, threads = [], []
        began = time.monotonic()
        for i in range(n):
            threads.append(threading.Thread(target=ask, args=(port, f"{text} {i}", tokens, out)))
            threads[-1].start()
        for t in threads:
            t.join()
        if len(out) < n:
            raise RuntimeError("a request failed")
        return out, time.monotonic() - began

    def screen(data):
        out = []
        ask(port, [{"type": "image_url", "image_url": {"url": "data:image/png;base64," + base64.b64encode(data).decode()}},
                   {"type": "text", "text": "Tap the button"}], tokens, out)
        return out[0]

    screen(png(image[0], image[1] - 28))                 # kernels are loaded, graphs recorded
    seen, again = screen(png(*image)), screen(png(*image))
    many(1, "warm")
    alone, _ = many(1, "hello")
    many(batch, "warm")
    crowd, seconds = many(batch, "hello")
    return {"screenshot_first_token_s": seen[0], "again_first_token_s": again[0],
            "screenshot_tokens_per_s": (seen[1] - 1) / (seen[2] - seen[0]) if seen[1] > 1 else None,
            "text_tokens_per_s": (alone[0][1] - 1) / (alone[0][2] - alone[0][0]) if alone[0][1] > 1 else None,
            f"{batch}_requests_tokens_per_s": sum(x[1] for x in crowd) / seconds}


def serve(name, command, port, clock, image, tokens, batch):
    try:
        server = Server(command, port, clock.left(240))
    except (RuntimeError, OSError) as e:
        print(f"skip: {name}: {e}")
        return None
    try:
        return {"server": name, "start_s": server.start_seconds} | requests(server.port, image, tokens, batch)
    except (RuntimeError, OSError, ValueError) as e:
        print(f"{name} failed: {e}\n" + "".join(server.log[-5:]))
        return None
    finally:
        server.close()


def end_to_end(device, clock):
    small = device != "cuda"
    image, tokens, batch = ((112, 168), 4, 3) if small else ((1080, 2400), 128, 16)
    with tempfile.TemporaryDirectory() as folder:
        model = gpu.ROOT / "tests/model/glm4v/grouped" if small else folder
        if not small:
            status, out = gpu.run(sys.executable, "python/full.py", "--hollow", folder, seconds=60)
            if status:
                print("skip: the server: python/full.py:", out.strip().splitlines()[-1] if out.strip() else status)
                return []
        found = []
        common = ["serve", "--model", model, "--served-model-name", MODEL_NAME, "--port", "0", "--device", device]
        for name, more in (("openautoglm", []), ("without graphs", ["--gpu-graphs=false"]), ("int4", ["--weights", "int4"])):
            if small and more:
                continue
            if clock.left() > 60 or small:
                found.append(serve(name, [gpu.BUILD / "openautoglm", *common, *more], None, clock, image, tokens, batch))
        if not small and importlib.util.find_spec("vllm") and clock.left() > 150:
            command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", folder, "--load-format", "dummy",
                       "--served-model-name", MODEL_NAME, "--max-model-len", "8192", "--port", "18999"]
            found.append(serve("vLLM", command, 18999, clock, image, tokens, batch))
        return [f for f in found if f]


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--device", default="cuda", choices=("cuda", "cusim"))
    a.add_argument("--seconds", type=float, default=570)
    a = a.parse_args()
    clock, machine = gpu.Clock(a.seconds), gpu.machine(a.device)
    print(", ".join(machine.values()))
    rows = operations(a.device, clock)
    torch = torch_times(rows, clock) if a.device == "cuda" else {}
    gpu.table(list(compare(rows, torch)))
    print()
    servers = end_to_end(a.device, clock)
    if servers:
        keys = list(servers[0])
        gpu.table([("", *(s["server"] for s in servers))] +
                  [(k, *(f"{s[k]:.3f}" if s.get(k) is not None else "" for s in servers)) for k in keys[1:]])
    gpu.save("gpu-bench.json", {"machine": machine, "device": a.device, "operations": rows, "servers": servers})
    sys.exit(not rows or not servers)


if __name__ == "__main__":
    main()
