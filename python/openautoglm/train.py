"""Trains the model: python -m openautoglm.train --out build/runs/a --minutes 120

Stages run in turn, each for its share of the time, e.g. vision:.3,mixed:.3,full:.4
(see STAGES).  A run that was stopped goes on where its last checkpoint
(OUT/last.pt, every two minutes) left off; OUT/log.txt keeps the figures.
--init takes the weights of another run's checkpoint, or of an exported model
(whose training heads are not there: they learn first, from its features).
--export writes the model out whenever the run is saved, ready to be served.
With --device cuda a GPU learns and --workers processes draw for it; on a CPU
there is one such process.
"""
import argparse
import collections
import copy
import math
import os
import random
import sys
import time
from dataclasses import dataclass

import torch

from . import data, export, fonts, losses, preprocess, questions, screens
from . import tokenizer as t
from .config import Config, VisionConfig
from .evaluate import Tally, judge
from .model import Conv, Model, fourier
from .muon import Muon

# canvas: (how often, screens in a batch, rows of questions for each)
LARGE = {(288, 640): (8, 4, 6), (320, 576): (1, 4, 6), (352, 544): (.7, 4, 6), (256, 704): (.6, 4, 6),
         (640, 288): (.7, 4, 6)}
MIXED = {**LARGE, (192, 384): (7, 8, 4), (256, 288): (1, 8, 4)}     # the same size of text at half the cost
CROPS = {(288, 160): (1, 16, 0), (192, 256): (1, 16, 0)}            # of text alone
SIGHT = {canvas: (often, 4, 0) for canvas, (often, *_) in LARGE.items()}

# The stem with three more blocks at 1/8 and two at 1/16: --grow.
GROWN = ((32, 2, 2), (32, 3, 1), (64, 4, 2), *((64, 4, 1),) * 5, (160, 4, 2), *((160, 4, 1),) * 2)


@dataclass
class Stage:
    sizes: dict
    pages: float       # share of screens that are text only
    blind: float       # share of batches without image


STAGES = {"reading": Stage(CROPS, 1, 0), "vision": Stage(SIGHT, .5, 0), "mixed": Stage(MIXED, .2, .02),
          "full": Stage(LARGE, .15, .02)}


def arguments(argv):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", default="build/runs/a")
    p.add_argument("--minutes", type=float, default=120, help="of training, all calls together")
    p.add_argument("--stages", default="vision:.3,mixed:.3,full:.4")
    p.add_argument("--init", help="checkpoint or exported model to take the weights from")
    p.add_argument("--grow", action="store_true", help="a larger stem; with --init its new blocks change nothing at "
                                                       "first")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--width", type=int, default=96, help="tokens in a row of questions")
    p.add_argument("--lr", type=float, default=1.5e-3)
    p.add_argument("--warm", type=float, default=.03, help="share of the time in which the learning rate rises")
    p.add_argument("--decay", type=float, default=.4, help="share of the time, at the end, in which it falls")
    p.add_argument("--weight-decay", type=float, default=.05)
    p.add_argument("--dense", type=float, default=.5, help="weight of the dense losses")
    p.add_argument("--guide", type=float, default=.4, help="weight of attention guidance")
    p.add_argument("--freeze-norms", action="store_true", help="batch norms keep their statistics; faster, with --init")
    p.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--workers", type=int, default=1, help="processes that draw screens")
    p.add_argument("--export", metavar="DIR", help="write the model there as well, whenever the run is saved")
    p.add_argument("--check", type=float, default=8, help="minutes between looks at the answers")
    return p.parse_args(argv)


