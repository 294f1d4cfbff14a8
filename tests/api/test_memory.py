"""Memory that runs out while requests are served: one allocation is refused, or every n-th, under a mixed load.

Whoever asked hears 503, or its stream ends with an error event, or the connection is closed; what is answered is right;
afterwards everything is answered right, and no place and no page is still held. `make alloc-test` takes every n up to
400.
"""

import collections
import http.client
import json
import mmap
import os
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from conftest import PATIENCE, ROOT, ask

SHIM = ROOT / "build" / "tests" / "alloc" / "fail_alloc.so"
EVERY_N = int(os.environ.get("ALLOC_TEST_TO", "0"))
SOME_N = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377)
ONCE, EVERY = 1, 2
MODELS = {"native": ROOT / "models/open-autoglm-v1", "glm4v": ROOT / "tests/model/phone/glm4v",
          "qwen2_5_vl": ROOT / "tests/model/qwen2_5_vl/windows", "qwen3_vl": ROOT / "tests/model/qwen3_vl/deepstack"}
TOOL = ({"type": "function",
         "function": {"name": "tap", "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}}}})


class Memory:
    """The file that tells the shim (tests/alloc/fail_alloc.c) what to refuse."""

    def __init__(self, path):
        self.path = path
        path.write_bytes(bytes(4096))
        with open(path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), 4096)

    def refuse(self, mode, n):
        self.map[8:32] = struct.pack("qqq", n, 0, 0)
        self.map[0:8] = struct.pack("q", mode)

    def give(self):
        """Refuses no more; how many requests for memory there were, and how many were refused."""
        self.map[0:8] = struct.pack("q", 0)
        return struct.unpack("qq", self.map[16:32])


class Load:
    """Requests of every kind, each with its answer: (outcome, value), where the value of one that is answered is what
    it is whoever else asks."""

    def __init__(self, server, n):
        chat = "/v1/chat/completions"
        short = {"temperature": 0, "max_tokens": 6}
        self.server = server
        self.requests = {
            "image": (chat, {"messages": ask(f"Tap {n % 7}", n), "stream": True, **short}),
            "two images": (chat, {"messages": ask("Compare", 5000 + n, 5001 + n), **short}),
            "logprobs": (chat, {"messages": [{"role": "user", "content": f"Go back {n}"}], "stream": True,
                                "logprobs": True, "top_logprobs": 5, "stop": ["zzz"], **short}),
            "tools": (chat,
                      {"messages": [{"role": "system", "content": "Be brief."},
                                    {"role": "user", "content": "Caf\u00e9"},
                                          {"role": "assistant", "content": "", "tool_calls": [
                                              {"type": "function",
                                               "function": {"name": "tap", "arguments": "{\"x\": 1}"}}]},
                                          {"role": "tool", "content": f"done {n}"}], "tools": [TOOL], **short}),
            "long": ("/v1/completions", {"prompt": f"{n} " + "all the words of a prompt " * 12,
                                         "frequency_penalty": 0.5, **short}),
            "tokenize": ("/tokenize", {"prompt": f"w{n}ords and \u4f60\u597d" * 20, "return_token_strs": True}),
            "detokenize": ("/detokenize", {"tokens": list(range(3, 40))}),
            "metrics": ("/metrics", None),
            "leaves": (chat, {"messages": ask("Wait", 9000 + n), "stream": True, "ignore_eos": True, "temperature": 0,
                              "max_tokens": 60}),
        }

    def run(self, at_once):
        names = list(self.requests)
        with ThreadPoolExecutor(len(names) if at_once else 1) as pool:
            return dict(zip(names, pool.map(self.one, names)))

    def one(self, name):
        path, body = self.requests[name]
        c = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=PATIENCE)
        try:
            c.request("POST" if body else "GET", path, body and json.dumps(body), {"Content-Type": "application/json"})
            r = c.getresponse()
            if name == "leaves":
                r.read(1)
                return ("left" if r.status == 200 else "refused", None) if r.status in (200, 503) else ("wrong",
                                                                                                        r.status)
            return self.judge(name, r.status, r.read().decode())
        except (http.client.HTTPException, ConnectionError, socket.timeout) as e:
            return ("hangs", name) if isinstance(e, socket.timeout) else ("dropped", None)
        finally:
            c.close()

    def judge(self, name, status, text):
        if status == 503:
            error = json.loads(text)["error"]
            return "refused", (error["code"], error["message"])
        if status != 200:
            return "wrong", (status, text)
        if name == "metrics":
            return ("answered", None) if "\nopenautoglm_uptime_seconds " in text and text.endswith("\n") else ("wrong",
                                                                                                               text)
        if self.requests[name][1].get("stream"):
            return self.judge_stream(text)
        answer = json.loads(text)
        if "choices" in answer:
            return "answered", (answer["choices"], answer["usage"]["prompt_tokens"])
        return "answered", answer

    @staticmethod
    def judge_stream(text):
        events = [e[6:] for e in text.split("\n\n") if e.startswith("data: ")]
        if not events or events[-1] != "[DONE]":
            return "wrong", text
        events = [json.loads(e) for e in events[:-1]]
        if "error" in events[-1]:
            return "refused", (events[-1]["error"]["code"], events[-1]["error"]["message"])
        choices = [e["choices"][0] for e in events]
        tokens = [t for c in choices if c.get("logprobs") for t in c["logprobs"]["content"]]
        return "answered", ("".join(c["delta"].get("content") or "" for c in choices), tokens,
                            choices[-1]["finish_reason"])


def held(server):
    m = server.metrics()
    return {k: v for k, v in m.items() if v and k in ("openautoglm_generations", "openautoglm_requests_running",
                                                      "openautoglm_requests_waiting", "openautoglm_kv_pages_used")}


def check(server, memory, mode, n, told):
    """One n: the load while memory is refused, and the same again with all of it."""
    load = Load(server, n)
    memory.refuse(mode, n)
    starved = load.run(at_once=True)
    asked, refused = memory.give()
    assert server.process.poll() is None, f"the process ended with {server.process.returncode}"
    fed = load.run(at_once=False)
    told["asked"] += asked
    told["denied"] += refused
    for name, (outcome, value) in starved.items():
        told[outcome] += 1
        if outcome == "refused" and value:
            assert value[0] == "out_of_memory", (name, value)
        assert outcome in ("answered", "left", "refused", "dropped"), (name, outcome, value)
        assert fed[name][0] == ("left" if name == "leaves" else "answered"), (name, "afterwards", fed[name])
        if outcome == "answered":
            assert value == fed[name][1], (name, value, fed[name][1])
    if mode == ONCE:
        assert refused == 1 and asked > n
    end = time.monotonic() + PATIENCE / 4
    while held(server):
        assert time.monotonic() < end, held(server)
        time.sleep(0.01)


@pytest.fixture
def starving(start, tmp_path):
    if not SHIM.exists() or os.environ.get("TEST_SLOW"):
        pytest.skip("a sanitizer brings its own allocator" if SHIM.exists() else f"`make {SHIM.relative_to(ROOT)}` "
            f"was not run")

    def run(model):
        memory = Memory(tmp_path / "control")
        server = start("--model", str(MODELS[model]), "--max-num-seqs", "6", "--max-queue", "6", "--input-threads", "2",
                       "--image-cache-bytes", "1", env={"LD_PRELOAD": str(SHIM), "FAIL_ALLOC": str(memory.path)})
        return server, memory
    return run


@pytest.mark.parametrize("mode", [ONCE, EVERY], ids=["once", "every"])
@pytest.mark.parametrize("model", MODELS if EVERY_N else ["native"])
def test_refused_memory_fails_requests_alone(starving, model, mode):
    server, memory = starving(model)
    told, wrong = collections.Counter(), []
    for n in range(1, EVERY_N + 1) if EVERY_N else SOME_N:
        try:
            check(server, memory, mode, n, told)
        except AssertionError as e:
            if not EVERY_N:
                raise
            wrong.append(f"{n}: {str(e)[:300]}")
            if server.process.poll() is not None:
                wrong[-1] += "".join(server.lines[-3:])
                server, memory = starving(model)
    print(f"{model}, mode {mode}:", dict(told))
    assert not wrong, "\n".join(wrong)


def test_without_memory_it_still_stops(starving):
    """SIGTERM while every third allocation is refused and requests come in."""
    server, memory = starving("native")
    memory.refuse(EVERY, 3)
    busy = threading.Thread(target=Load(server, 1).run, args=(True,))
    busy.start()
    time.sleep(0.05)
    assert server.stop() == 0
    busy.join()
