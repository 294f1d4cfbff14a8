"""Asks a running server about freshly drawn screens, and counts what it gets right.

    python -m openautoglm.evaluate --serve build/openautoglm --screens 500 --seed 1
    python -m openautoglm.evaluate --url http://127.0.0.1:8000/v1
    python -m openautoglm.evaluate --torch models/open-autoglm-v1

Screens are painted at the size of a phone's (1080 pixels wide) and sent as PNG;
shrinking them is the server's work.  A tap is right when it lies inside the
element, any other answer when it is equal, word for word.  The last line is
JSON: label_accuracy counts all labels read, invented_accuracy those that are
in no word list.
"""
import argparse
import base64
import collections
import concurrent.futures
import io
import json
import random
import re
import socket
import subprocess
import sys
import time
import urllib.request

from . import fonts, questions, screens

TAP = re.compile(r'do\(action="Tap", element=\[(\d+),(\d+)\]\)')
CANVASES = {(288, 640): 8, (320, 576): 1, (256, 704): 1}     # as the model sees them; 20:9, 16:9 and longer
WIDTH = 1080                                                 # of the painted screenshot
NOT_TRAINED_ON = 900_000_000                                 # added to the seed: training counts from one


def judge(q, text, w, h):
    """Is it right: a tap inside the element, anything else word for word"""
    if not q.box:
        return text == q.answer
    m = TAP.fullmatch(text)
    if not m:
        return False
    x, y = (int(m[1]) + .5) / 1000 * w, (int(m[2]) + .5) / 1000 * h
    return q.box[0] <= x <= q.box[2] and q.box[1] <= y <= q.box[3]


def keys(q):
    """The rows of the table that a question counts for"""
    out = [q.task] if q.group == "other" else ["all taps" if q.group == "tap" else "all labels", q.task]
    if q.group == "label":
        chinese = any(ord(c) > 0x2fff for c in q.line.text)
        out.append("label, invented" if not q.line.known else "label, Chinese word" if chinese
                   else "label, English word")
        out.append(f"label, {min(14, int(q.line.size // 2 * 2))} px")
    return out


class Tally:
    def __init__(self):
        self.right, self.total = collections.Counter(), collections.Counter()

    def add(self, q, right):
        for k in keys(q):
            self.right[k] += right
            self.total[k] += 1

    def share(self, k):
        return round(self.right[k] / self.total[k], 4) if self.total[k] else None

    def __str__(self):
        return "\n".join(f"  {k:24} {self.share(k):7.1%}  {self.total[k]:6}" for k in sorted(self.total))

    def line(self):
        return " ".join(f"{k.replace(' ', '-')}={self.share(k):.2f}({self.total[k]})" for k in sorted(self.total)
                        if "px" not in k)

    def json(self, **more):
        return json.dumps({**more, "tap_accuracy": self.share("all taps"), "label_accuracy": self.share("all labels"),
                           "invented_accuracy": self.share("label, invented"),
                           "by_task": {k: self.share(k) for k in sorted(self.total)
                                       if not k.startswith(("all", "label"))},
                           "questions": sum(self.total[k] for k in self.total if not k.startswith(("all", "label")))})


def drawn(seed, n, n_questions, full_size):
    """n screens with some questions each; the same seed gives the same ones."""
    for i in range(n):
        r = random.Random(f"{NOT_TRAINED_ON + seed}/{i}")
        w, h = r.choices(list(CANVASES), CANVASES.values())[0]
        s = screens.draw(r, w, h, scale=WIDTH / w if full_size else None)
        yield s, questions.choose(s.questions, r)[:n_questions]


class Server:
    """Answers through the HTTP API."""

    def __init__(self, url, model, blind):
        self.url, self.model, self.blind = url.rstrip("/"), model, blind

    def post(self, content):
        body = {"model": self.model, "messages": [{"role": "user", "content": content}], "temperature": 0,
                "max_tokens": 40}
        request = urllib.request.Request(self.url + "/chat/completions", json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=300) as f:
            return json.load(f)["choices"][0]["message"]["content"]

    def answers(self, s, asked):
        """One after the other, so that the server encodes the screen once"""
        image = []
        if not self.blind:
            png = io.BytesIO()
            s.image.save(png, "PNG", compress_level=1)
            url = "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()
            image = [{"type": "image_url", "image_url": {"url": url}}]
        return [self.post(image + [{"type": "text", "text": q.text}]) for q in asked]