def build(seed, stem=VisionConfig.stem):
    """A fresh model and its training heads; neighbouring coordinates start as neighbours."""
    torch.manual_seed(seed)
    model = Model(Config(vocab_size=len(t.TOKENS), vision_config=VisionConfig(stem=stem)))
    v = model.c.vision_config
    with torch.no_grad():
        wave = fourier(torch.arange(t.COORDINATES) / t.COORDINATES, v.position_frequencies, v.position_min_cycles,
                       v.position_max_cycles)
        for first in (t.FIRST_X, t.FIRST_Y):
            mix = torch.randn(wave.shape[1], model.c.hidden_size) * (v.position_frequencies *
                                                                     model.c.hidden_size) ** -.5
            model.embed_tokens.weight[first:first + t.COORDINATES] = wave @ mix
    return model, losses.Dense(v.stem[model.vision.stem.last - 1][0], v.hidden_size)


def optimizers(model, heads, lr, weight_decay):
    """Muon for the model's matrices, AdamW for the rest and the training heads."""
    matrices, rest = [], list(heads.parameters())
    for p in model.parameters():
        whole = p.dim() > 1 and p[0].numel() == p.shape[1] and p is not model.embed_tokens.weight
        (matrices if whole else rest).append(p)
    return Muon(matrices, lr, weight_decay), torch.optim.AdamW(rest, lr=lr, betas=(.9, .98), weight_decay=0, fused=True)


def rate(a, u):
    """Learning rate at share u of the time: up, level, down."""
    return a.lr * min(1, u / a.warm + .01, .01 + (1 - u) / a.decay)


def save(a, path, model, heads, opts, state):
    """The run, and with --export the model as it is served."""
    if a.export:
        export.write(copy.deepcopy(model).cpu().fold(), a.export)
    torch.save(dict(config=model.c.to_dict(), model=model.state_dict(), heads=heads.state_dict(),
                    opts=[o.state_dict() for o in opts], state=state), path + ".tmp")
    os.replace(path + ".tmp", path)


def batch_on(device, batch):
    return {key: value.to(device) for key, value in batch.items()}


def teach_heads(a, model, heads, batches=40, rounds=12):
    """The training heads alone, on the features of a model that came without them."""
    source = iter(torch.utils.data.DataLoader(data.Screens(a.seed, {(288, 640): (1, 4, 0)}, 0, .5), batch_size=None,
                                              num_workers=a.workers))
    seen = []
    for _ in range(batches):
        b = batch_on(a.device, next(source))
        with torch.no_grad():
            fine, _, middle = model.see(preprocess.pixels(b["image"]))
        seen.append((fine, middle, b))
    opt = torch.optim.AdamW(heads.parameters(), lr=4e-3, weight_decay=0)
    for k in range(rounds):
        for group in opt.param_groups:
            group["lr"] = 4e-3 * (1 - k / rounds)
        for one in seen:
            with torch.device(a.device):
                loss, figures = heads(*one)
            opt.zero_grad()
            loss.backward()
            opt.step()
    return {key: float(value.detach()) for key, value in figures.items()}


def check(model, seed, device, n=12, n_questions=20):
    """Greedy answers about a few fresh screens of the usual size."""
    model.eval()
    r, tally = random.Random(seed), Tally()
    for _ in range(n):
        s = screens.draw(r, 288, 640)
        asked = questions.choose(s.questions, r)[:n_questions]
        image = preprocess.pixels(s.image.resize((s.w, s.h), 3))[None].to(device)
        with torch.device(device):
            answers = model.answer(image, [t.prompt(q.text) for q in asked])
        for q, a in zip(asked, answers):
            tally.add(q, judge(q, t.decode(a), s.w, s.h))
    model.train()
    return tally.line()


class Log:
    """To OUT/log.txt and the terminal, with a progress bar if it is one."""

    def __init__(self, path):
        self.file, self.bar = open(path, "a"), sys.stderr.isatty()

    def say(self, line):
        print("\r\033[K" * self.bar + line, flush=True)
        print(line, file=self.file, flush=True)

    def progress(self, u, text):
        if self.bar:
            print(f"\r[{'#' * int(30 * u):30}] {u:4.0%} {text}\033[K", end="", file=sys.stderr, flush=True)


