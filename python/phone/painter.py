"""Paints the screens of the scripted phone with the brushes of the generator that the model was trained with.

    image, targets = paint(state)

A target is the box of something that can be tapped, in the pixels of the model's canvas, with its verb and object;
where boxes overlap the last one counts. The same state always gives the same picture.
"""
import os
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from openautoglm import fonts, screens  # noqa: E402
from openautoglm.canvas import Canvas  # noqa: E402

from apps import CANVAS, ROW, SCREENS, TAB_BAR, word  # noqa: E402

WIDTH, HEIGHT = CANVAS
LATIN, CJK = "Roboto-Regular.ttf", "wqy-zenhei.ttc"


def need_fonts():
    """Ends the program with one line if the two fonts of the phone are not installed."""
    for name in (LATIN, CJK):
        if not os.path.exists(find_font(name)):
            sys.exit(f"{find_font(name)} is missing: ./setup.sh phone installs the phone's fonts")


def find_font(name):
    return next((p for p in fonts.LATIN + fonts.CJK if os.path.basename(p) == name), name)


class Painter(Canvas):
    """A canvas whose labels are given instead of drawn by lot."""

    def __init__(self, name, state):
        super().__init__(random.Random(f"9 {name}"), WIDTH, HEIGHT, state["width"] / WIDTH)
        self.language = state["language"]
        self.screen.zh = self.language == "zh"
        self.latin, self.cjk, self.base = find_font(LATIN), find_font(CJK), 13
        self.words, self.targets = [], []

    def label(self, room, size):
        return (self.words.pop(0), True) if self.words else ("", True)

    def put(self, item, draw, *args, **more):
        """Draws something of the generator's with this item's label; what it adds to the screen becomes a target."""
        self.words, before = [word(item.label, self.language)], len(self.screen.elements)
        out = draw(self, *args, **more)
        self.targets += [(e.box, item.verb, item.object) for e in self.screen.elements[before:]]
        return out


def home(p, spec, state, y):
    columns, cell, pitch = 4, WIDTH / 4, 92
    for i, item in enumerate(spec.items):
        p.put(item, screens.icon, i % columns * cell, y + 8 + i // columns * pitch, cell, 42, 10)


def listed(p, spec, state, y):
    """Rows from the one that was scrolled to. The whole row of a switch turns it, as on a phone."""
    first = state["scroll"].get(state["stack"][-1], 0)
    for item in spec.items[first:first + spec.visible_rows]:
        line = p.put(item, screens.row, y, ROW, 2)
        if item.kind == "switch":
            screens.row_switch(p, y, ROW, line, item.object in state["on"])
        p.path([(12, y + ROW), (WIDTH - 8, y + ROW)], p.card, .5)
        y += ROW


def written(p, box, state, name, y):
    """What was typed into a field, and a frame around the one that has the focus."""
    text = state["text"].get(name, "")
    if text:
        p.text(box[0] + 8, y, text, p.base, p.ink)
    if state["focus"] == name:
        p.rectangle(box, None, 4, (40, 110, 220))


def form(p, spec, state, y):
    buttons = [i for i in spec.items if i.kind == "button"]
    for item in spec.items:
        if item.kind == "field":
            box = p.put(item, screens.field, y)
            written(p, box, state, item.object, y + p.base * 2.6)
            y += p.base * 4.8
    y += p.base
    wide = (WIDTH - 18) / len(buttons)
    for i, item in enumerate(buttons):
        p.put(item, screens.button, (12 + i * wide, y, 6 + (i + 1) * wide, y + p.base * 2.6))


def chat(p, spec, state, y):
    """What was said, and at the bottom a field and a button: one brush of the generator's draws both."""
    for i, text in enumerate([word("Tomorrow", p.language), *state["sent"][-9:]]):
        screens.bubble(p, y + 8 + i * p.base * 2.8, text, True, i > 0)
    field, button = spec.items
    typed = state["text"].get(field.object, "")
    p.words = [typed or word(field.label, p.language), word(button.label, p.language)]
    before = len(p.screen.elements)
    box = screens.message_bar(p, HEIGHT - p.base * 3.4, HEIGHT - p.base * .6)
    for e, item in zip(p.screen.elements[before:], spec.items):
        p.targets.append((e.box, item.verb, item.object))
    if state["focus"] == field.object:
        p.rectangle(box, None, p.base, (40, 110, 220))


KINDS = {"home": home, "list": listed, "form": form, "chat": chat}


def paint(state):
    """(the picture, its targets) of the screen that the phone shows"""
    name = state["stack"][-1]
    spec = SCREENS[name]
    p = Painter(name, state)
    if spec.kind == "home":
        screens.wallpaper(p)
    y = screens.status_bar(p)
    if spec.title:
        p.words = [word(spec.title, p.language)]
        y = screens.title_bar(p, y, back=True)
        p.targets += [(e.box, "back", "") for e in p.screen.elements if e.kind == "back"]
    KINDS[spec.kind](p, spec, state, y)
    for i, item in enumerate(spec.tabs):
        if i == 0:
            p.rectangle((0, HEIGHT - TAB_BAR, WIDTH, HEIGHT), p.card)
        p.put(item, screens.tab, HEIGHT - TAB_BAR, i, len(spec.tabs))
    return p.image, p.targets
