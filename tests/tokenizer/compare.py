#!/usr/bin/env python3
"""Compares `openautoglm tokenize` and `detokenize` with the reference library on
generated strings, for any folders that hold a tokenizer.json. Not part of the
tests: it wants real, large tokenizers.

    python tests/tokenizer/compare.py [--program build/openautoglm] [--count 5000] [--seed 1] DIR...
"""
import argparse
import json
import random
import subprocess
import sys

from tokenizers import Tokenizer

import nasty


def ask(program, command, directory, flag, values):
    """One answer for each value, from the program."""
    args = [*program.split(), command, "--model", directory] + ([flag] if flag else [])
    text = "".join(json.dumps(v) + "\n" for v in values)
    out = subprocess.run(args, input=text.encode(), stdout=subprocess.PIPE, check=True).stdout
    answers = [json.loads(line) for line in out.decode().split("\n")[:-1]]
    assert len(answers) == len(values), (len(answers), len(values))
    return answers


def attempt(function, *args, **kw):
    try:
        return function(*args, **kw)
    except BaseException:  # a panic of the library is no Exception
        return None


def compare(program, directory, count, seed):
    t = Tokenizer.from_file(directory + "/tokenizer.json")
    t.no_truncation()
    t.no_padding()
    texts = nasty.strings(count, seed)
    bad = 0
    checks = 0

    def differ(kind, given, want, got):
        nonlocal bad
        bad += 1
        if bad <= 3:
            print(f"  {kind} {given!r:.300}\n    want {want!r:.300}\n    got  {got!r:.300}")

    plain = [attempt(lambda s=s: t.encode(s, add_special_tokens=False).ids) for s in texts]
    special = [attempt(lambda s=s: t.encode(s).ids) for s in texts]
    for kind, flag, want in (("encode", None, plain), ("special", "--special", special)):
        for s, w, g in zip(texts, want, ask(program, "tokenize", directory, flag, texts)):
            if w is not None:
                checks += 1
                if w != g:
                    differ(kind, s, w, g)
    rng = random.Random(seed)
    size = t.get_vocab_size()
    lists = [[rng.randrange(size + 5) for _ in range(rng.choice((0, 1, 2, 5, 20)))] for _ in range(count // 2)]
    lists += [w for w in special if w is not None][: count // 2]
    for skip, flag in ((False, None), (True, "--skip-special")):
        want = [attempt(t.decode, i, skip_special_tokens=skip) for i in lists]
        for i, w, g in zip(lists, want, ask(program, "detokenize", directory, flag, lists)):
            if w is not None:
                checks += 1
                if w != g:
                    differ("decode", i, w, g)
    print(f"{directory}: {checks - bad} of {checks} equal", flush=True)
    return bad


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--program", default="build/openautoglm")
    p.add_argument("--count", type=int, default=5000)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("directories", nargs="+")
    a = p.parse_args()
    sys.exit(1 if sum(compare(a.program, d, a.count, a.seed) for d in a.directories) else 0)


if __name__ == "__main__":
    main()