class Torch:
    """Answers of the PyTorch model in this process; `directory` "untrained" makes a fresh one."""

    def __init__(self, directory, blind):
        import torch
        from . import export, preprocess, tokenizer, train
        self.t, self.torch, self.preprocess, self.blind = tokenizer, torch, preprocess, blind
        self.model = train.build(1)[0].fold() if directory == "untrained" else export.load(directory)

    def answers(self, s, asked):
        image = None if self.blind else self.preprocess.pixels(self.preprocess.resize(s.image))[None]
        return [self.t.decode(a) for a in self.model.answer(image, [self.t.prompt(q.text) for q in asked])]


def serve(program, model):
    """Starts the server on a free port; returns (process, url) once it is ready."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    process = subprocess.Popen([program, "serve", "--model", model, "--host", "127.0.0.1", "--port", str(port)])
    for _ in range(200):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5).read()
            return process, f"http://127.0.0.1:{port}/v1"
        except OSError:
            if process.poll() is not None:
                sys.exit(f"{program} ended with {process.returncode}")
            time.sleep(.1)
    process.terminate()
    sys.exit(f"{program} is not ready after 20 seconds")


def measure(source, a):
    tally, began, done, bar = Tally(), time.time(), 0, sys.stderr.isatty()
    with concurrent.futures.ThreadPoolExecutor(a.clients) as pool:
        waiting = collections.deque()
        for s, asked in drawn(a.seed, a.screens, a.questions, not a.small):
            if a.minutes and time.time() > began + 60 * a.minutes:
                break
            waiting.append((s, asked, pool.submit(source.answers, s, asked)))
            if len(waiting) > 2 * a.clients:
                done += finish(tally, waiting.popleft(), a)
            if bar:
                print(f"\r[{'#' * int(30 * done / a.screens):30}] {done}/{a.screens} screens\033[K", end="",
                      file=sys.stderr, flush=True)
        while waiting:
            done += finish(tally, waiting.popleft(), a)
    if bar:
        print("\r\033[K", end="", file=sys.stderr)
    print(f"{done} screens, {time.time() - began:.0f} s; share right, questions\n{tally}")
    print(tally.json(screens=done, seed=a.seed))


def finish(tally, waiting, a):
    s, asked, future = waiting
    for q, text in zip(asked, future.result()):
        right = judge(q, text, s.w, s.h)
        tally.add(q, right)
        if a.wrong and not right:
            print(f"{q.task}: {q.text} -> {text} (want {q.answer})")
    return 1


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = p.add_mutually_exclusive_group(required=True)
    where.add_argument("--url", help="of a running server, up to /v1")
    where.add_argument("--serve", metavar="PROGRAM", help="start this server on a free port and stop it at the end")
    where.add_argument("--torch", metavar="DIR", help="ask the PyTorch model instead; 'untrained' for random weights")
    p.add_argument("--model", default="models/open-autoglm-v1", help="directory, for --serve")
    p.add_argument("--name", default="open-autoglm-v1", help="of the model, in requests")
    p.add_argument("--screens", type=int, default=500)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--questions", type=int, default=12, help="per screen, at most")
    p.add_argument("--minutes", type=float, help="report what was done after so long")
    p.add_argument("--clients", type=int, default=4, help="screens in flight")
    p.add_argument("--blind", action="store_true", help="send no image: what the words of the question give away")
    p.add_argument("--small", action="store_true", help="screens painted at the sizes of training instead of a phone's")
    p.add_argument("--wrong", action="store_true", help="print every wrong answer")
    a = p.parse_args(argv)
    fonts.need()
    process = None
    if a.torch:
        a.clients = 1
        source = Torch(a.torch, a.blind)
    else:
        process, url = serve(a.serve, a.model) if a.serve else (None, a.url)
        source = Server(url, a.name, a.blind)
    try:
        measure(source, a)
    finally:
        if process:
            process.terminate()
            process.wait(20)


if __name__ == "__main__":
    main()
