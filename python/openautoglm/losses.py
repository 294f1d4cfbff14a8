"""What training minimises.

The answers' cross-entropy alone learns to point and to read far too slowly
(the vision features start from nothing), so two helpers are added and
thrown away afterwards: heads on the vision features that are told what is in
each cell, and one attention head per layer that is told which cell to look at.
"""
import torch
import torch.nn.functional as F
from torch import nn

from . import data, preprocess, questions
from . import tokenizer as t
from .canvas import ELEMENTS
from .model import NEVER
from .vocabulary import COLORS

SIGMA = 8            # width of the bell over the coordinates, in their units
ENOUGH = .05         # attention guidance stops below this
CELLS = 1500         # cells of a batch, at most, that are asked for their characters


class Dense(nn.Module):
    """Training heads on the features: `middle` wide at 1/8, `fine` wide at 1/16."""

    def __init__(self, middle, fine):
        super().__init__()
        characters = len(t.CHARACTERS) + 1
        self.columns = nn.Linear(middle, data.CELL // 2 // data.COLUMN * characters)
        self.slots = nn.Linear(fine, data.SLOTS * characters)
        self.kind, self.middle = nn.Linear(fine, len(ELEMENTS) + 1), nn.Linear(fine, len(ELEMENTS) + 1)
        self.way, self.body = nn.Linear(fine, 2), nn.Linear(fine, len(COLORS) + 3)
        self.count = nn.Linear(fine, questions.COUNTED + 2)
        for m in self.children():
            nn.init.normal_(m.weight, std=.7 * m.in_features ** -.5)
            nn.init.zeros_(m.bias)

    def forward(self, fine, middle, b):
        """fine (B, cells, d), middle (B, c, h, w) at 1/8 -> loss, figures for the log"""
        f = fine.flatten(0, 1)
        columns, columns_right = _characters(self.columns, middle.permute(0, 2, 3, 1).flatten(0, 2), b["columns"])
        slots, slots_right = _characters(self.slots, f, b["slots"])
        inside = b["kind"].flatten() > 0
        kind, _ = _classes(self.kind, f, b["kind"], 1)
        middle, _ = _classes(self.middle, f, b["middle"], .05)
        body, body_right = _classes(self.body, f, b["body"], .1)
        counted = b["count"].flatten() > 0
        count, count_right = _classes(self.count, f[counted], b["count"].flatten()[counted], 0)
        way = F.smooth_l1_loss(self.way(f[inside]), b["way"].flatten(0, 2)[inside],
                               beta=.1) if inside.any() else f.sum() * 0
        loss = .5 * columns + slots + .3 * kind + way + .5 * body + .3 * middle + .3 * count
        return loss, dict(slots=slots, slots_right=slots_right, columns_right=columns_right, way=way, kind=kind,
                          middle=middle, body=body, body_right=body_right, count=count, count_right=count_right)


def _characters(head, f, target):
    """On the cells that hold text and on a few that do not.  Returns loss, share of characters right."""
    target = target.flatten(0, 2)
    pick = torch.nonzero((target > 0).any(1) | (torch.rand(len(target)) < .03))[:, 0]
    pick = pick[torch.randperm(len(pick))[:CELLS]]
    target, guess = target[pick], head(f[pick]).unflatten(1, (target.shape[1], -1))
    right = (guess.argmax(-1) == target)[target > 0].float().mean()
    return F.cross_entropy(guess.flatten(0, 1), target.flatten()), right


def _classes(head, f, target, none):
    """Class 0 is everywhere and weighs `none`.  Returns loss, share right of the others (nan without any)."""
    target = target.flatten()
    if not len(target):
        return f.sum() * 0., torch.tensor(torch.nan)
    guess, weight = head(f), torch.where(target > 0, 1., none)
    right = (guess.argmax(-1) == target)[target > 0].float().mean()
    return (F.cross_entropy(guess, target, reduction="none") * weight).sum() / (weight.sum() + 1), right


def guidance(look, into):
    """The `eyes` of Model.rows: look (B, R, L) cells or -1; appends the cross-entropy of attending there or beside."""
    at = look.flatten(1)
    where = torch.nonzero(at >= 0, as_tuple=True)
    near = at[where][:, None] + torch.tensor([-1, 0, 1])

    def eyes(q, k):
        p = (q @ k.transpose(-1, -2) * q.shape[-1] ** -.5)[where].log_softmax(-1)
        into.append((-p.gather(1, near.clamp(0, p.shape[-1] - 1)).logsumexp(-1)).clamp(min=ENOUGH).mean())
    return eyes


def answers(logits, target, bell):
    """Cross-entropy per token; where `bell`, a coordinate's target is a bell over its 1000 tokens."""
    log_p = logits.log_softmax(-1)
    loss = -log_p.gather(1, target[:, None])[:, 0]
    c = bell & (target >= t.FIRST_X) & (target < t.FIRST_X + 2 * t.COORDINATES)
    if c.any():
        first = t.FIRST_X + t.COORDINATES * ((target[c] - t.FIRST_X) // t.COORDINATES)
        every = torch.arange(t.COORDINATES)
        weight = (-.5 * ((every[None] - (target[c] - first)[:, None]) / SIGMA) ** 2).softmax(-1)
        loss = loss.masked_scatter(c, -(log_p[c].gather(1, first[:, None] + every) * weight).sum(1))
    return loss, c


def total(model, heads, b, dense=.5, guide=.2):
    """Loss of a batch (see data.Screens) and figures for the log.  Without rows: the dense loss alone."""
    loss, figures, memory = 0., {}, None
    if "image" in b:
        fine, tokens, middle = model.see(preprocess.pixels(b["image"]))
        loss, figures = heads(fine, middle, b)
        if not b["ids"].shape[1]:
            return loss, figures
        loss, memory = dense * loss, model.memory(fine, tokens)
    same = b["conversation"][..., :, None] == b["conversation"][..., None, :]
    mask = torch.where(same & torch.ones_like(same[0, 0]).tril(), 0., NEVER)
    looked = []
    hidden = model.rows(b["ids"], b["position"], mask, memory, guidance(b["look"], looked))
    sel = b["target"] >= 0
    each, coordinate = answers(model.logits(hidden[sel]), b["target"][sel], b["bell"][sel] > 0)
    if memory:
        figures.update(xy=each[coordinate].mean(), text=each[~coordinate].mean(),
                       eyes=sum(looked) / max(1, len(looked)))
    return loss + each.mean() + guide * sum(looked), figures
