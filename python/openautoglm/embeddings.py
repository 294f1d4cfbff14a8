"""Trains the shared projection: python -m openautoglm.embeddings DIR --minutes 5

The exported model in DIR stays as it is; only projection.image and
projection.text are learned, contrastively, so that a screen lies near the
words written on it.  The pooled features are computed once: the mean of the
fine features of a screen, the mean of the last hidden states of a text that
names some of what is on it (without image, and without <|assistant|>).
"""
import argparse
import random
import time

import torch
import torch.nn.functional as F

from . import export, fonts, preprocess, screens
from . import tokenizer as t

TEMPERATURE = .07


def caption(s, r):
    """Some of the words on a screen, in order"""
    texts = [line.text for line in s.lines if len(line.text) > 1]
    return " ".join(r.sample(texts, min(len(texts), r.randint(3, 8))))


@torch.no_grad()
def pooled(model, r, seconds, most):
    """Fine features (n, v) and hidden states (n, d), averaged, of as many screens as the time allows, at most `most`"""
    images, texts, end = [], [], time.time() + seconds
    while len(images) < most and time.time() < end:
        s = screens.draw(r, 288, 640, scale=r.choice((1, 1.5, 2)))
        images.append(model.see(preprocess.pixels(preprocess.resize(s.image))[None])[0][0].mean(0))
        texts.append(model(torch.tensor(t.encode(caption(s, r)) or [t.UNKNOWN])).mean(0))
    return torch.stack(images), torch.stack(texts)


def embed(model, images, texts):
    p = model.projection
    return F.normalize(p.image(images), dim=-1), F.normalize(p.text(texts), dim=-1)


def fit(model, images, texts, steps, batch):
    weights = list(model.projection.parameters())
    opt = torch.optim.AdamW(weights, lr=2e-3, weight_decay=.01)
    for step in range(steps):
        opt.param_groups[0]["lr"] = 2e-3 * (1 - step / steps)
        pick = torch.randperm(len(images))[:batch]
        i, x = embed(model, images[pick], texts[pick])
        score, right = i @ x.T / TEMPERATURE, torch.arange(len(pick))
        loss = F.cross_entropy(score, right) + F.cross_entropy(score.T, right)
        opt.zero_grad()
        loss.backward()
        opt.step()
    return loss.item()


def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("directory")
    p.add_argument("--minutes", type=float, default=5)
    p.add_argument("--screens", type=int, default=4000)
    p.add_argument("--steps", type=int, default=600)
    p.add_argument("--batch", type=int, default=512)
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args(argv)
    fonts.need()
    torch.manual_seed(a.seed)
    model = export.load(a.directory)
    for weight in model.projection.parameters():
        torch.nn.init.normal_(weight, std=weight.shape[1] ** -.5)
    images, texts = pooled(model, random.Random(a.seed), a.minutes * 60, a.screens)
    held = max(1, min(100, len(images) // 10))
    loss = fit(model, images[held:], texts[held:], a.steps, a.batch)
    with torch.no_grad():
        i, x = embed(model, images[:held], texts[:held])
        first = (i @ x.T).argmax(1).eq(torch.arange(held)).float().mean()
    export.write_weights(model, a.directory)
    print(f"{len(images)} screens, loss {loss:.3f}; of {held} screens not trained on, {first:.0%} find their own "
          f"words among {held}")


if __name__ == "__main__":
    main()
