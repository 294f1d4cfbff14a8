"""A phone agent: looks at a phone through adb, asks the model for one action after the other, and carries them out.

It talks to the server exactly as Open-AutoGLM's client does (the fields of the request, the form of the messages, what
becomes of the history) and reads answers by the same rules, so that what works here works there. Unlike it, it does
not wait between steps unless it is told to: the scripted phone needs no time.
"""
import ast
import base64
import datetime
import json
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

KEYBOARD = "com.android.adbkeyboard/.AdbIME"
MODEL = "autoglm-phone-9b"
SYSTEM = """You operate a phone. Look at the screenshot and at what was done before, and answer with the next action:
<think>{why}</think>
<answer>{action}</answer>
The action is one of do(action="Launch", app="..."), do(action="Tap", element=[x,y]), do(action="Type", text="..."),
do(action="Swipe", start=[x1,y1], end=[x2,y2]), do(action="Long Press", element=[x,y]),
do(action="Double Tap", element=[x,y]), do(action="Back"), do(action="Home"), do(action="Wait", duration="x seconds"),
and finish(message="...") when the task is done. Coordinates go from 0 at the left and the top to 999."""
APPS = {"Settings": "com.android.settings", "设置": "com.android.settings", "Chrome": "com.android.chrome"}


@dataclass
class Step:
    screenshot: bytes      # PNG, before the action
    answer: str            # of the model, as it came
    action: dict           # parsed; "_metadata" is "do" or "finish"


def adb(*words, text=True):
    """What `adb` on the PATH prints; it may fail, as it may for the real client."""
    return subprocess.run(["adb", *words], capture_output=True, text=text).stdout


def split_answer(text):
    """(thoughts, action): the action begins at its first word, wherever that is, and goes to the end."""
    for mark in ("finish(message=", "do(action="):
        before, found, behind = text.partition(mark)
        if found:
            return before.strip(), mark + behind
    before, found, behind = text.partition("<answer>")
    if found:
        return before.replace("<think>", "").replace("</think>", "").strip(), behind.replace("</answer>", "").strip()
    return "", text


def parse_action(text):
    """An action as a dictionary; ValueError if it is none. What stands behind it is not cut off: of typed text and of
    the last message it becomes a part, everywhere else it is an error."""
    text = text.strip()
    if text.startswith(('do(action="Type"', 'do(action="Type_Name"')):
        if "text=" not in text:
            raise ValueError(f"nothing to type: {text}")
        return {"_metadata": "do", "action": "Type", "text": text.split("text=", 1)[1][1:-2]}
    if text.startswith("do"):
        for plain, escaped in (("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
            text = text.replace(plain, escaped)
        try:
            call = ast.parse(text, mode="eval").body
            if not isinstance(call, ast.Call):
                raise ValueError("not a call")
            return {"_metadata": "do"} | {k.arg: ast.literal_eval(k.value) for k in call.keywords}
        except (SyntaxError, ValueError) as e:
            raise ValueError(f"not an action: {text}: {e}") from e
    if text.startswith("finish"):
        return {"_metadata": "finish", "message": text.replace("finish(message=", "")[1:-2]}
    raise ValueError(f"not an action: {text}")


class Device:
    """The phone at the other end of `adb`."""

    def __init__(self, adb=adb, pause=0):
        self.adb, self.pause = adb, pause

    def screenshot(self):
        """(PNG, width, height), encoded anew as the client does"""
        with tempfile.TemporaryDirectory() as folder:
            file = str(Path(folder) / "screen.png")
            self.adb("shell", "screencap", "-p", "/sdcard/tmp.png")
            self.adb("pull", "/sdcard/tmp.png", file)
            with Image.open(file) as image:
                width, height = image.size
            return Path(file).read_bytes(), width, height

    def current_app(self):
        for line in self.adb("shell", "dumpsys", "window").splitlines():
            if "mCurrentFocus" in line or "mFocusedApp" in line:
                for name, package in APPS.items():
                    if package in line:
                        return name
        return "System Home"

    def input(self, *words):
        self.adb("shell", "input", *map(str, words))
        time.sleep(self.pause)

    def type(self, text):
        """Clears what is in the field and types, through the ADB keyboard; then the other keyboard comes back."""
        before = self.adb("shell", "settings", "get", "secure", "default_input_method").strip()
        if KEYBOARD not in before:
            self.adb("shell", "ime", "set", KEYBOARD)
        for message in (["ADB_CLEAR_TEXT"], ["ADB_INPUT_B64", "--es", "msg", base64.b64encode(text.encode()).decode()]):
            self.adb("shell", "am", "broadcast", "-a", *message)
            time.sleep(self.pause)
        self.adb("shell", "ime", "set", before)

    def launch(self, app):
        if app in APPS:
            self.adb("shell", "monkey", "-p", APPS[app], "-c", "android.intent.category.LAUNCHER", "1")

    def perform(self, action, width, height):
        """Carries out a do(); coordinates are thousandths of the screen. What it does not know it leaves undone."""
        def at(key):
            x, y = action[key]
            return int(x / 1000 * width), int(y / 1000 * height)

        name = action.get("action")
        if name in ("Tap", "Double Tap"):
            for _ in range(2 if name == "Double Tap" else 1):
                self.input("tap", *at("element"))
        elif name == "Long Press":
            self.input("swipe", *at("element"), *at("element"), 3000)
        elif name == "Swipe":
            (x0, y0), (x1, y1) = at("start"), at("end")
            way = (x0 - x1) ** 2 + (y0 - y1) ** 2
            self.input("swipe", x0, y0, x1, y1, max(1000, min(way // 1000, 2000)))
        elif name in ("Back", "Home"):
            self.input("keyevent", {"Back": "4", "Home": "KEYCODE_HOME"}[name])
        elif name == "Type":
            self.type(action["text"])
        elif name == "Launch":
            self.launch(action.get("app"))
        elif name == "Wait":
            time.sleep(self.pause)


class Agent:
    """Asks the model (an openai.OpenAI client) until it says finish(), at most `most` times."""

    def __init__(self, client, device, most=100):
        self.client, self.device, self.most = client, device, most

    def ask(self, messages):
        stream = self.client.chat.completions.create(
            messages=messages, model=MODEL, max_tokens=3000, temperature=0.0, top_p=0.85, frequency_penalty=0.2,
            extra_body={}, stream=True)
        return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)

    def run(self, task):
        """Yields the steps of a task, the last one a finish() unless there were too many."""
        messages = [{"role": "system", "content": f"Today is {datetime.date.today():%Y-%m-%d, %A}\n{SYSTEM}"}]
        for n in range(self.most):
            png, width, height = self.device.screenshot()
            info = json.dumps({"current_app": self.device.current_app()}, ensure_ascii=False)
            text = {"type": "text", "text": f"{'** Screen Info **' if n else task}\n\n{info}"}
            url = "data:image/png;base64," + base64.b64encode(png).decode()
            messages.append({"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}, text]})
            answer = self.ask(messages)
            thoughts, action_text = split_answer(answer)
            try:
                action = parse_action(action_text)
            except ValueError:
                action = {"_metadata": "finish", "message": action_text}
            messages[-1]["content"] = [text]                       # the screenshot does not stay
            messages.append({"role": "assistant",
                             "content": f"<think>{thoughts}</think><answer>{action_text}</answer>"})
            yield Step(png, answer, action)
            if action["_metadata"] == "finish":
                return
            self.device.perform(action, width, height)
