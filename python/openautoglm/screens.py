"""Draws random phone screens: home screens, lists, forms, chats, cards, dialogs, pages of text.

    draw(r, w, h) -> Screen

with its elements, its lines of text and questions about them.  The same `r`
gives the same screen.
"""
from PIL import Image

from . import questions
from .canvas import Canvas, luminance, shade
from .fonts import CJK, LATIN
from .vocabulary import COLORS

SCALES = (1, 1.5, 1.5, 1.5, 2, 2, 2, 2.5, 2.5, 3, 3.75)   # painted pixels per final pixel
LAYOUTS = ("home",) * 4 + ("list",) * 4 + ("form",) * 4 + ("mixed",) * 2 + ("chat", "cards")


def status_bar(p):
    """Clock, signal and battery; returns where the rest begins."""
    w, r, size = p.screen.w, p.r, p.base * .8
    p.text(6, size, f"{r.randint(0, 23)}:{r.randint(0, 59):02d}", size, p.ink, known=False)
    p.rectangle((w - 22, size - 4, w - 7, size + 4), None, 1, p.ink)
    p.rectangle((w - 21, size - 3, w - 21 + r.uniform(3, 13), size + 3), p.ink)
    for i in range(r.randint(1, 3)):
        p.rectangle((w - 34 - 11 * i, size - 4, w - 27 - 11 * i, size + 4), p.faint, 3)
    return size * 2.1


def title_bar(p, y, back=None):
    """`back`: has it an arrow that leads back? None: perhaps"""
    size, x = p.base * p.r.uniform(1.1, 1.5), 12
    if p.r.random() < .6 if back is None else back:
        p.path([(20, y + size * .5), (12, y + size), (20, y + size * 1.5)], p.ink, 1.5)
        p.add("back", (6, y, 30, y + size * 2))
        x = 34
    line = p.write(x, y + size, p.screen.w - x - 30, size, p.ink)
    if line:
        p.add("title", (x, y + size * .4, x + p.width(line.text, size), y + size * 1.6), line)
    return y + size * 2.4


def search_bar(p, y):
    b, size = (10, y + 2, p.screen.w - 10, y + 2 + p.base * 2.4), p.base * .95
    p.rectangle(b, p.card, p.r.choice((3, p.base * 1.2)), p.faint)
    line = p.write(24, (b[1] + b[3]) / 2, p.screen.w - 60, size, p.faint)
    if line:
        p.add("field", b, line)
    return b[3] + 6


def glyph(p, box, color):
    """Some simple picture in the middle of the box."""
    x, y, q = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, (box[2] - box[0]) * .25
    k, square = p.r.randint(0, 5), (x - q, y - q, x + q, y + q)
    if k == 0:
        p.ellipse(square, color)
    elif k == 1:
        p.draw.polygon([tuple(p.at(*c)) for c in ((x, y - q), (x + q, y + q), (x - q, y + q))], color)
    elif k == 2:
        p.rectangle(square, color)
    elif k == 3:
        p.path([(x - q, y), (x + q, y)], color, q / 2)
        p.path([(x, y - q), (x, y + q)], color, q / 2)
    elif k == 4:
        p.ellipse(square, None, color, q / 3)
    else:
        p.text(x, y, p.r.choice("ABCDEFGHJKMNPQRSTWXZ"), q * 2.4, color, "c", record=False)


def icon(p, left, top, cell, side, radius):
    """A coloured picture with its name below, in the middle of a cell of the grid that begins at `left`."""
    size, x = p.base * .92, left + (cell - side) / 2
    color, body = p.color(), (x, top, x + side, top + side)
    fill = p.paint(body, color, radius)
    glyph(p, body, (255, 255, 255) if luminance(fill) < 170 else (30, 30, 30))
    line = p.write(left + .5 * cell, top + side + size * .9, cell - 3, size, p.ink, "c")
    if line:
        p.add("icon", (left + 2, top, left + cell - 2, top + side + size * 1.6), line, color=color, body=body)


