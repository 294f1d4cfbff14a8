"""How fast the CUDA backend is on this machine's GPU, next to its limits: `make gpu-bench`, ten minutes at most,
build/gpu-bench.json and, as tables, build/gpu-bench.txt.

    tests/cusim/gpu_bench.py [--device cusim]    # cusim: small sizes on the emulator, to try this program

Operations (gpu_bench.c) are shown as shares of the bandwidth that a copy reaches and, where PyTorch is installed, next
to its linear layer in bfloat16 (cuBLAS). Then the server answers requests about a 1080x2400 screenshot, on a checkpoint
of AutoGLM-Phone-9B's shape without data (python/full.py --hollow: the arithmetic does not know), and, where vLLM is
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


def operations(device, clock, results, most=240):
    """The times of gpu_bench.c; each as soon as it is there."""
    for line in gpu.lines(gpu.BUILD / "tests/cusim/gpu_bench", device, *(["small"] if device != "cuda" else []),
                          seconds=clock.left(most)):
        if isinstance(line, int):
            if line:
                print(f"gpu_bench ended with {line}")
        elif line.startswith("{"):
            results.add("operations", json.loads(line))
        else:
            print(line)


def torch_times(results, clock, most=120):
    """Adds PyTorch's time to the operations whose shape it multiplies too; nothing where it is not installed."""
    shape = re.compile(r" (\d+)x(\d+)x(\d+)$")
    rows = [(r, m.groups()) for r in results.lists["operations"] if (m := shape.search(r["op"])) and
            r["op"].startswith("linear")]
    if not rows or not importlib.util.find_spec("torch"):
        print("skip: PyTorch is not there")
        return
    asked = "\n".join(sorted({" ".join(s) for r, s in rows if r["op"].startswith("linear bf16")})) + "\n"
    for line in gpu.lines(sys.executable, "-c", TORCH, seconds=clock.left(most), input=asked):
        if isinstance(line, int) or not line.startswith("{"):
            if line:
                print("PyTorch:", line)
            continue
        told = json.loads(line)
        for r, s in rows:
            if " ".join(s) == told["shape"]:
                r["torch_ms"] = told["ms"]
        results.save()


def rows_of_operations(operations):
    """GB/s, TFLOP/s, the share of a copy's bandwidth, and PyTorch's time."""
    roof = next((r["bytes"] / r["ms"] for r in operations if r["op"] == "copy"), None)
    rows = [("operation", "ms", "GB/s", "of a copy", "TFLOP/s", "PyTorch bf16 ms")]
    for r in operations:
        speed = r["bytes"] / r["ms"]
        rows.append((r["op"], f"{r['ms']:.3f}", f"{speed / 1e6:.0f}", f"{100 * speed / roof:.0f} %" if roof else "",
                     f"{r['flop'] / r['ms'] / 1e9:.1f}", f"{r['torch_ms']:.3f}" if "torch_ms" in r else ""))
    return rows


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
        self.process = gpu.start(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
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
            pass
        gpu.end(self.process.pid)


def ask(port, content, tokens, out):
    """Streams one answer; appends (seconds to the first token, tokens, seconds in all) to out."""
    body = json.dumps({"model": MODEL_NAME, "messages": [{"role": "user", "content": content}], "max_tokens": tokens,
                       "temperature": 0, "ignore_eos": True, "stream": True, "stream_options": {"include_usage": True}})
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
    """What the server makes of a screenshot, of the same again, of a short text, and of `batch` texts at once: figures
    by name, part by part."""
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
        ask(port,
            [{"type": "image_url", "image_url": {"url": "data:image/png;base64," + base64.b64encode(data).decode()}},
                   {"type": "text", "text": "Tap the button"}], tokens, out)
        return out[0]

    screen(png(image[0], image[1] - 28))                 # kernels are loaded, graphs recorded
    def speed(answer):
        return (answer[1] - 1) / (answer[2] - answer[0]) if answer[1] > 1 else None

    seen = screen(png(*image))
    yield {"screenshot_first_token_s": seen[0], "screenshot_tokens_per_s": speed(seen)}
    yield {"again_first_token_s": screen(png(*image))[0]}
    many(1, "warm")
    yield {"text_tokens_per_s": speed(many(1, "hello")[0][0])}
    many(batch, "warm")
    crowd, seconds = many(batch, "hello")
    yield {f"{batch}_requests_tokens_per_s": sum(x[1] for x in crowd) / seconds}


def serve(results, name, command, port, clock, image, tokens, batch, most=240):
    """Starts a server, asks it, and adds what it took to "servers"; nothing if it fails."""
    try:
        server = Server(command, port, clock.left(most))
    except (RuntimeError, OSError) as e:
        print(f"skip: {name}: {e}")
        return
    watch = threading.Timer(clock.left(most), server.close)       # a request that hangs ends with the server
    watch.start()
    told = {"server": name, "start_s": server.start_seconds}
    results.add("servers", told)
    try:
        for figures in requests(server.port, image, tokens, batch):
            told.update(figures)
            results.save()
    except (RuntimeError, OSError, ValueError, http.client.HTTPException) as e:
        print(f"{name} failed: {e}\n" + "".join(server.log[-5:]))
    finally:
        watch.cancel()
        server.close()


OURS = {"openautoglm": [], "without graphs": ["--gpu-graphs=false"], "int4": ["--weights", "int4"]}


def end_to_end(device, clock, results, names, least=60):
    """Servers by name (OURS, "vLLM"), one after the other, as long as there is time."""
    small = device != "cuda"
    image, tokens, batch = ((112, 168), 4, 3) if small else ((1080, 2400), 128, 16)
    with tempfile.TemporaryDirectory() as folder:
        model = gpu.ROOT / "tests/model/glm4v/grouped" if small else folder
        if not small:
            status, out = gpu.run(sys.executable, "python/full.py", "--hollow", folder, seconds=clock.left(60))
            if status:
                print("skip: the server: python/full.py:", out.strip().splitlines()[-1] if out.strip() else status)
                return
        common = [gpu.BUILD / "openautoglm", "serve", "--model", model, "--served-model-name", MODEL_NAME, "--port",
                  "0", "--device", device]
        for name in names:
            if clock.left() < least or (small and name != "openautoglm"):
                continue
            if name in OURS:
                serve(results, name, [*common, *OURS[name]], None, clock, image, tokens, batch)
            elif importlib.util.find_spec("vllm") and clock.left() > 150:
                command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", folder,
                           "--load-format", "dummy",
                           "--served-model-name", MODEL_NAME, "--max-model-len", "8192", "--port", "18999"]
                serve(results, name, command, 18999, clock, image, tokens, batch)


def rows_of_servers(servers):
    keys = max(servers, key=len).keys()
    return ([("", *(s["server"] for s in servers))] +
            [(k, *(f"{s[k]:.3f}" if s.get(k) is not None else "" for s in servers)) for k in keys if k != "server"])


TABLES = {"operations": rows_of_operations, "servers": rows_of_servers}


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--device", default="cuda", choices=("cuda", "cusim"))
    a.add_argument("--seconds", type=float, default=570)
    a = a.parse_args()
    clock = gpu.Clock(a.seconds)
    results = gpu.Results(gpu.BUILD, "gpu-bench", TABLES, machine=gpu.machine(a.device), device=a.device)
    operations(a.device, clock, results)
    if a.device == "cuda":
        torch_times(results, clock)
    end_to_end(a.device, clock, results, [*OURS, "vLLM"])
    results.close()
    sys.exit(not results.lists["operations"] or not results.lists["servers"])


if __name__ == "__main__":
    main()
