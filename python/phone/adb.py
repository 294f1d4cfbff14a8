"""A stand-in for adb with the scripted phone on the line: adb.py FOLDER ARGUMENT...

It knows what phone agents call: devices, screenshots, the app in front, taps, swipes, keys, typing through the ADB
keyboard, launching. Anything else ends with status 1 and says so. device.py writes a script called `adb` that calls
this one.
"""
import base64
import shutil
import sys
from pathlib import Path

from apps import SCREENS
from device import KEYBOARD, Phone

SERIAL = "scripted-1"
KEYS = {"4": "back", "KEYCODE_BACK": "back", "3": "home", "KEYCODE_HOME": "home"}


class Unknown(Exception):
    """A command that the stand-in does not have"""


def on_card(phone, path):
    """The file that a path on the phone stands for: all are in one folder."""
    return phone.folder / "sdcard" / Path(path).name


def input_command(phone, words):
    kind, *rest = words
    if kind == "tap" and len(rest) == 2:
        phone.tap(*map(int, rest))
    elif kind == "swipe" and len(rest) in (4, 5):
        x0, y0, x1, y1 = map(int, rest[:4])
        if (x0, y0) == (x1, y1):
            phone.tap(x0, y0)                       # a long press
        else:
            phone.swipe(x0, y0, x1, y1)
    elif kind == "keyevent" and len(rest) == 1 and rest[0] in KEYS:
        getattr(phone, KEYS[rest[0]])()
    elif kind == "text" and len(rest) == 1:
        phone.type(rest[0].replace("%s", " "))
    else:
        raise Unknown


def broadcast(phone, words):
    """What the ADB keyboard listens to. It must be the chosen one, as on a real phone."""
    if phone.state["keyboard"] != KEYBOARD:
        return "Broadcast completed: result=0"
    if words[:2] == ["-a", "ADB_CLEAR_TEXT"]:
        phone.clear()
    elif words[:2] == ["-a", "ADB_INPUT_B64"] and words[2:4] == ["--es", "msg"] and len(words) <= 5:
        phone.type(base64.b64decode("".join(words[4:])).decode())
    else:
        raise Unknown
    return "Broadcast completed: result=-1"


def keyboards(phone, words):
    if words[:1] == ["list"]:
        return f"com.android.inputmethod.latin/.LatinIME\n{KEYBOARD}"
    if words[:1] != ["set"] or len(words) != 2:
        raise Unknown
    phone.set_keyboard(words[1])
    return f"Input method {words[1]} selected for user #0"


def monkey(phone, words):
    """`-p PACKAGE -c CATEGORY 1`: starts an app."""
    if words[:1] != ["-p"] or len(words) < 2:
        raise Unknown
    return "Events injected: 1" if phone.launch(words[1]) else "** No activities found to run, monkey aborted."


def shell(phone, words):
    """What a command of the phone's shell prints"""
    command, rest = words[0], words[1:]
    if command == "screencap" and rest[:1] == ["-p"] and len(rest) == 2:
        shutil.copyfile(phone.picture()[0], on_card(phone, rest[1]))
    elif command == "input" and rest:
        input_command(phone, rest)
    elif words == ["dumpsys", "window"]:
        package = SCREENS[phone.screen].package
        return (f"  mCurrentFocus=Window{{1 u0 {package}/{package}.Main}}\n"
                f"  mFocusedApp=ActivityRecord{{1 u0 {package}}}")
    elif words == ["settings", "get", "secure", "default_input_method"]:
        return phone.state["keyboard"]
    elif words == ["wm", "size"]:
        return "Physical size: {}x{}".format(*phone.size)
    elif command == "ime":
        return keyboards(phone, rest)
    elif words[:2] == ["am", "broadcast"]:
        return broadcast(phone, words[2:])
    elif command == "monkey":
        return monkey(phone, rest)
    else:
        raise Unknown


def run(phone, words):
    """What one call of adb prints; raises Unknown, or ValueError where an argument is no number"""
    if words[:1] == ["-s"]:
        words = words[2:]
    if words[:1] == ["version"]:
        return "Android Debug Bridge version 1.0.41 (scripted phone of openautoglm)"
    if words[:1] == ["devices"]:
        return f"List of devices attached\n{SERIAL}\tdevice"
    if words[:1] == ["pull"] and len(words) == 3:
        shutil.copyfile(on_card(phone, words[1]), words[2])
        return f"{words[1]}: 1 file pulled"
    if words[:1] == ["exec-out"] and words[1:] == ["screencap", "-p"]:
        return phone.picture()[0].read_bytes()
    if words[:1] == ["shell"] and len(words) > 1:
        return shell(phone, words[1:] if len(words) > 2 else words[1].split())
    raise Unknown


def main():
    folder, *words = sys.argv[1:]
    try:
        out = run(Phone(folder), words)
    except Unknown:
        sys.exit(f"adb: the scripted phone does not know: {' '.join(words)}")
    except (ValueError, OSError) as e:
        sys.exit(f"adb: {e}")
    if isinstance(out, bytes):
        sys.stdout.buffer.write(out)
    elif out:
        print(out)


if __name__ == "__main__":
    main()
