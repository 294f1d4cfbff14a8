"""The smallest HTTP server around OpenVINO GenAI that the benchmark can ask.

    python/benchmark/openvino_server.py MODEL PORT [--streams 16] [--cache-gb 2]

OpenVINO GenAI is a library without a server.  This one has a thread that calls
the library's continuous batching and a thread for each connection that waits
for tokens; the time between is spent in the library.  Pictures are encoded by
the thread of the connection, as the library has it.  Run by the Python of the
virtual environment in which `openvino_genai` is.
"""
import argparse
import base64
import io
import itertools
import json
import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import openvino
import openvino_genai
from PIL import Image


class Engine:
    """The library, and the requests that it works on."""

    def __init__(self, model, streams, cache_gb):
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.cache_size = cache_gb
        scheduler.max_num_seqs = streams
        scheduler.enable_prefix_caching = True
        self.pipe = openvino_genai.ContinuousBatchingPipeline(model, scheduler, "CPU")
        self.tokenizer = self.pipe.get_tokenizer()
        self.numbers = itertools.count()
        self.waiting = queue.Queue()          # of (handle, tokens of its client)
        threading.Thread(target=self.work, daemon=True).start()

    def add(self, messages, max_tokens):
        """Encodes the pictures and queues the request. Gives (handle, tokens of the prompt without its
        pictures', queue of lists of ids that ends in a None)."""
        history, pictures = [], []
        for m in messages:
            text = m["content"] if isinstance(m["content"], str) else ""
            for part in m["content"] if isinstance(m["content"], list) else []:
                if part["type"] == "text":
                    text += part["text"]
                else:
                    text += f"<ov_genai_image_{len(pictures)}>"
                    pictures.append(tensor(part["image_url"]["url"]))
            history.append({"role": m["role"], "content": text})
        prompt = self.tokenizer.apply_chat_template(history, add_generation_prompt=True)
        config = openvino_genai.GenerationConfig(max_new_tokens=max_tokens, ignore_eos=True, do_sample=False,
                                                 apply_chat_template=False)
        number, out = next(self.numbers), queue.Queue()
        if pictures:
            handle = self.pipe.add_request(number, prompt, pictures, config)
        else:
            handle = self.pipe.add_request(number, prompt, config)
        self.waiting.put((handle, out))
        return handle, self.tokenizer.encode(prompt).input_ids.shape[1], out

    def work(self):
        """Steps as long as there is a request, and hands out what came."""
        running = []
        while True:
            while not running or not self.waiting.empty():
                running.append(self.waiting.get())
            self.pipe.step()
            for handle, out in running:
                while handle.can_read():
                    for generated in handle.read().values():
                        out.put(list(generated.generated_ids))
            for pair in [p for p in running if ended(p[0])]:
                pair[1].put(None)
                running.remove(pair)


def ended(handle):
    return handle.get_status() != openvino_genai.GenerationStatus.RUNNING and not handle.can_read()


def tensor(url):
    picture = Image.open(io.BytesIO(base64.b64decode(url.split(",", 1)[1]))).convert("RGB")
    return openvino.Tensor(np.array(picture)[None])


class Server(ThreadingHTTPServer):
    """Takes as many connections at once as a row opens."""
    request_queue_size = 128


class Handler(BaseHTTPRequestHandler):
    """GET gives 200, POST is a streamed chat completion."""
    protocol_version = "HTTP/1.0"
    engine = None

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        handle, prompt, out = self.engine.add(request["messages"], request["max_tokens"])
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        n = 0
        try:
            for ids in iter(out.get, None):
                n += len(ids)
                self.event({"choices": [{"index": 0, "delta": {"content": self.engine.tokenizer.decode(ids)}}]})
            self.event({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": n}})
        except OSError:          # the client has gone
            handle.stop()

    def event(self, value):
        self.wfile.write(b"data: " + json.dumps(value).encode() + b"\n\n")
        self.wfile.flush()


def main():
    a = argparse.ArgumentParser()
    a.add_argument("model")
    a.add_argument("port", type=int)
    a.add_argument("--streams", type=int, default=16)
    a.add_argument("--cache-gb", type=int, default=2)
    a = a.parse_args()
    Handler.engine = Engine(a.model, a.streams, a.cache_gb)
    Server(("127.0.0.1", a.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
