"""The servers that are compared: how each is started, when it is ready, what memory it takes.

An entry of SERVERS is all that the rest of the benchmark knows of a server.
"""
import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field

import peers

HERE = os.path.dirname(os.path.abspath(__file__))
LOAD = 300                # seconds in which a server must be ready
LLAMA_CONTEXT = 1024      # tokens for each of llama.cpp's slots, which share them; the largest chat here fits twice


@dataclass
class Server:
    """One server with weights of one type."""
    title: str                  # of the table's column
    bits: float                 # of a weight in a matrix, without scales
    project: str                # ours, llama.cpp, openvino, vllm
    command: object             # (size, port, streams) -> list of words
    environment: dict = field(default_factory=dict)


def ours(*options, model=peers.checkpoint):
    """model: gives the folder of a checkpoint of some size."""
    def command(size, port, streams):
        return [binary(), "serve", "--model", model(size), "--served-model-name", "model", "--port", str(port),
                "--max-num-seqs", str(streams), "--log-level", "warn", *options]
    return command


def binary():
    return os.environ.get("OPENAUTOGLM_BIN", os.path.join(peers.ROOT, "build", "openautoglm"))


def prepared(kind):
    """A checkpoint whose weights `openautoglm quantize` has made smaller and laid out as the CPU uses them."""
    def model(size):
        path = peers.folder(size, f"ours-{kind}")
        if not os.path.exists(os.path.join(path, "config.json")):
            peers.run(binary(), "quantize", "--model", peers.checkpoint(size), "--weights", kind, "--out", path)
        return path
    return model


def llama(kind):
    def command(size, port, streams):
        text, vision = peers.gguf(size, kind)
        return [peers.llama("llama-server"), "-m", text, "--mmproj", vision, "--port", str(port), "-t",
                str(os.cpu_count()), "-np", str(streams), "-c", str(max(16, streams) * LLAMA_CONTEXT), "--kv-unified",
                "--jinja", "--no-ui", "--log-verbosity", "1"]
    return command


def openvino(kind):
    def command(size, port, streams):
        return [peers.PYTHON, os.path.join(HERE, "openvino_server.py"), peers.openvino(size, kind), str(port),
                "--streams", str(streams)]
    return command


def vllm(size, port, streams):
    return [peers.vllm(), "-m", "vllm.entrypoints.openai.api_server", "--model", peers.checkpoint(size), "--port",
            str(port), "--host", "127.0.0.1", "--served-model-name", "model", "--dtype", "bfloat16", "--max-model-len",
            "8192", "--max-num-seqs", str(streams), "--enforce-eager"]


# All cores, one of which it would leave alone otherwise, and the OpenMP that its documentation asks for.
VLLM = {"VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_CPU_OMP_THREADS_BIND": f"0-{os.cpu_count() - 1}",
        "LD_PRELOAD": os.path.join(peers.PEERS, "vllm", "lib", "libiomp5.so")}

# What the table compares, then configurations of ours: weights prepared beforehand; and what batching, quantisation
# and the rest bring.
SERVERS = {
    "ours-bf16": Server("ours bf16", 16, "ours", ours("--weights", "bf16")),
    "ours-int8": Server("ours int8", 8, "ours", ours("--weights", "int8")),
    "ours-int4": Server("ours int4", 4, "ours", ours("--weights", "int4")),
    "llama-bf16": Server("llama.cpp BF16", 16, "llama.cpp", llama("bf16")),
    "llama-q8": Server("llama.cpp Q8_0", 8, "llama.cpp", llama("q8_0")),
    "llama-q4": Server("llama.cpp Q4_0", 4, "llama.cpp", llama("q4_0")),
    "openvino-int8": Server("OpenVINO GenAI int8", 8, "openvino", openvino("int8")),
    "openvino-int4": Server("OpenVINO GenAI int4", 4, "openvino", openvino("int4")),
    "vllm-bf16": Server("vLLM bf16", 16, "vllm", vllm, VLLM),
    "prepared-int8": Server("ours int8, prepared", 8, "own", ours(model=prepared("int8"))),
    "prepared-int4": Server("ours int4, prepared", 4, "own", ours(model=prepared("int4"))),
    "plain": Server("fp32, one at a time", 32, "own", ours("--weights", "f32", "--max-num-seqs", "1",
                                                           "--no-prefix-cache")),
    "batched": Server("fp32, batched", 32, "own", ours("--weights", "f32")),
}
COMPARED = [key for key, s in SERVERS.items() if s.project != "own"]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def healthy(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def resident(pid):
    """MiB of the process that lie in memory, pages of mapped files among them."""
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) / 1024 for line in f if line.startswith("VmRSS"))


@contextlib.contextmanager
def running(key, size, streams, log):
    """Starts a server, waits until it is ready, and gives (port, pid, seconds until then). Ends it at the end. Its
    words go to the file `log`. Raises RuntimeError if it does not become ready."""
    port = free_port()
    command = SERVERS[key].command(size, port, streams)
    with open(log, "w", encoding="utf-8") as out:
        begun = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                                   env={**os.environ, **SERVERS[key].environment})
        try:
            while not healthy(port):
                if process.poll() is not None or time.perf_counter() > begun + LOAD:
                    raise RuntimeError(f"{key} did not become ready; {log} has its words")
                time.sleep(0.02)
            yield port, process.pid, time.perf_counter() - begun
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def installed(key, size):
    """Makes all that a server needs, so that nothing is built while others are timed."""
    SERVERS[key].command(size, 0, 1)
    print(f"bench-peers: {key} is there", file=sys.stderr, flush=True)
