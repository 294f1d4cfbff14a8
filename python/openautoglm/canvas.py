"""What a screen is made of, and the brush it is painted with.

Everything is laid out in the pixels that the model sees and painted `scale`
times larger, as a real screenshot is before it enters the model.
"""
import colorsys
import functools
import random
from dataclasses import dataclass, field

from PIL import Image, ImageDraw, ImageFont

from . import vocabulary
from .fonts import CJK, LATIN

# colour: hue, saturation, value
HSV = {"red": (0, .75, .85), "orange": (.075, .85, .95), "yellow": (.145, .8, .95), "green": (.35, .65, .65),
       "blue": (.6, .75, .85), "purple": (.76, .6, .75), "pink": (.92, .4, .97), "brown": (.07, .6, .45),
       "gray": (0, 0, .55), "black": (0, 0, .1)}


@dataclass
class Line:
    """One line of text, for reading and for the dense targets."""
    text: str
    x: list            # centre of every character
    y: float
    size: float
    known: bool        # from the vocabulary, not invented


@dataclass
class Element:
    kind: str          # one of ELEMENTS
    box: tuple         # left, top, right, bottom: where a tap reaches it
    line: Line = None  # its label
    color: str = None  # of the body, one of COLORS
    on: bool = None    # of a switch
    body: tuple = None # the painted part: icon without its name, switch


ELEMENTS = ("icon", "row", "switch", "button", "field", "tab", "title", "back")


@dataclass
class Screen:
    w: int
    h: int
    zh: bool
    elements: list = field(default_factory=list)
    lines: list = field(default_factory=list)
    paint: list = field(default_factory=list)   # (box, colour name) of every coloured area, in order
    image: Image.Image = None   # as painted: scale times larger than w x h
    questions: list = field(default_factory=list)


@functools.lru_cache(4000)
def font(path, size):
    return ImageFont.truetype(path, size)


@functools.lru_cache(200000)
def advance(path, size, character):
    return font(path, size).getlength(character)


def shade(color, r):
    """A colour by name -> bytes (red, green, blue) near it"""
    h, s, v = HSV[color]
    if s:
        h, s = h + r.uniform(-.012, .012), min(1, max(.3, s + r.uniform(-.1, .1)))
    v = min(1, max(.05, v + r.uniform(-.07, .07)))
    return tuple(int(255 * c) for c in colorsys.hsv_to_rgb(h % 1, s, v))


def luminance(c):
    return .3 * c[0] + .59 * c[1] + .11 * c[2]


class Canvas:
    """A screen being painted: theme, fonts and brush.  All lengths are in final pixels."""

    def __init__(self, r: random.Random, w, h, scale):
        self.r, self.scale, self.screen = r, scale, Screen(w, h, r.random() < .3)
        self.dark = r.random() < .35
        level = r.randint(0, 45) if self.dark else r.randint(225, 255)
        self.background = tuple(min(255, max(0, level + r.randint(-8, 8))) for _ in "rgb")
        self.ink = (235, 235, 235) if self.dark else (r.randint(0, 60),) * 3
        self.faint = (150, 150, 150) if self.dark else (110, 110, 110)
        lift = 18 if self.dark else r.choice((-12, 0, 0))
        self.card = tuple(min(255, max(0, c + lift)) for c in self.background)
        self.accent = r.choice(("blue", "green", "purple", "orange", "red", "pink"))
        self.latin, self.cjk = r.choice(LATIN), r.choice(CJK)
        self.base = r.uniform(9.5, 14)     # body text
        self.known = .55                   # share of labels that come from the vocabulary
        self.image = Image.new("RGB", (round(w * scale), round(h * scale)), self.background)
        self.draw = ImageDraw.Draw(self.image)
        self._used = set()

    def at(self, *values):
        """Final pixels -> painted pixels"""
        return [v * self.scale for v in values]

    def pen(self, width):
        return max(1, round(width * self.scale))

    def rectangle(self, box, fill=None, radius=0, outline=None):
        self.draw.rounded_rectangle(self.at(*box), radius * self.scale, fill, outline, self.pen(1))

    def ellipse(self, box, fill=None, outline=None, width=1):
        self.draw.ellipse(self.at(*box), fill, outline, self.pen(width))

    def paint(self, box, color, radius=0):
        """A rounded area of a named colour; returns the shade it got."""
        fill = shade(color, self.r)
        self.rectangle(box, fill, radius)
        self.screen.paint.append((box, color))
        return fill

    def path(self, points, fill, width=1):
        self.draw.line([tuple(self.at(*p)) for p in points], fill, self.pen(width))

    def _font(self, text, size):
        path = self.cjk if any(ord(c) > 0x2fff for c in text) else self.latin
        return path, round(size * self.scale * 2) / 2

    def width(self, text, size):
        return font(*self._font(text, size)).getlength(text) / self.scale

    def text(self, x, y, text, size, fill, align="l", known=True, record=True):
        """One line, vertically centred on y."""
        path, px = self._font(text, size)
        x -= {"l": 0, "c": .5, "r": 1}[align] * self.width(text, size)
        self.draw.text(self.at(x, y), text, fill, font(path, px), "lm")
        centres = []
        for c in text:
            a = advance(path, px, c) / self.scale
            centres.append(x + a / 2)
            x += a
        line = Line(text, centres, y, size, known)
        if record:
            self.screen.lines.append(line)
        return line

    def label(self, room, size):
        """(a label that fits into `room` and is not on this screen yet, is it known), or ("", True)"""
        for _ in range(30):
            text, known = vocabulary.label(self.r, self.screen.zh, self.known)
            if text.lower() not in self._used and self.width(text, size) <= room:
                self._used.add(text.lower())
                return text, known
        return "", True

    def write(self, x, y, room, size, fill, align="l"):
        """A new label, painted; None if nothing fits."""
        text, known = self.label(room, size)
        return self.text(x, y, text, size, fill, align, known) if text else None

    def add(self, kind, box, line=None, **more):
        self.screen.elements.append(Element(kind, box, line, **more))

    def color(self):
        """A colour's name, distinct from the background"""
        name = self.r.choice(vocabulary.COLORS)
        middle = colorsys.hsv_to_rgb(*HSV[name])
        return "red" if abs(255 * luminance(middle) - luminance(self.background)) < 40 else name
