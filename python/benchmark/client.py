"""Requests to a chat server with the times at which the pieces of the answer came.

Every server is asked in the same way: OpenAI's /v1/chat/completions, streamed,
greedy, to the last token of `max_tokens` whatever the model says.
"""
import base64
import http.client
import json
import threading
import time
from dataclasses import dataclass, field

TIMEOUT = 300          # seconds in which a server must say something


@dataclass
class Answer:
    """What came back. Times are seconds of time.perf_counter()."""
    sent: float
    at: list = field(default_factory=list)          # when each piece of text came
    text: str = ""
    prompt: int = 0                                 # tokens, as the server counts them
    tokens: int = 0

    @property
    def first(self):
        """Seconds until the first piece of text."""
        return self.at[0] - self.sent

    @property
    def rate(self):
        """Tokens per second after the first."""
        return (self.tokens - 1) / (self.at[-1] - self.at[0])


def user(text, image=None):
    """A message of the user; image: bytes of a file, which goes in front."""
    if image is None:
        return {"role": "user", "content": text}
    url = "data:image/png;base64," + base64.b64encode(image).decode()
    return {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}},
                                        {"type": "text", "text": text}]}


def ask(port, messages, max_tokens, model="model", piece=None):
    """Sends one chat and reads the stream; piece: called after every piece. Raises RuntimeError with the server's
    words if it refuses, or if the answer is not whole."""
    body = json.dumps({"model": model, "messages": messages, "max_tokens": max_tokens, "temperature": 0,
                       "ignore_eos": True, "stream": True, "stream_options": {"include_usage": True}})
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        answer = Answer(time.perf_counter())
        connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            raise RuntimeError(f"status {response.status}: {response.read(1000).decode(errors='replace')}")
        for line in response:
            if line.startswith(b"data: {"):
                read(json.loads(line[6:]), answer, piece)
    finally:
        connection.close()
    if answer.tokens != max_tokens or not answer.at:
        raise RuntimeError(f"{answer.tokens} tokens in {len(answer.at)} pieces where {max_tokens} were asked for")
    return answer


def read(chunk, answer, piece):
    """Adds what one event of the stream says."""
    if "error" in chunk:
        raise RuntimeError(f"the stream broke off: {chunk['error']}")
    if chunk.get("usage"):
        answer.prompt = chunk["usage"]["prompt_tokens"]
        answer.tokens = chunk["usage"]["completion_tokens"]
    text = "".join(c["delta"].get("content") or "" for c in chunk["choices"])
    if text:
        answer.at.append(time.perf_counter())
        answer.text += text
        if piece:
            piece()


def ask_together(port, chats, max_tokens, model="model"):
    """The answers to several chats that are sent at the same moment, in their order."""
    answers, failed = [None] * len(chats), []

    def one(i):
        try:
            answers[i] = ask(port, chats[i], max_tokens, model)
        except Exception as e:          # shown by the thread that waits
            failed.append(e)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(chats))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if failed:
        raise failed[0]
    return answers
