"""The rows of the benchmark: what is asked of a server, and what is measured.

A row is a function that gets a Lab and gives a number.  Texts and pictures are
drawn anew for every use, so that no cache of prompts helps where none should:
only the chat's template, a dozen tokens, is the same.
"""
import io
import random
import threading
import time
from dataclasses import dataclass

from PIL import Image, ImageDraw

from client import ask, ask_together, user

PROMPT = 531          # tokens of the text prompt
ANSWER = 64           # tokens of one stream whose speed is measured
SHARED = 48           # tokens of each of several streams, at least
LATE = 3              # tokens for each other stream, which may begin before the last one does
WATCHED = 1500        # most tokens of the stream that is watched while a picture comes


@dataclass
class Lab:
    """One server that runs, and what to make requests from."""
    port: int
    random: random.Random
    model: str = "model"
    overhead: int = 0         # tokens of a prompt besides the words
    streams: int = 1          # of a row of several streams
    pixels: tuple = ()        # width and height of the row's picture
    prompts: dict = None      # name of a prompt -> its tokens, as the server counted them

    def words(self, n):
        """n letters with a space in front of each: with the benchmark's tokenizer, as many tokens."""
        return "".join(" " + self.random.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(n))

    def picture(self, width, height):
        """A PNG of this size, drawn like a screen: areas of one colour, lines and texts."""
        rnd, picture = self.random, Image.new("RGB", (width, height), self.colour())
        draw = ImageDraw.Draw(picture)
        for _ in range(40):
            x, y = rnd.randrange(width), rnd.randrange(height)
            draw.rectangle((x, y, x + rnd.randrange(10, width // 3), y + rnd.randrange(10, height // 6)),
                           fill=self.colour(), outline=self.colour())
            draw.text((rnd.randrange(width), rnd.randrange(height)), self.words(12), fill=self.colour())
        file = io.BytesIO()
        picture.save(file, "PNG")
        return file.getvalue()

    def colour(self):
        return tuple(self.random.randrange(256) for _ in range(3))

    def ask(self, messages, max_tokens, piece=None, name=None):
        answer = ask(self.port, messages, max_tokens, self.model, piece)
        if name:
            self.prompts[name] = answer.prompt
        return answer


def warm_up(lab):
    """Makes the server touch its memory, and learns how many tokens a template adds."""
    lab.prompts = {}
    lab.overhead = lab.ask([user(lab.words(8))], 8).prompt - 8
    lab.ask([user(lab.words(8), lab.picture(392, 364))], 8)
    lab.ask([user(lab.words(300))], 2)


def text(lab):
    """Seconds to the first token of a prompt of PROMPT tokens."""
    return lab.ask([user(lab.words(PROMPT - lab.overhead))], 2, name="text").first


def picture(lab):
    """Seconds to the first token of a chat with a new picture."""
    name = "x".join(map(str, lab.pixels))
    return lab.ask([user(lab.words(16), lab.picture(*lab.pixels))], 2, name=name).first


def same_picture(lab):
    """Seconds to the first token of a new chat about a picture that was asked about before."""
    seen = lab.picture(*lab.pixels)
    lab.ask([user(lab.words(16), seen)], 2)
    return lab.ask([user(lab.words(16), seen)], 2).first


def next_turn(lab):
    """Seconds to the first token of the second question in a chat of PROMPT tokens and an answer of 16."""
    chat = [user(lab.words(PROMPT - lab.overhead))]
    said = lab.ask(chat, 16).text
    return lab.ask(chat + [{"role": "assistant", "content": said}, user(lab.words(16))], 2, name="next turn").first


def decode(lab):
    """Tokens per second of one stream after its first token."""
    return lab.ask([user(lab.words(32))], ANSWER).rate


def together(lab):
    """Tokens per second of several streams in all, from when the last has begun until the first ends."""
    answers = ask_together(lab.port, [[user(lab.words(32))] for _ in range(lab.streams)],
                           max(SHARED, LATE * lab.streams), lab.model)
    start, end = max(a.at[0] for a in answers), min(a.at[-1] for a in answers)
    if end <= start:          # one after the other: then all that there was
        start, end = min(a.sent for a in answers), max(a.at[-1] for a in answers)
        return sum(a.tokens for a in answers) / (end - start)
    return sum(sum(start < t <= end for t in a.at) * a.tokens / len(a.at) for a in answers) / (end - start)


def pause(lab):
    """Longest stop in seconds of a stream of text while a chat with a new picture comes in and is answered."""
    seen, times, enough, done = lab.picture(*lab.pixels), [], threading.Event(), threading.Event()

    def watch():
        times.append(time.perf_counter())
        if len(times) == 8:
            enough.set()
        if done.is_set():
            raise Seen

    def stream():
        try:
            lab.ask([user(lab.words(16))], WATCHED, watch)
        except Seen:
            pass
        finally:
            enough.set()

    thread = threading.Thread(target=stream)
    thread.start()
    enough.wait()
    begun = time.perf_counter()
    end = lab.ask([user(lab.words(16), seen)], 2).at[0]
    done.set()
    thread.join()
    stops = [b - a for a, b in zip(times, times[1:]) if b > begun and a < end]
    if not stops or times[-1] < end:
        raise RuntimeError("the stream that was watched ended before the picture was answered")
    return max(stops)


class Seen(Exception):
    """Enough of the stream has been read."""


# key -> (what the table calls it, unit, whether more is better, function, fields of the Lab)
ROWS = {
    "text": (f"first token, {PROMPT}-token prompt", "s", False, text, {}),
    "448": ("first token, 448x448 image", "s", False, picture, {"pixels": (448, 448)}),
    "720": ("first token, 1280x720 image", "s", False, picture, {"pixels": (1280, 720)}),
    "same": ("first token, same 448x448 image, new chat", "s", False, same_picture, {"pixels": (448, 448)}),
    "turn": ("first token, next turn", "s", False, next_turn, {}),
    "decode": ("decode, 1 stream", "tokens/s", True, decode, {}),
    "streams4": ("decode, 4 streams in all", "tokens/s", True, together, {"streams": 4}),
    "streams16": ("decode, 16 streams in all", "tokens/s", True, together, {"streams": 16}),
    "streams64": ("decode, 64 streams in all", "tokens/s", True, together, {"streams": 64}),
    "pause448": ("longest pause of a stream, 448x448 image comes", "s", False, pause, {"pixels": (448, 448)}),
    "pause720": ("longest pause of a stream, 1280x720 image comes", "s", False, pause, {"pixels": (1280, 720)}),
}
# What the start of a server gives without a request.
START = {
    "ready": ("ready after", "s", False),
    "resident": ("resident when ready", "MiB", False),
    "later": ("resident after all rows", "MiB", False),
}
DEFAULT_ROWS = [key for key in ROWS if key != "streams64"]
