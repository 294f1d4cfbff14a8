"""Drives the page at / in headless Chromium, as a person would, and takes the pictures of docs/pictures/.

By hand, with Debian's package `chromium` and a virtual environment of its own:

    pip install websocket-client axe-core-python pillow openai
    python python/try_page.py --serve build/openautoglm --out docs/pictures

Starts a server with an API key on the shipped model; gives the key, sends a sample screenshot and waits for the answer
and the mark; stops an answer; runs the copied curl command and Python program which must give the same tap;
runs axe-core over the page in light, dark, narrow and Chinese. Exit status 1 and a line for each finding.
"""

import argparse
import base64
import contextlib
import io
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import websocket
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "models" / "open-autoglm-v1" / "samples"
KEY = "a-key-for-the-page"
PATIENCE = 180          # seconds


class Page:
    """A tab of Chromium, spoken to in its DevTools protocol."""

    def __init__(self, address):
        self.socket = websocket.create_connection(address, timeout=PATIENCE, suppress_origin=True)
        self.numbers = itertools.count(1)
        self.complaints = []        # what the console and the security policy said
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("method") == "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(message["params"]["exceptionDetails"])[:500])
            if message.get("method") == "Log.entryAdded" and message["params"]["entry"]["source"] != "network":
                self.complaints.append(message["params"]["entry"]["text"])
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]

    def run(self, script):
        """The value of an expression, after its promise is kept."""
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(json.dumps(result["exceptionDetails"])[:600])
        return result["result"].get("value")

    def wait(self, condition):
        end = time.monotonic() + PATIENCE
        while not self.run(f"Boolean({condition})"):
            if time.monotonic() > end:
                raise RuntimeError(f"never true: {condition}; the page says " + self.run("document.body.innerText"))
            time.sleep(0.1)

    def click(self, name):
        self.run(f"document.getElementById({json.dumps(name)}).click()")

    def type(self, text):
        self.call("Input.insertText", text=text)

    def press(self, key):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, text="\r" if key == "Enter" else "",
                      windowsVirtualKeyCode=13 if key == "Enter" else 27)

    def choose(self, path):
        document = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=document, selector="#file")["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])
        self.wait("!document.getElementById('chosen').hidden")

    def look(self, width, height, scheme):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                  mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def picture(self, path):
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        image = Image.open(io.BytesIO(data)).convert("RGB").quantize(96, dither=Image.Dither.NONE)
        image.save(path, optimize=True)


def hits(answer, box):
    """Is this a tap within the sample's box? Processors round differently: a thousandth is no finding."""
    m = re.fullmatch(r'do\(action="Tap", element=\[(\d+),(\d+)\]\)', answer)
    width, height = 1080, 2400
    return m and box[0] <= int(m[1]) / 1000 * width <= box[2] and box[1] <= int(m[2]) / 1000 * height <= box[3]


def free_of_findings(page, where):
    """axe-core's findings in the page as it stands, as lines."""
    result = page.run("axe.run(document, { resultTypes: ['violations'] }).then((r) => r.violations.map("
                      "(v) => v.id + ': ' + v.help + ' at ' + v.nodes.map((n) => n.target.join(' ')).join(', ')))")
    return [f"axe, {where}: {line}" for line in result]


@contextlib.contextmanager
def server(binary):
    command = [binary, "serve", "--model", str(ROOT / "models" / "open-autoglm-v1"), "--port", "0"]
    env = {**os.environ, "OPENAUTOGLM_API_KEY": KEY}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env)
    try:
        for line in process.stderr:
            if m := re.search(r"listening on (http://\S+:\d+)", line):
                break
        else:
            raise RuntimeError("the server did not start")
        yield m[1]
    finally:
        process.terminate()
        process.wait(PATIENCE)


@contextlib.contextmanager
def chromium(profile):
    command = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--lang=en-US",
               "--remote-debugging-port=0", f"--user-data-dir={profile}", "--disable-dev-shm-usage", "about:blank"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        told, end = Path(profile) / "DevToolsActivePort", time.monotonic() + PATIENCE
        while not told.exists() or "\n" not in told.read_text():
            if time.monotonic() > end or process.poll() is not None:
                raise RuntimeError("chromium did not start")
            time.sleep(0.1)
        with urllib.request.urlopen(f"http://127.0.0.1:{told.read_text().split()[0]}/json") as tabs:
            yield next(t for t in json.load(tabs) if t["type"] == "page")["webSocketDebuggerUrl"]
    finally:
        process.terminate()
        process.wait(PATIENCE)


def snippets(page, folder, sample, body_of):
    """Both snippets of a request full of what shells and Python would replace; they must run as they stand."""
    (folder / "screenshot.png").write_bytes(sample.read_bytes())
    asked = f"(location.origin + '/v1/chat/completions', {body_of}, true)"
    made = page.run(f"import('/ui/snippet.js').then((m) => ({{ curl: m.curl{asked}, python: m.python{asked} }}))")
    env = {**os.environ, "OPENAUTOGLM_API_KEY": KEY}
    streamed = subprocess.run(["sh", "-c", made["curl"]], cwd=folder, env=env, capture_output=True, text=True).stdout
    chunks = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: {")]
    by_curl = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c.get("choices"))
    by_python = subprocess.run([sys.executable, "-c", made["python"]], cwd=folder, env=env, capture_output=True,
                               text=True)
    return by_curl.strip(), (by_python.stdout or by_python.stderr).strip()


