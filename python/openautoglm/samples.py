"""Writes the sample screenshots of a model: python -m openautoglm.samples models/open-autoglm-v1

Phone-sized screens in DIR/samples, and samples.json: for each a question, its
right answer and the box (left, top, right, bottom, in pixels) that a tap must
hit.  They are for trying the server out: of a few screens the one that the
model understands best, and a question that it gets right.  `evaluate` says how
often it does.
"""
import io
import itertools
import os
import random
import sys

import torch

from . import export, fonts, preprocess, screens
from . import tokenizer as t
from .evaluate import WIDTH, judge

# name: layout, Chinese, tasks of the question, best first
SAMPLES = {"settings-en": ("list", False, ("tap_switch", "tap")), "home-en": ("home", False, ("tap",)),
           "form-en": ("form", False, ("tap_field", "tap")), "shop-en": ("cards", False, ("tap",)),
           "home-zh": ("home", True, ("tap",)), "chat-zh": ("chat", True, ("read", "tap"))}
W, H, MOST_BYTES = 288, 640, 140_000


def candidates(layout, zh):
    """Screens of this kind whose PNG is small, one seed after the other"""
    for seed in range(10_000):
        s = screens.draw(random.Random(f"sample {layout} {seed}"), W, H, layout, WIDTH / W)
        if s.zh == zh and len(s.questions) > 25:
            png = io.BytesIO()
            s.image.save(png, "PNG", optimize=True)
            if len(png.getvalue()) <= MOST_BYTES:
                yield s, png.getvalue()


def best(model, layout, zh, tasks, tries=4):
    """Of some screens the one best understood: (share right, screen, PNG, question, of the first task possible)"""
    found = []
    for s, png in itertools.islice(candidates(layout, zh), tries):
        asked = [q for q in s.questions if q.task in ("tap", "tap_field", "tap_switch", "tap_color", "read", "color",
                                                      "state")]
        answers = model.answer(preprocess.pixels(preprocess.resize(s.image))[None], [t.prompt(q.text) for q in asked])
        right = [q for q, a in zip(asked, answers) if judge(q, t.decode(a), W, H)]
        fit = [q for task in tasks for q in right if q.task == task and q.line.known and
               (ord(q.line.text[0]) > 0x2fff) == zh]
        if fit:
            found.append((len(right) / len(asked), s, png, fit[0]))
    if not found:
        raise SystemExit(f"no {layout} screen is understood")
    return max(found, key=lambda f: f[0])


@torch.no_grad()
def main(argv=None):
    directory, = argv or sys.argv[1:]
    fonts.need()
    model, out, listed = export.load(directory), os.path.join(directory, "samples"), []
    os.makedirs(out, exist_ok=True)
    for name, (layout, zh, tasks) in SAMPLES.items():
        share, s, png, q = best(model, layout, zh, tasks)
        with open(os.path.join(out, name + ".png"), "wb") as f:
            f.write(png)
        box = [round(v * WIDTH / W) for v in q.box] if q.box else None
        listed.append({"file": name + ".png", "question": q.text, "answer": q.answer, "box": box})
        print(f"{name}: {len(png)} bytes, {share:.0%} of its questions right; {q.text} -> {q.answer}", flush=True)
    export.write_json(os.path.join(out, "samples.json"), listed)


if __name__ == "__main__":
    main()