def icons(p, y, end):
    """A grid of coloured icons with their names below."""
    r, w, size = p.r, p.screen.w, p.base * .92
    columns = max(2, min(8, int(w / r.uniform(52, 78))))
    cell = w / columns
    side = min(cell * r.uniform(.5, .68), 46)
    height, radius, gaps = side + size * r.uniform(2.1, 3.2), r.uniform(.1, .5) * side, r.random() * .3
    for row in range(int((end - y) // height)):
        for column in range(columns):
            if r.random() < gaps:
                continue
            icon(p, column * cell, y + row * height, cell, side, radius)


def switch(p, x, y, on):
    """Painted to the left of x; returns its body."""
    off = (120, 120, 120) if p.dark else (200, 200, 200)
    if on:
        p.paint((x - 24, y - 7, x, y + 7), p.accent, 7)
    else:
        p.rectangle((x - 24, y - 7, x, y + 7), off, 7)
    p.ellipse((x - 12, y - 5, x - 2, y + 5) if on else (x - 22, y - 5, x - 12, y + 5), (255, 255, 255))
    return (x - 24, y - 7, x, y + 7)


def row(p, y, height, right, bullet=False, second=False):
    """One row of a list, up to `right` from the edge: its label, perhaps something coloured before it and a line below
    it; None if no label fits"""
    x, middle, size, w = 12, y + height / 2, p.base, p.screen.w
    if bullet:
        p.paint((x, middle - 9, x + 18, middle + 9), p.r.choice(COLORS), 9)
        x += 26
    line = p.write(x, middle - (size * .65 if second else 0), w - x - 44, size, p.ink)
    if line and second:
        p.write(x, middle + size * .65, w - x - 44, size * .85, p.faint)
    if line:
        p.add("row", (2, y, w - right, y + height), line)
    return line


def row_switch(p, y, height, line, on):
    """The switch at the end of a row"""
    w, middle = p.screen.w, y + height / 2
    p.add("switch", (w - 36, middle - 9, w - 8, middle + 9), line, on=on, body=switch(p, w - 10, middle, on))


def rows(p, y, end):
    """A list, as in the settings: label, perhaps a line below it, an icon, a switch."""
    r, w, size = p.r, p.screen.w, p.base
    second, switches, bullets = r.random() < .4, r.random() < .6, r.random() < .4
    height = size * (r.uniform(2.9, 3.6) if second else r.uniform(2.2, 3.2))
    while y + height < end:
        line = row(p, y, height, 42 if switches else 2, bullets, second)
        if not line:
            break
        if switches and r.random() < .85:
            row_switch(p, y, height, line, r.random() < .5)
        if r.random() < .7:
            left = 38 if bullets else 12
            p.path([(left, y + height), (w - 8, y + height)], p.faint if r.random() < .2 else p.card, .5)
        y += height


def button(p, box):
    r, size = p.r, p.base * p.r.uniform(.95, 1.1)
    text, known = p.label(box[2] - box[0] - 6, size)
    if not text:
        return
    color = p.color()
    if r.random() < .15:
        color, ink = None, p.ink
        p.rectangle(box, p.card, (box[3] - box[1]) * .2, p.faint)
    else:
        fill = p.paint(box, color, (box[3] - box[1]) * r.choice((.1, .25, .5)))
        ink = (255, 255, 255) if luminance(fill) < 165 else (20, 20, 20)
    line = p.text((box[0] + box[2]) / 2, (box[1] + box[3]) / 2, text, size, ink, "c", known)
    p.add("button", box, line, color=color, body=box)


def field(p, y):
    """An empty field with its label above it"""
    w, size = p.screen.w, p.base
    box = (12, y + size * 1.4, w - 12, y + size * 3.8)
    line = p.write(14, y + size * .6, w - 60, size * .95, p.faint)
    if line:
        p.add("field", box, line)
    p.rectangle(box, p.card, 4, p.faint)
    return box


def form(p, y, end):
    """Fields with a label above them, and rows of buttons."""
    r, w, size = p.r, p.screen.w, p.base
    while y + size * 5 < end:
        if r.random() < .55:
            field(p, y)
            if r.random() < .4:
                p.write(20, y + size * 2.6, w - 60, size, p.ink)
            y += size * 4.6
        else:
            n, height = r.choice((1, 2, 2, 3) if w > 250 else (1, 1, 2)), size * r.uniform(2, 2.8)
            for i in range(n):
                button(p, (12 + i * (w - 18) / n, y, 6 + (i + 1) * (w - 18) / n, y + height))
            y += height + size * r.uniform(.8, 1.6)


def bubble(p, y, text, known, mine):
    w, size, ink = p.screen.w, p.base, p.ink
    wide = p.width(text, size) + 18
    x = w - 10 - wide if mine else 34
    box = (x, y, x + wide, y + size * 2)
    if mine:
        ink = (255, 255, 255) if luminance(p.paint(box, p.accent, size * .6)) < 165 else (20, 20, 20)
    else:
        p.paint((8, y, 28, y + 20), p.r.choice(COLORS), 10)
        p.rectangle(box, p.card, size * .6, p.faint)
    p.text(x + 9, y + size, text, size, ink, known=known)


def message_bar(p, y, end):
    """A field, with its name in it, and a button beside it; returns the field's box."""
    w, size = p.screen.w, p.base
    box = (8, y + size * .2, w - 76, end - size * .2)
    p.rectangle(box, p.card, size, p.faint)
    line = p.write(18, (box[1] + box[3]) / 2, w - 110, size * .95, p.faint)
    if line:
        p.add("field", box, line)
    button(p, (w - 70, box[1], w - 8, box[3]))
    return box


def chat(p, y, end):
    """Bubbles left and right, a field and a button below."""
    r, w, size = p.r, p.screen.w, p.base
    bottom = end - size * 2.8
    while y + size * 2.4 < bottom:
        text, known = p.label(w * .6, size)
        if not text:
            break
        bubble(p, y, text, known, r.random() < .5)
        y += size * r.uniform(2.5, 3.2)
    message_bar(p, bottom, end)


def cards(p, y, end):
    """Things to buy: a picture, a name, a price, a button."""
    r, w, size = p.r, p.screen.w, p.base
    height = size * r.uniform(5, 7)
    while y + height < end:
        p.rectangle((8, y + 3, w - 8, y + height - 3), p.card, 6, p.faint)
        picture = (14, y + 9, 14 + height - 18, y + height - 9)
        p.paint(picture, r.choice(COLORS), 4)
        glyph(p, picture, (240, 240, 240))
        x = picture[2] + 10
        line = p.write(x, y + height * .3, w - x - 16, size, p.ink)
        if line:
            p.add("row", (8, y + 3, w - 84, y + height - 3), line)
        p.write(x, y + height * .62, w - x - 90, size * .9, p.faint)
        button(p, (w - 80, y + height - 9 - size * 2.1, w - 16, y + height - 9))
        y += height


def tab(p, y, i, n):
    """The i-th of n at the lower edge"""
    w, size = p.screen.w, p.base * .87
    x = (i + .5) * w / n
    glyph(p, (x - 9, y + 2, x + 9, y + 20), p.faint)
    line = p.write(x, y + 20 + size * .7, w / n - 4, size, p.ink, "c")
    if line:
        p.add("tab", (i * w / n + 2, y, (i + 1) * w / n - 2, p.screen.h), line)


def tabs(p, y):
    w, r = p.screen.w, p.r
    n = r.randint(3, 4 if w < 260 else 5)
    p.rectangle((0, y, w, p.screen.h), p.card)
    for i in range(n):
        tab(p, y, i, n)


def dialog(p):
    """Darkens what is there and asks something; only the dialog can be tapped then."""
    r, s, size = p.r, p.screen, p.base
    p.image.paste(Image.blend(p.image, Image.new("RGB", p.image.size), .5))
    height, y = size * r.uniform(8, 11), r.uniform(.25, .6) * s.h
    b = (s.w * .07, y, s.w * .93, y + height)
    s.elements.clear()
    s.paint.clear()
    s.lines = [t for t in s.lines if t.y < y - t.size or t.y > y + height + t.size]
    p.rectangle(b, p.card, 8)
    line = p.write(b[0] + 12, y + size * 1.6, b[2] - b[0] - 24, size * 1.15, p.ink)
    if line:
        p.add("title", (b[0] + 12, y + size, b[2] - 12, y + size * 2.2), line)
    p.write(b[0] + 12, y + size * 3.6, b[2] - b[0] - 24, size * .9, p.faint)
    half = (b[2] - b[0] - 24) / 2
    for i in range(2):
        x = b[0] + 9 + i * (half + 6)
        button(p, (x, b[3] - size * 3, x + half, b[3] - size * .7))


def wallpaper(p):
    a, b = (tuple(min(255, int(c * (.35 if p.dark else 1) + (0 if p.dark else 120))) for c in shade(p.r.choice(COLORS),
                                                                                                    p.r))
            for _ in "ab")
    size, mask = p.image.size, Image.linear_gradient("L").resize(p.image.size)
    p.image.paste(Image.composite(Image.new("RGB", size, a), Image.new("RGB", size, b), mask))


def page(p):
    """Nothing but text in many fonts, sizes and colours, most of it invented: practice in reading."""
    r, s, y, pitch = p.r, p.screen, 4, p.r.choice((1.35, 1.6))
    p.known = .3 if s.zh else .2
    while y < s.h - 12:
        p.latin, p.cjk, size, x = r.choice(LATIN), r.choice(CJK), r.uniform(8.5, 15), r.uniform(2, 20)
        ink = p.ink
        if r.random() < .3:
            fill = p.paint((0, y, s.w, y + size * pitch), r.choice(COLORS))
            ink = (255, 255, 255) if luminance(fill) < 150 else (20, 20, 20)
        while x < s.w - 20:
            line = p.write(x, y + size * pitch / 2, s.w - x - 4, size, ink)
            if not line:
                break
            x += p.width(line.text, size) + size * r.uniform(.8, 1.6)
        y += size * r.uniform(pitch, pitch + .5)


def draw(r, w, h, layout=None, scale=None):
    """A screen of w x h final pixels, painted `scale` times larger."""
    p = Canvas(r, w, h, scale or r.choice(SCALES))
    layout = layout or r.choice(LAYOUTS)
    if layout == "page":
        page(p)
    else:
        has_tabs = r.random() < .4 and layout != "chat"
        end = h - p.base * .87 * 2.2 - 20 if has_tabs else h - 4
        if layout == "home" and r.random() < .5:
            wallpaper(p)
        y = status_bar(p)
        if layout == "home":
            y = search_bar(p, y) if r.random() < .15 else y
            icons(p, y + 4, end)
        else:
            y = title_bar(p, y)
            if layout == "list" and r.random() < .15:
                y = search_bar(p, y)
            if layout == "mixed":
                middle = y + (end - y) * r.uniform(.35, .6)
                icons(p, y, middle)
                y = middle + 6
            {"list": rows, "form": form, "chat": chat, "cards": cards, "mixed": r.choice((rows, form))}[layout](p, y,
                                                                                                                end)
        if has_tabs:
            tabs(p, end)
        if r.random() < .15:
            dialog(p)
    p.screen.image = p.image
    questions.ask(p.screen, r)
    return p.screen