def try_page(page, url, out, axe, folder):
    """Everything that the opening comment lists; returns the findings."""
    found = []
    sample = json.loads((SAMPLES / "samples.json").read_text())[0]
    page.look(900, 1000, "light")
    page.call("Page.navigate", url=url + "/")
    page.wait("document.getElementById('lock')?.open")
    page.run(axe + "; 'there'")
    found += free_of_findings(page, "the question for the key")
    page.type("wrong")
    page.press("Enter")
    page.wait("lock.open && /not take/.test(document.getElementById('lock-text').textContent)")
    page.type(KEY)
    page.press("Enter")
    page.wait("document.getElementById('model').textContent === 'open-autoglm-v1'")
    page.wait("document.getElementById('state').textContent === 'Ready'")
    found += free_of_findings(page, "empty")
    page.choose(SAMPLES / sample["file"])
    page.run("document.getElementById('question').focus()")
    page.type(sample["question"])
    page.press("Enter")
    page.wait("document.querySelector('.assistant[aria-busy=false] svg path')")
    answer = page.run("document.querySelector('.assistant .text').textContent")
    if not hits(answer, sample["box"]):
        found.append(f"the answer is {answer}, not {sample['answer']}")
    page.run("document.activeElement.blur()")
    for name, size, scheme in (("page-light", (900, 1060), "light"), ("page-dark", (900, 1060), "dark"),
                               ("page-phone", (390, 844), "light")):
        page.look(*size, scheme)
        page.run("document.querySelector('.turn.assistant').scrollIntoView()")
        time.sleep(0.3)
        if page.run("document.documentElement.scrollWidth > innerWidth"):
            found.append(f"{name} is wider than its window")
        found += free_of_findings(page, name)
        page.picture(out / f"{name}.png")
    page.click("language")
    page.run("document.getElementById('options').open = true")
    found += free_of_findings(page, "Chinese, options open")
    page.click("language")
    body = "{model: 'open-autoglm-v1', temperature: 0, stream: true, stream_options: {include_usage: true}, " \
           "messages: [{role: 'system', content: `$(touch bad) \\`touch bad\\` $HOME \\\\ \"\"\" 'x' \\n {0} 图`}, " \
           "{role: 'user', content: [{type: 'image_url', image_url: {url: 'data:image/png;base64,AAAA'}}, " \
           f"{{type: 'text', text: {json.dumps(sample['question'])}}}]}}]}}"
    for name, text in zip(("curl", "python"), snippets(page, folder, SAMPLES / sample["file"], body)):
        if not hits(text, sample["box"]):
            found.append(f"the copied {name} answers {text[-500:]}")
    if (folder / "bad").exists():
        found.append("the copied curl ran what the message said")
    found += wrong_actions(page) + stop_and_second_turn(page)
    return found + [f"the browser complains: {c}" for c in page.complaints]


def wrong_actions(page):
    """Which answers are not taken apart as they should be?"""
    cases = [('do(action="Tap", element=[1,999])', [["Tap", [[1, 999]]]]),
             ("<think>a</think>do( action = 'Long Press' , element = [ 10 , 20 ] )", [["Long Press", [[10, 20]]]]),
             ('do(action="Swipe", start=[500,800], end=[500,200])', [["Swipe", [[500, 800], [500, 200]]]]),
             ('do(action="Swipe", end=[1,2])', []), ('do(action="Tap", element=[1,1001])', []),
             ('do(action="Type", text="element=[1,2]")', []), ('do(action="Back")', []),
             ("finish(message=\"[1,2]\")", []),
             ('do(action="Tap", message="(a)", element=[1,2]) do(action="Tap", element=[3,4])',
              [["Tap", [[1, 2]]], ["Tap", [[3, 4]]]])]
    texts = json.dumps([text for text, _ in cases])
    got = page.run(f"import('/ui/action.js').then((m) => {texts}.map((t) => m.actionsOf(t)"
                   ".map((a) => [a.name, a.points])))")
    return [f"{text} gives {g}" for (text, want), g in zip(cases, got) if g != want]


def stop_and_second_turn(page):
    """A second turn, whose answer points into the picture of the first; then one that is stopped with Escape."""
    page.run("document.getElementById('question').focus()")
    page.type("Go back")
    page.press("Enter")
    page.wait("document.querySelectorAll('.assistant[aria-busy=false]').length === 2")
    page.run("document.getElementById('question').focus()")
    page.type("What is the title?")
    page.press("Enter")
    page.press("Escape")
    page.wait("document.querySelectorAll('.assistant[aria-busy=false]').length === 3 && !send.hidden")
    page.click("fresh")
    return [] if page.run("document.querySelectorAll('.turn').length === 0") else ["a new chat still has old turns"]


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--serve", default="build/openautoglm", help="the program")
    p.add_argument("--out", type=Path, default=Path("build/pictures"), help="where the pictures go")
    args = p.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    import axe_core_python
    axe = next(Path(axe_core_python.__file__).parent.rglob("axe.min.js")).read_text()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, server(args.serve) as url, \
            chromium(folder + "/profile") as address:
        found = try_page(Page(address), url, args.out, axe, Path(folder))
    print("\n".join(found) or "the page works, and axe-core finds nothing")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