def main(argv=None):
    a = arguments(argv)
    fonts.need()
    os.makedirs(a.out, exist_ok=True)
    torch.set_num_threads(a.threads)
    last, log = os.path.join(a.out, "last.pt"), Log(os.path.join(a.out, "log.txt"))
    goes_on = os.path.exists(last)
    z = (torch.load(last if goes_on else a.init, map_location="cpu") if goes_on or a.init and not os.path.isdir(a.init)
         else None)
    c = Config.from_dict(z["config"]) if z else Config.load(os.path.join(a.init, "config.json")) if a.init else Config()
    model, heads = (m.to(a.device) for m in build(a.seed, GROWN if a.grow else c.vision_config.stem))
    opts = optimizers(model, heads, a.lr, a.weight_decay)
    state = dict(step=0, spent=0., screens=0)
    if goes_on:
        for opt, old in zip(opts, z["opts"]):
            opt.load_state_dict(old)
        state = z["state"]
    for m in model.modules():
        if isinstance(m, Conv):
            m.frozen = a.freeze_norms
    if z:
        model.load_state_dict(z["model"])
        heads.load_state_dict(z["heads"])
    elif a.init:
        model.unfold(*export.weights(a.init))
        log.say("the training heads learn first")
        log.say(f"heads {teach_heads(a, model, heads)}")
    log.say(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, "
            f"{sum(p.numel() for p in heads.parameters()) / 1e6:.2f} M more while training; {vars(a)}")
    run(a, model, heads, opts, state, last, log)
    log.say(f"final {check(model, 4242, a.device, 40)}")


def run(a, model, heads, opts, state, last, log):
    """Trains stage by stage until the minutes are spent."""
    seconds, end = a.minutes * 60, 0.
    seen, logged, saved, checked = collections.defaultdict(list), state["spent"], state["spent"], state["spent"]
    for k, part in enumerate(a.stages.split(",")):
        name, share = part.split(":")
        end += float(share) * seconds
        if state["spent"] >= end:
            continue
        stage = STAGES[name]
        source = data.Screens(a.seed * 1000003 + state["step"] * 10 + k, stage.sizes, a.width, stage.pages, stage.blind)
        batches = iter(torch.utils.data.DataLoader(source, batch_size=None, num_workers=a.workers, prefetch_factor=6))
        while state["spent"] < end:
            began = time.time()
            for group in (*opts[0].param_groups, *opts[1].param_groups):
                group["lr"] = rate(a, state["spent"] / seconds)
            batch = batch_on(a.device, next(batches))
            with torch.device(a.device):
                loss, figures = losses.total(model, heads, batch, a.dense, a.guide)
            for opt in opts:
                opt.zero_grad()
            loss.backward()
            figures = {key: value.detach() for key, value in figures.items()}
            figures["norm"] = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.)
            for opt in opts:
                opt.step()
            state["step"] += 1
            state["screens"] += len(batch["ids"])
            state["spent"] += time.time() - began
            for key, value in figures.items():
                if not math.isnan(value := float(value)):
                    seen[key].append(value)
            log.progress(state["spent"] / seconds, f"{name} step {state['step']} loss {loss.item():.3f}")
            if state["spent"] > logged + 30:
                logged = state["spent"]
                log.say(f"{logged / 60:6.1f}m {name} step {state['step']} screens {state['screens']} lr "
                        f"{rate(a, logged / seconds):.1e} "
                        + " ".join(f"{key} {sum(v) / len(v):.3f}" for key, v in seen.items()))
                seen.clear()
            if state["spent"] > saved + 120:
                saved = state["spent"]
                save(a, last, model, heads, opts, state)
            if any(rows for *_, rows in stage.sizes.values()) and state["spent"] > checked + 60 * a.check:
                checked = state["spent"]
                log.say(f"  check {check(model, 999, a.device)}")
    save(a, last, model, heads, opts, state)


if __name__ == "__main__":
    main()
