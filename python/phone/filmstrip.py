"""Draws the steps of a task side by side: each screen with the tap or swipe marked on it, below it what was done."""
import io

from PIL import Image, ImageDraw, ImageFont

from painter import CJK, LATIN, find_font

TALL, GAP, CAPTION = 400, 14, 44          # pixels: of a screen, around it, and for the words below it
MARK = (225, 30, 60)


def caption(action):
    """What a step did, in two short lines"""
    if action["_metadata"] == "finish":
        return "finish", f"“{action['message']}”"
    name = action["action"]
    if "element" in action:
        return name, "[{},{}]".format(*action["element"])
    if "start" in action:
        return name, "[{},{}] to [{},{}]".format(*action["start"], *action["end"])
    return name, f"“{action['text']}”" if "text" in action else ""


def mark(draw, left, action, size):
    """A ring around what is tapped, an arrow along the way of a swipe."""
    def at(point):
        return left + point[0] / 1000 * size[0], GAP + point[1] / 1000 * size[1]

    if "element" in action:
        x, y = at(action["element"])
        for r, width in ((13, 4), (3, 3)):
            draw.ellipse((x - r, y - r, x + r, y + r), None, MARK, width)
    if "start" in action:
        (x0, y0), (x1, y1) = at(action["start"]), at(action["end"])
        draw.line((x0, y0, x1, y1), MARK, 4)
        draw.ellipse((x0 - 5, y0 - 5, x0 + 5, y0 + 5), MARK)
        length = max(1, ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** .5)
        dx, dy = (x1 - x0) / length * 14, (y1 - y0) / length * 14
        draw.polygon([(x1, y1), (x1 - dx - dy / 2, y1 - dy + dx / 2), (x1 - dx + dy / 2, y1 - dy - dx / 2)], MARK)


def draw(steps):
    """The picture of some steps (agent.Step)"""
    screens = [Image.open(io.BytesIO(s.screenshot)).convert("RGB") for s in steps]
    size = round(TALL * screens[0].width / screens[0].height), TALL
    strip = Image.new("RGB", (GAP + len(steps) * (size[0] + GAP), TALL + 2 * GAP + CAPTION), "white")
    pen = ImageDraw.Draw(strip)
    for i, (screen, step) in enumerate(zip(screens, steps)):
        left = GAP + i * (size[0] + GAP)
        strip.paste(screen.resize(size, Image.LANCZOS), (left, GAP))
        pen.rectangle((left - 1, GAP - 1, left + size[0], GAP + TALL), None, (120, 120, 120))
        mark(pen, left, step.action, size)
        for line, (text, px, ink) in enumerate(zip(caption(step.action), (15, 13), ("black", (90, 90, 90)))):
            font = ImageFont.truetype(find_font(CJK if any(ord(c) > 0x2fff for c in text) else LATIN), px)
            pen.text((left + size[0] / 2, GAP + TALL + 16 + 20 * line), text, ink, font, "mm")
    return strip


def write(steps, path):
    """As a PNG of 128 colours, which is small"""
    draw(steps).quantize(128, dither=Image.Dither.NONE).save(path, "PNG", optimize=True)
