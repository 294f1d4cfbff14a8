"""The scripted phone: a folder that holds its state, and what gestures do to it.

    build/venv/bin/python python/phone/device.py FOLDER [--language zh] [--width 540]

makes a new phone and prints the line that puts its `adb` in front of PATH. From then on every program that is started
from that shell and calls adb (adb.py) has this phone on the line.

    FOLDER/state.json      what is shown, switched on, typed, sent and saved
    FOLDER/bin/adb         the stand-in for adb, bound to this folder
    FOLDER/pictures/       screens that were painted, and where they can be tapped, one for each state
    FOLDER/sdcard/         files that `screencap` wrote
"""
import argparse
import hashlib
import json
import os
import shlex
import sys
from pathlib import Path

from apps import CANVAS, ON, ROW, SCREENS

KEYBOARD = "com.android.adbkeyboard/.AdbIME"


class Phone:
    """A phone in a folder. Gestures take pixels of the screenshot and write the state before they return."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.state = json.loads((self.folder / "state.json").read_text())

    @classmethod
    def create(cls, folder, language="en", width=1080):
        """A new phone on its home screen; `width` of its screenshots in pixels, which are 20:9."""
        folder = Path(folder).resolve()
        for name in ("bin", "pictures", "sdcard"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        adb = folder / "bin" / "adb"
        adb.write_text("#!/bin/sh\nexec " + shlex.join([sys.executable, str(Path(__file__).resolve().parent / "adb.py"),
                                                        str(folder)]) + ' "$@"\n')
        adb.chmod(0o755)
        (folder / "state.json").write_text(json.dumps({
            "language": language, "width": width, "stack": ["home"], "scroll": {}, "on": sorted(ON), "text": {},
            "focus": None, "sent": [], "saved": [], "keyboard": "com.android.inputmethod.latin/.LatinIME"}))
        return cls(folder)

    def save(self):
        """Whole or not at all: a reader never sees half a state."""
        new = self.folder / f"state.{os.getpid()}"
        new.write_text(json.dumps(self.state, ensure_ascii=False, indent=1))
        new.replace(self.folder / "state.json")

    @property
    def size(self):
        width = self.state["width"]
        return width, round(width / CANVAS[0] * CANVAS[1])

    @property
    def screen(self):
        """The name of what is shown"""
        return self.state["stack"][-1]

    def picture(self):
        """(the PNG file of the screen, its targets); painted once for each state that looks different."""
        look = {k: v for k, v in self.state.items() if k != "keyboard"}
        name = hashlib.sha256(json.dumps(look, sort_keys=True).encode()).hexdigest()[:20]
        png, targets = (self.folder / "pictures" / (name + end) for end in (".png", ".json"))
        if not targets.exists():
            from painter import paint                 # only here: Pillow takes longer than all the rest
            image, found = paint(self.state)
            image.save(png, "PNG", compress_level=1)
            targets.write_text(json.dumps(found))
        return png, json.loads(targets.read_text())

    def tap(self, x, y):
        x, y = ((v + .5) / size * canvas for v, size, canvas in zip((x, y), self.size, CANVAS))
        for box, verb, name in reversed(self.picture()[1]):
            if box[0] <= x <= box[2] and box[1] <= y <= box[3]:
                if verb:
                    getattr(self, "_" + verb)(name)
                    self.save()
                return

    def swipe(self, x0, y0, x1, y1):
        """Moves a list by as many rows as the finger goes up or down; anything else it would do is not there."""
        spec = SCREENS[self.screen]
        if spec.kind == "list" and abs(y1 - y0) > abs(x1 - x0):
            rows = round((y0 - y1) / self.size[1] * CANVAS[1] / ROW)
            most = max(0, len(spec.items) - spec.visible_rows)
            self.state["scroll"][self.screen] = min(most, max(0, self.state["scroll"].get(self.screen, 0) + rows))
            self.save()

    def back(self):
        self._back("")
        self.save()

    def home(self):
        self.state.update(stack=["home"], focus=None)
        self.save()

    def launch(self, package):
        """Opens the first screen of an app by its package; False if there is no such app."""
        for name, spec in SCREENS.items():
            if spec.package == package:
                self.state.update(stack=["home", name] if name != "home" else ["home"], focus=None)
                self.save()
                return True
        return False

    def type(self, text):
        if self.state["focus"]:
            self.state["text"][self.state["focus"]] = self.state["text"].get(self.state["focus"], "") + text
            self.save()

    def clear(self):
        self.state["text"].pop(self.state["focus"], None)
        self.save()

    def set_keyboard(self, name):
        self.state["keyboard"] = name
        self.save()

    # what a tap may do

    def _open(self, name):
        """A tab replaces the one that is shown, everything else comes on top of what is shown."""
        if SCREENS[self.screen].tabs and SCREENS[name].tabs:
            self.state["stack"].pop()
        self.state["stack"].append(name)
        self.state["focus"] = None

    def _back(self, _):
        if len(self.state["stack"]) > 1:
            self.state["stack"].pop()
        self.state["focus"] = None

    def _toggle(self, name):
        self.state["on"] = sorted(set(self.state["on"]) ^ {name})

    def _focus(self, name):
        self.state["focus"] = name

    def _save(self, _):
        """Keeps a note and leaves it."""
        self.state["saved"].append(self.state["text"])
        self.state["text"] = {}
        self._back("")

    def _send(self, _):
        text = self.state["text"].pop("Message", "")
        if text:
            self.state["sent"].append(text)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder", help="is made, or begun anew")
    p.add_argument("--language", choices=("en", "zh"), default="en")
    p.add_argument("--width", type=int, default=1080, help="of the screen in pixels, 288 to 1440")
    a = p.parse_args()
    if not 288 <= a.width <= 1440:
        p.error("--width must be 288 to 1440")
    from painter import need_fonts
    need_fonts()
    phone = Phone.create(a.folder, a.language, a.width)
    print(f'export PATH={shlex.quote(str(phone.folder / "bin"))}:"$PATH"')


if __name__ == "__main__":
    main()
