"""Asks everything about a screen that has one right answer.

Answers are in the action language of the phone agent, coordinates 0 to 999.
"""
from dataclasses import dataclass

from . import vocabulary as v
from .canvas import Line

TAPPED = ("icon", "row", "button", "tab")
COUNTED = 12        # more than this is not asked
READABLE = 8.5      # smaller text, in pixels that the model sees, is not asked either


@dataclass
class Question:
    task: str
    text: str
    answer: str
    box: tuple = None        # a tap anywhere in it is right; otherwise the answer must be equal
    line: Line = None        # the label asked about
    target: tuple = None     # the point (x, y) that decides the answer, if it is not the label
    color: str = None        # named in the question

    @property
    def group(self):
        """Which of the reported figures this question belongs to."""
        return "tap" if self.task.startswith("tap") else "label" if self.task in ("read", "title") else "other"


def centre(b):
    return (b[0] + b[2]) / 2, (b[1] + b[3]) / 2


def ask(screen, r):
    w, h, zh = screen.w, screen.h, screen.zh

    def point(x, y):
        return f"[{min(999, max(0, int(x / w * 1000)))},{min(999, max(0, int(y / h * 1000)))}]"

    def add(task, template, answer, label="", kind="", color="", at="", **more):
        text = r.choice(v.TEMPLATES[template][zh]).format(label, kind, v.ZH_COLORS.get(color, "") if zh else color, at)
        screen.questions.append(Question(task, text, answer, color=color or None, **more))

    def tap(task, template, e, **more):
        add(task, template, f'do(action="Tap", element={point(*centre(e.box))})', box=e.box, line=e.line, **more)

    def name(kind):
        return v.ZH_KINDS.get(kind, "") if zh else kind

    def message(text):
        return f'finish(message="{text}")'

    kinds = {}
    for e in screen.elements:
        kinds.setdefault(e.kind, []).append(e)
    for e in screen.elements:
        label = e.line.text if e.line else ""
        middle = centre(e.body or e.box)
        if e.kind in TAPPED:
            tap("tap", "tap", e, label=label,
                kind=name(e.kind if e.kind in ("icon", "button") else "" if zh else "item"))
        elif e.kind == "field":
            tap("tap_field", "tap_field", e, label=label)
        elif e.kind == "switch":
            tap("tap_switch", "tap_switch_off" if e.on else "tap_switch_on", e, label=label, target=middle)
            add("state", "state", message((v.YES if e.on else v.NO)[zh]), label, line=e.line, target=middle)
        elif e.kind == "title":
            add("title", "title", message(label), line=e.line)
        if e.color:
            add("color", "color", message(v.ZH_COLORS[e.color] if zh else e.color), label, name(e.kind), line=e.line,
                target=middle)
            if sum(f.color == e.color for f in kinds[e.kind]) == 1:
                tap("tap_color", "tap_color", e, kind=name(e.kind), color=e.color, target=middle)
    for t in screen.lines:
        if len(t.text) > 1 and t.size >= READABLE:
            add("read", "read", message(t.text), at=point(r.choice(t.x), t.y + r.uniform(-.3, .3) * t.size), line=t)
    for kind in v.KINDS:
        some = kinds.get(kind, [])
        if 0 < len(some) <= COUNTED or r.random() < .1 and not some and kinds:
            add("count", "count", message(len(some)), kind=name(kind) if zh else v.KINDS[kind],
                target=centre(some[0].body or some[0].box) if some else None)
    for _ in range(2):
        text, _ = v.label(r, zh, .5)
        add("type", "type", f'do(action="Type", text="{text}")', text)
        add("back", "back", 'do(action="Back")')
        direction = r.choice(v.DIRECTIONS)
        x0, y0, x1, y1 = v.SWIPES[direction]
        add("swipe", "swipe", f'do(action="Swipe", start=[{x0},{y0}], end=[{x1},{y1}])',
            v.ZH_DIRECTIONS[direction] if zh else direction)


# How often a task is asked; and in training, where what is hard is asked more often.
SHARE = dict(tap=7, tap_field=2, tap_switch=2.5, tap_color=2, read=10, title=1.2, color=2, count=1.5, state=2, type=.6,
             back=.2, swipe=.6)
PRACTICE = {**SHARE, "tap_switch": 3, "tap_color": 3, "color": 4, "count": 2, "state": 2.5}


def choose(some, r, share=SHARE):
    """All questions in a random order that puts the tasks first which are asked often (Efraimidis-Spirakis)."""
    n = {}
    for q in some:
        n[q.task] = n.get(q.task, 0) + 1
    return sorted(some, key=lambda q: -r.random() ** (n[q.task] ** .7 / share[q.task]))
