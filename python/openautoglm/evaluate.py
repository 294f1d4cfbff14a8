import collections
import re
from .vocabulary import EN

TAP = re.compile(r'do\(action="Tap", element=\[(\d+),(\d+)\]\)')


def judge(q, text, w, h):
    """Is it right: a tap inside the element, anything else word for word"""
    if not q.box:
        return text == q.answer
    m = TAP.fullmatch(text)
    if not m:
        return False
    x, y = (int(m[1]) + .5) / 1000 * w, (int(m[2]) + .5) / 1000 * h
    return q.box[0] <= x <= q.box[2] and q.box[1] <= y <= q.box[3]


def keys(q):
    """The rows of the table that a question counts for"""
    out = [q.group.upper(), q.task] if q.group != "other" else [q.task]
    if q.group == "label":
        chinese = any(ord(c) > 0x2fff for c in q.line.text)
        out.append("label " + ("invented" if not q.line.known else "chinese words" if chinese else "words"))
    return out


def summary(results):
    hit, total = collections.Counter(), collections.Counter()
    for q, right in results:
        for k in keys(q):
            hit[k] += right
            total[k] += 1
    return " ".join(f"{k}={hit[k] / total[k]:.2f}({total[k]})" for k in sorted(total))
