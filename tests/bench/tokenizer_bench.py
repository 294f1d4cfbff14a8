#!/usr/bin/env python3
"""The tokenizer's speed beside the reference library's, both on one thread.

    make build/tests/bench/tokenizer_bench
    python tests/bench/tokenizer_bench.py FILE DIR...
"""
import json
import os
import subprocess
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
from tokenizers import Tokenizer  # noqa: E402

ROUNDS = 5


def best(function):
    times = []
    for _ in range(ROUNDS):
        start = time.process_time()
        count = function()
        times.append(time.process_time() - start)
    return min(times), count


def main():
    path, *directories = sys.argv[1:]
    text = open(path, encoding="utf-8", newline="").read()
    lines = text.split("\n")
    lines = [s + "\n" for s in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
    for d in directories:
        ours = json.loads(subprocess.run(["build/tests/bench/tokenizer_bench", d, path], stdout=subprocess.PIPE,
                                         check=True).stdout)
        start = time.process_time()
        t = Tokenizer.from_file(d + "/tokenizer.json")
        load = time.process_time() - start
        t.no_truncation()
        t.no_padding()
        # encode_batch_fast keeps no offsets, as we do: the reference's fastest way.
        whole, ids = best(lambda: len(t.encode_batch_fast([text], add_special_tokens=False)[0]))
        by_line, line_ids = best(lambda: sum(len(e) for e in t.encode_batch_fast(lines, add_special_tokens=False)))
        same = ids == ours["ids"] and line_ids == ours["line_ids"]
        mb = ours["bytes"] / 1e6
        print(f"{d}: load {ours['load']:.2f} s, reference {load:.2f} s; whole text {mb / ours['whole']:.1f} MB/s, "
              f"reference "
              f"{mb / whole:.1f} ({whole / ours['whole']:.1f} times as fast); by lines {mb / ours['lines']:.1f} "
              f"MB/s, reference "
              f"{mb / by_line:.1f} ({by_line / ours['lines']:.1f} times){'' if same else '  DIFFERENT IDS'}",
              flush=True)


if __name__ == "__main__":
    main()
