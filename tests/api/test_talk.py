"""A conversation with `openautoglm chat`, typed into a pseudo-terminal."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import termios
import time

import pytest

from conftest import BIN, MODEL, PATIENCE, ROOT, data_url, png

LONG = ROOT / "tests/model/qwen2_vl/published"         # random weights: it answers until it is stopped


class Terminal:
    """The program on a terminal of 80 columns that answers what a terminal is asked."""

    def __init__(self, *options, home, model=MODEL, kind="xterm", attributes=b"\x1b[?62;22c", env=None, columns=80):
        self.mine, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24, columns))
        self.theirs = theirs
        environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENAUTOGLM_") and
                       k not in ("TMUX", "STY", "TERM_PROGRAM", "KITTY_WINDOW_ID", "XDG_STATE_HOME")}
        environment |= {"HOME": str(home), "TERM": kind, "NO_COLOR": "1"} | (env or {})
        self.attributes, self.kitty = attributes, b""
        self.text, self.answered = b"", 0
        self.process = subprocess.Popen([BIN, "chat", "--model", str(model), *options], cwd=ROOT, env=environment,
                                        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)

    def read(self):
        if not select.select([self.mine], [], [], 0.2)[0]:
            return
        try:
            self.text += os.read(self.mine, 1 << 16)
        except OSError:
            return
        if self.text.count(b"\x1b[c") > self.answered:
            self.answered += 1
            os.write(self.mine, (self.kitty if b"\x1b_Gi=31" in self.text else b"") + self.attributes)

    def until(self, what, since=0):
        """Everything from `since` on, once the pattern is there."""
        end = time.monotonic() + PATIENCE
        while not re.search(what, self.text[since:], re.S):
            assert time.monotonic() < end and self.process.poll() is None, self.text[-3000:]
            self.read()
        return self.text[since:]

    def prompt(self, since=0):
        return self.until(rb"\r> \x1b\[K\r\x1b\[2C$", since)

    def type(self, keys):
        os.write(self.mine, keys if isinstance(keys, bytes) else keys.encode())

    def say(self, line):
        """Types a line; what came until the next prompt, as text without what moves the cursor."""
        since = len(self.text)
        self.type(line + "\r")
        self.until(rb"\n", since)
        out = self.prompt(since)
        return re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", out.split(b"\n", 1)[1]).decode()

    def end(self, keys=b"\x04"):
        self.type(keys)
        limit = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < limit, self.text[-3000:]
            self.read()
        mode = termios.tcgetattr(self.theirs)[3]
        os.close(self.mine)
        os.close(self.theirs)
        assert mode & termios.ECHO and mode & termios.ICANON, "the terminal is as it was"
        return self.process.returncode


@pytest.fixture
def open_chat(tmp_path):
    running = []

    def run(*options, **kw):
        running.append(Terminal(*options, home=kw.pop("home", tmp_path), **kw))
        running[-1].prompt()
        return running[-1]

    yield run
    for t in running:
        if t.process.poll() is None:
            t.process.kill()
            t.process.wait()


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a picture.png"
    path.write_bytes(png(1))
    return path


def test_turns(open_chat, picture):
    t = open_chat()
    assert "open_autoglm on cpu" in t.text.decode()
    out = t.say(f"'{picture}'")
    assert "144 x 288, goes with the next question" in out and "tokens read" not in out
    first = t.say("Tap the button")
    assert "do(action=" in first
    assert re.search(r"\d+ tokens read, 0 of them known from before; \d+ answered; first after", first)
    n = int(re.search(r"(\d+) tokens read", first)[1])
    more = t.say("and now?")
    assert int(re.search(r"(\d+) tokens read", more)[1]) > n + 3, "the turns before are part of it"
    assert not re.search(", 0 of them known", more), "and are not read again"
    t.say("/clear")
    assert int(re.search(r"(\d+) tokens read", t.say("and now?"))[1]) < n, "a new conversation without the picture"
    assert b"\x1b_G" not in t.text and b"\x1bPq" not in t.text, "this terminal cannot show pictures"
    assert t.end() == 0


@pytest.mark.parametrize("spelling", ["@{escaped}", "'{path}'", '"{path}"', "{escaped}", "file://{url}", "@'{path}'"])
def test_pictures_within_a_line(open_chat, picture, spelling):
    t = open_chat()
    path = spelling.format(path=picture, escaped=str(picture).replace(" ", "\\ "), url=str(picture).replace(" ", "%20"))
    out = t.say(f"Don't wait: {path} Tap the button")
    assert "144 x 288" in out and "tokens read" in out, out
    t.say("/save " + str(picture.parent / "out.json"))
    [user, _] = json.loads((picture.parent / "out.json").read_text())["messages"]
    assert user["content"] == [{"type": "image_url", "image_url": {"url": data_url(png(1))}},
                               {"type": "text", "text": "Don't wait: Tap the button"}]
    assert t.end() == 0


def test_what_is_no_picture(open_chat, picture, tmp_path):
    t = open_chat()
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    out = t.say(f"what is {bad} ?")
    assert "bad.png" in out and "tokens read" not in out
    assert "tokens read" in t.say("mail to @nobody and /no/such.png")
    assert "No such file" in t.say("/image /no/such.png") and "wants the path" in t.say("/image")
    assert t.end(b"/exit\r") == 0


def test_commands(open_chat, tmp_path):
    t = open_chat("--temperature", "0.5")
    assert "/image" in t.say("/help") and "temperature 0.5" in t.say("/set")
    assert "temperature 0.7" in t.say("/set temperature 0.7") and "temperature 0.7" in t.say("/set temperature")
    assert "seed 5" in t.say("/set seed=5") and "top_k 3" in t.say("/set top-k 3")
    for line, says in [("/set temprature 1", "did you mean temperature?"), ("/set temperature 9", "from 0 to 2"),
                       ("/set temperature x", "is a number"), ("/set top_k 1.5", "whole number"),
                       ("/set temperature nan", "is a number"), ("/set a b c", "there is no setting a"),
                       ("/imag x", "did you mean image?"), ("/frobnicate", "there is no command frobnicate"),
                       ("/save", "wants the name")]:
        assert says in t.say(line), line
    assert "is set" in t.say("/system You are brief.")
    t.say("/set max_tokens 1")
    assert " 1 answered" in t.say("hello")
    t.say(f"/save {tmp_path}/a.json")
    saved = json.loads((tmp_path / "a.json").read_text())
    assert [m["role"] for m in saved["messages"]] == ["system", "user", "assistant"] and saved["max_tokens"] == 1
    assert saved["messages"][0]["content"] == "You are brief." and abs(saved["temperature"] - 0.7) < 1e-6
    assert "File exists" in t.say(f"/save {tmp_path}/a.json")
    t.say("/system")
    t.say(f"/save {tmp_path}/b.json")
    assert json.loads((tmp_path / "b.json").read_text())["messages"][0]["role"] == "user"
    assert t.end(b"/quit\r") == 0


def test_a_saved_conversation_is_a_request(open_chat, server, picture, tmp_path):
    t = open_chat()
    t.say(f"@{str(picture).replace(' ', chr(92) + ' ')} Tap the button")
    t.say(f"/save {tmp_path}/a.json")
    t.end()
    body = json.loads((tmp_path / "a.json").read_text())
    answer = body["messages"].pop()
    status, reply = server.post("/v1/chat/completions", body)
    assert status == 200 and reply["choices"][0]["message"]["content"] == answer["content"]


def test_ctrl_c_stops_the_answer(open_chat):
    """At temperature 0 the answer would be the same again, to its end."""
    t = open_chat("--temperature", "0", model=LONG)
    whole = int(re.search(r"(\d+) answered", t.say("hello"))[1])
    t.say("/clear")
    since = len(t.text)
    t.type("hello\r")
    t.until(rb"\n.{40}", since)
    os.kill(t.process.pid, signal.SIGINT)
    out = t.prompt(since)
    assert int(re.search(rb"stopped; .*?(\d+) answered", out)[1]) < whole
    t.say("/set max_tokens 3")
    assert " 3 answered" in t.say("again")
    since = len(t.text)
    t.type("dropped\x03")                      # in the line itself: it is dropped
    t.until(rb"dropped.*\n", since)
    t.prompt(since)
    assert t.end() == 0


def test_what_does_not_fit_is_told(open_chat):
    t = open_chat("--max-model-len", "64")
    assert "at most 63 fit into the context" in t.say("word " * 100)
    assert "tokens read" in t.say("hello"), "the question that was too long is not kept"
    assert t.end() == 0


def test_keys(open_chat, tmp_path):
    t = open_chat()
    t.say("/set max_tokens 1")

    def typed(keys):
        """What the line was when it was sent, from the conversation that is saved."""
        t.say("/clear")
        t.say(keys)
        out = tmp_path / "k.json"
        out.unlink(missing_ok=True)
        t.say(f"/save {out}")
        return json.loads(out.read_text())["messages"][0]["content"][-1]["text"]

    assert typed("helo\x1b[Dl\x1b[C world") == "hello world"
    assert typed("world\x01hello \x05!") == "hello world!"
    assert typed("one two three\x17\x17four") == "one four"
    assert typed("x\u00e4\u4f60\u597d\x7f\x1b[D\x7f") == "x\u4f60"
    assert typed("ab\x15cd") == "cd" and typed("abcd\x1b[H\x1b[C\x0bz") == "az"
    assert typed("abc\x1b[H\x1b[3~") == "bc" and typed("a b\x1bbX\x1bfY") == "a XbY"
    assert typed("\x1b[200~two\rlines\t\x1b[201~ more") == "two\nlines  more"
    assert typed("one\x1b\rtwo") == "one\ntwo"
    assert typed("first") == "first"
    assert typed("second\x1b[A\x1b[A\x1b[A\x1b[A\x1b[B!") != "second!", "up and down show lines from before"
    assert typed("w" * 300) == "w" * 300, "longer than the terminal is wide"
    assert t.end() == 0


def test_completion(open_chat, picture):
    t = open_chat()
    assert "a new conversation" in t.say("/cl\t")
    assert "144 x 288" in t.say(f"/image {picture.parent}/a\t")
    assert "144 x 288" in t.say(f"@{picture.parent}/a\t is it?")
    assert t.end() == 0


def test_history_stays(open_chat, tmp_path):
    t = open_chat()
    t.say("/set max_tokens 1")
    t.say("some \\ thing\x1b\relse")
    assert t.end() == 0
    file = tmp_path / ".local/state/openautoglm/history"
    assert file.read_text() == "/set max_tokens 1\nsome \\\\ thing\\nelse\n" and file.stat().st_mode & 0o777 == 0o600
    t = open_chat("--no-history")
    t.say("/help")
    assert t.end() == 0 and "help" not in file.read_text()
    t = open_chat("--max-tokens", "1")
    t.say("\x1b[A!")
    t.say(f"/save {tmp_path}/a.json")
    assert json.loads((tmp_path / "a.json").read_text())["messages"][0]["content"][0]["text"] == "some \\ thing\nelse!"
    t.end()


def test_pictures_on_terminals_that_can(open_chat, picture):
    """Kitty's protocol where it answers, sixels where the terminal has them; both are decoded here."""
    import base64
    import io

    from PIL import Image
    line = f"/image {picture}"
    t = open_chat(kind="xterm-kitty")
    t.say(line)
    assert b"\x1b_Gf=" not in t.text, "it has not answered"
    t.end()
    t = Terminal(home=picture.parent, kind="xterm-kitty")
    t.kitty = b"\x1b_Gi=31;OK\x1b\\"
    t.prompt()
    since = len(t.text)
    t.say(line)
    pieces = re.findall(rb"\x1b_G([^;]*);([^\x1b]*)\x1b\\", t.text[since:])
    im = Image.open(io.BytesIO(base64.b64decode(b"".join(data for _, data in pieces), validate=True)))
    im.load()
    assert im.format == "PNG" and im.size == (144, 288) and b"f=100,a=T" in pieces[0][0]
    assert all(b"m=1" in head for head, _ in pieces[:-1]) and b"m=0" in pieces[-1][0]
    t.end()
    t = open_chat(attributes=b"\x1b[?62;4;22c")
    t.say(line)
    [(width, height, body)] = re.findall(rb'\x1bPq"1;1;(\d+);(\d+)(.*?)\x1b\\', t.text, re.S)
    assert (int(width), int(height)) == (144, 288)
    rgb = Image.open(picture).convert("RGB").tobytes()
    assert sixels(body, 144, 288) == [coarse(rgb[i:i + 3]) for i in range(0, len(rgb), 3)]
    t.end()
    t = open_chat("--preview", "off", attributes=b"\x1b[?62;4;22c")
    t.say(line)
    assert b"\x1bPq" not in t.text and b"\x1b[c" not in t.text
    t.end()


