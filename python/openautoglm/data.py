"""Screens into batches: packed questions, and dense targets for the vision features.

A screen is encoded once and asked many questions, packed into rows of tokens;
a question sees its own tokens and the image only.
"""
import random

import numpy as np
import torch

from . import questions, screens
from . import tokenizer as t
from .canvas import ELEMENTS, Screen
from .vocabulary import COLORS

CELL = 16            # pixels per cell of the fine features
COLUMN = 2           # pixels per column of the character target at 1/8
SLOTS = 5            # characters that a cell can name
CHARACTER_ID = {c: i + 1 for i, c in enumerate(t.CHARACTERS)}       # 0: none
OFF, ON = len(COLORS) + 1, len(COLORS) + 2                          # after the colours, in the target "look"
FOLLOW_UP = .1       # share of questions that follow another one in the same conversation

def cell(x, y, w, h):
    return min(h // CELL - 1, max(0, int(y // CELL))) * (w // CELL) + min(w // CELL - 1, max(0, int(x // CELL)))


def eyes(q, prompt, answer, w, h):
    """For each token of prompt + answer, the cell that it should look at, or -1.

    A character of a label in the question looks at that character on the
    screen; a colour's name at the thing of that colour; a token of the answer
    at what decides it: the character about to be written, else the target.
    """
    look = [-1] * (len(prompt) + len(answer))
    spots, n = [], 0                        # the cell of each token of the label
    label = t.encode(q.line.text) if q.line else []
    for token in label:
        spots.append(cell(q.line.x[min(n, len(q.line.x) - 1)], q.line.y, w, h))
        n += len(t.TOKENS[token])
    for i in range(len(prompt) - len(label) + 1) if label else ():
        if prompt[i:i + len(label)] == label:
            look[i:i + len(label)] = spots
            break
    target = cell(*q.target, w, h) if q.target else -1
    for i, token in enumerate(prompt):
        if q.task == "read" and t.FIRST_Y <= token < t.FIRST_Y + t.COORDINATES:
            look[i] = spots[0]
        if q.task == "tap_color" and t.TOKENS[token].strip() == q.color:
            look[i] = target
    if q.task in ("read", "title"):
        look[len(prompt):] = spots + spots[-1:] * (len(answer) - len(spots))
        return look
    if target < 0 and spots:
        target = spots[len(spots) // 2]
    for i in range(len(prompt) - 1, min(len(look), len(prompt) + 3)):
        look[i] = target
    return look


def conversation(asked, w, h):
    """Questions one after the other -> tokens, target of each token or -1, where to look, target is a bell"""
    ids, target, look, bell = [], [], [], []
    for q in asked:
        prompt, answer = t.prompt(q.text), t.answer(q.answer)
        ids += prompt + answer
        target += [-1] * (len(prompt) - 1) + answer + [-1]
        look += eyes(q, prompt, answer, w, h)
        bell += [q.task.startswith("tap")] * (len(prompt) + len(answer))
    return ids[:-1], target[:-1], look[:-1], bell[:-1]


def pack(some, r, rows, width, w, h):
    """Fills rows x width tokens.  Returns int arrays: ids, position in the conversation, conversation (0: padding),
    target, look, bell."""
    out = {k: np.full((rows, width), v, np.int64) for k, v in
           dict(ids=t.PAD, position=0, conversation=0, target=-1, look=-1, bell=0).items()}
    used, order, k = [0] * rows, questions.choose(some, r, questions.PRACTICE), 0
    while order and rows and min(used) < width - 14:
        n = 2 if r.random() < FOLLOW_UP else 1
        asked, order = order[:n], order[n:]
        ids, target, look, bell = conversation(asked, w, h)
        row = next((i for i in range(rows) if used[i] + len(ids) <= width), None)
        if row is None:
            continue
        k += 1
        at = slice(used[row], used[row] + len(ids))
        used[row] += len(ids)
        for name, value in dict(ids=ids, position=range(len(ids)), conversation=k, target=target, look=look,
                                bell=bell).items():
            out[name][row, at] = value
    return out


def columns(s):
    """(h/8, w/8, 4): the character that covers each column of the cells on the centre line of a text"""
    stride = CELL // 2
    n = stride // COLUMN
    out = np.zeros((s.h // stride, s.w // stride * n), np.int64)
    for line in s.lines:
        x = line.x
        ends = [(a + b) / 2 for a, b in zip(x, x[1:])]
        ends = [2 * x[0] - ends[0] if ends else x[0] - line.size / 2, *ends, 2 * x[-1] - ends[-1] if ends
                else x[0] + line.size / 2]
        row = min(len(out) - 1, max(0, int(line.y // stride)))
        for c, a, b in zip(line.text, ends, ends[1:]):
            if c != " ":
                out[row, max(0, round(a / COLUMN)):max(0, round(b / COLUMN))] = CHARACTER_ID.get(c, 0)
    return out.reshape(len(out), -1, n)


def slots(s):
    """(h/16, w/16, SLOTS): the characters whose centre lies in the cell, from left to right"""
    out = np.zeros((s.h // CELL * (s.w // CELL), SLOTS), np.int64)
    for line in s.lines:
        n = {}
        for c, x in zip(line.text, line.x):
            if 0 <= x < s.w:
                k = cell(x, line.y, s.w, s.h)
                if k not in n:
                    n[k], out[k] = 0, 0
                if n[k] < SLOTS:
                    out[k, n[k]] = CHARACTER_ID.get(c, 0)
                    n[k] += 1
    return out.reshape(s.h // CELL, s.w // CELL, SLOTS)


def dense(s):
    """Targets of the training heads, per cell: element it belongs to, way to that element's centre / 100 pixels,
    look (colour of what is painted there, state of a switch), and at the centres of bodies the element and how many
    there are of it."""
    h, w = s.h // CELL, s.w // CELL
    kind, look, middle, count = (np.zeros((h, w), np.int64) for _ in range(4))
    way = np.zeros((h, w, 2), np.float32)

    def area(box):
        x0, y0, x1, y1 = (int((v + CELL / 2) // CELL) for v in box)
        return slice(max(0, y0), min(h, y1)), slice(max(0, x0), min(w, x1))

    total = {}
    for e in s.elements:
        total[e.kind] = total.get(e.kind, 0) + 1
    for e in sorted(s.elements, key=lambda e: -(e.box[2] - e.box[0]) * (e.box[3] - e.box[1])):
        (x, y), (rows, cols) = questions.centre(e.box), area(e.box)
        kind[rows, cols] = ELEMENTS.index(e.kind) + 1
        way[rows, cols, 0] = (x - (np.arange(w)[None, cols] + .5) * CELL) / 100
        way[rows, cols, 1] = (y - (np.arange(h)[rows, None] + .5) * CELL) / 100
    for box, color in s.paint:
        look[area(box)] = look[divmod(cell(*questions.centre(box), s.w, s.h), w)] = COLORS.index(color) + 1
    for e in s.elements:
        at = divmod(cell(*questions.centre(e.body or e.box), s.w, s.h), w)
        middle[at], count[at] = ELEMENTS.index(e.kind) + 1, min(total[e.kind], questions.COUNTED + 1)
        if e.on is not None:
            look[area(e.body)] = look[at] = ON if e.on else OFF
    return dict(columns=columns(s), slots=slots(s), kind=kind, way=way, body=look, middle=middle, count=count)


class Screens(torch.utils.data.IterableDataset):
    """Batches drawn in worker processes, so that training does not wait for them; each worker draws others.

    `sizes`: canvas -> (how often, screens in a batch, rows of questions for
    each); `pages`: share of screens that are text only; `blind`: share of
    batches without an image.
    """

    def __init__(self, seed, sizes, width, pages, blind=0.):
        self.seed, self.sizes, self.width, self.pages, self.blind = seed, sizes, width, pages, blind

    def one(self, r, w, h, rows):
        while True:
            page = r.random() < self.pages
            s = screens.draw(r, w, h, "page" if page else None)
            if page or len(s.questions) >= 20:
                image = s.image if s.image.size == (w, h) else s.image.resize((w, h), 3)
                return {"image": np.array(image), **pack(s.questions, r, rows, self.width, w, h), **dense(s)}

    def text(self, r, rows):
        """Questions that need no image."""
        out = []
        for _ in range(rows * 3):
            s = Screen(32, 32, r.random() < .3)
            questions.ask(s, r)
            out += s.questions
        return pack(out, r, rows, self.width, 32, 32)

    def __iter__(self):
        worker = torch.utils.data.get_worker_info()
        r = random.Random(f"{self.seed}/{worker.id}" if worker and worker.id else self.seed)
        canvases, often = list(self.sizes), [s[0] for s in self.sizes.values()]
        while True:
            w, h = r.choices(canvases, often)[0]
            _, batch, rows = self.sizes[w, h]
            blind = r.random() < self.blind
            some = [self.text(r, rows) if blind else self.one(r, w, h, rows) for _ in range(batch)]
            yield {k: torch.from_numpy(np.stack([s[k] for s in some])) for k in some[0]}
