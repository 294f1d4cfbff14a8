"""What run.sh of the kit runs (`make gpu-kit`): checks and measurements on a machine with a GPU, the most worthwhile
first.

    tests/cusim/gpu_kit.py OUT [--device cusim] [--seconds 465]

OUT gets results.json and results.txt, written anew with each result, so that what is known is there whenever it ends.
It ends by itself when the seconds are over, whatever runs. Exit status 1 if a check failed or the time was not enough.
"""

import argparse
import json
import platform
import sys
import threading

import gpu
import gpu_bench
import gpu_test

SPARE = 8        # seconds for what is being written when the time is over


def told(path):
    return json.loads(path.read_text()) if path.exists() else {}


def main():
    a = argparse.ArgumentParser()
    a.add_argument("out")
    a.add_argument("--device", default="cuda", choices=("cuda", "cusim"))
    a.add_argument("--seconds", type=float, default=465)
    a = a.parse_args()
    clock = gpu.Clock(a.seconds - SPARE)
    results = gpu.Results(a.out, "results", gpu_test.TABLES | gpu_bench.TABLES, kit=told(gpu.ROOT / "kit.json"),
                          machine=gpu.machine(a.device), device=a.device, system=platform.platform(), ended="")
    timer = threading.Timer(a.seconds, gpu.end_all, [results, f"ended by the limit of {a.seconds:g} s"])
    timer.daemon = True
    timer.start()
    checks = gpu_test.Checks(a.device, clock, results)
    checks.program("wrappers", 60)
    checks.selftest(60)
    checks.program("operations", 120)
    checks.program("golden cases", 120)
    checks.answers(45)
    gpu_bench.end_to_end(a.device, clock, results, ["openautoglm"])
    gpu_bench.operations(a.device, clock, results, 100)
    if a.device == "cuda":
        gpu_bench.torch_times(results, clock, 40)
    for name in "replays", "resizing", "cuBLASLt":
        checks.program(name, 120)
    gpu_bench.end_to_end(a.device, clock, results, ["without graphs", "int4"])
    checks.sanitizer(60)
    results.note(ended=f"with {clock.left():.0f} s left")
    timer.cancel()
    results.close()
    sys.exit(gpu_test.failed(results))


if __name__ == "__main__":
    main()