def coarse(rgb):
    return tuple((v * 5 + 127) // 255 * 20 for v in rgb)


def sixels(body, width, height):
    """The colours of an image, in per cent, row by row."""
    out, colours, now, x, y = {}, {}, 0, 0, 0
    for m in re.finditer(rb"#(\d+);2;(\d+);(\d+);(\d+)|#(\d+)|!(\d+)(.)|([?-~])|(\$)|(-)", body):
        if m[1]:
            colours[int(m[1])] = (int(m[2]), int(m[3]), int(m[4]))
        elif m[5]:
            now = int(m[5])
        elif m[9]:
            x = 0
        elif m[10]:
            x, y = 0, y + 6
        else:
            for _ in range(int(m[6] or 1)):
                bits = ord(m[7] or m[8]) - 63
                for k in range(6):
                    if bits >> k & 1:
                        out[x, y + k] = colours[now]
                x += 1
    return [out[x, y] for y in range(height) for x in range(width)]


def test_a_terminal_that_can_nothing(open_chat, tmp_path):
    """TERM=dumb: lines as they come, and nothing that moves a cursor."""
    t = Terminal(home=tmp_path, kind="dumb")
    t.until(rb"> $")
    t.type("/set top_k\r")
    t.until(rb"top_k \d+\r\n> $")
    assert b"\x1b" not in t.text
    assert t.end() == 0


def test_a_signal_leaves_the_terminal_as_it_was(open_chat):
    t = open_chat()
    assert not termios.tcgetattr(t.theirs)[3] & termios.ECHO
    t.process.send_signal(signal.SIGTERM)
    assert t.end(b"") == -signal.SIGTERM


def test_control_characters_of_names_do_nothing(open_chat, tmp_path):
    """Neither in the line, where completion has put them, nor in what is said of the file."""
    (tmp_path / "evil\x1b[31m\x9b.png").write_bytes(png(1))
    t = open_chat()
    since = len(t.text)
    assert "144 x 288" in t.say(f"/image {tmp_path}/ev\t")
    assert b"\x1b[31m" not in t.text[since:] and b"\xc2\x9b" not in t.text[since:] and b"evil" in t.text[since:]
    t.end()


def test_no_terminal_no_conversation(tmp_path):
    r = subprocess.run([BIN, "chat"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE)
    assert r.returncode == 2 and "chat needs a question" in r.stderr
