"""Everything that can be checked on a GPU: `make gpu-test`, ten minutes at most, a table and build/gpu-test.json.

    tests/cusim/gpu_test.py [--device cusim]     # cusim: the same steps on the emulator, to try this program

Exit status 1 if a step failed, or if the GPU could not be used.
"""

import argparse
import re
import sys
import time

import gpu

# Name, program under build/tests, environment.
STEPS = [
    ("wrappers", "cusim/test_wrappers", {}),
    ("operations", "cusim/test_ops", {}),
    ("cuBLASLt", "cusim/test_blas", {}),
    ("resizing", "cusim/test_resize", {}),
    ("replays", "cusim/test_replay", {}),
    ("golden cases", "cusim/test_golden", {}),
]
SANITIZED = [("norm", "memcheck"), ("element", "racecheck"), ("linear", "memcheck"), ("attend", "racecheck"), ("attend", "memcheck"),
             ("linear", "synccheck"), ("linear_norm", "memcheck"), ("narrow", "racecheck"), ("prep_attend", "racecheck"),
             ("tokens", "racecheck"), ("tokens", "initcheck")]


def verdict(status, out):
    """(passed, text) of a program of Check's."""
    m = re.search(r"^\d+%: Checks: (\d+), Failures: (\d+), Errors: (\d+)", out, re.M)
    skipped = re.search(r"^skip: (.*)", out, re.M)
    if status == 124:
        return False, "took too long"
    if skipped and m and m[1] == "0":
        return None, skipped[1]
    if not m or status:
        return False, next((x for x in out.splitlines() if ":F:" in x or ":E:" in x), f"exit {status}: " + out.strip()[-200:])
    return m[2] == m[3] == "0" and int(m[1]) > 0, f"{m[1]} checks"


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--device", default="cuda", choices=("cuda", "cusim"))
    a.add_argument("--seconds", type=float, default=560)
    a = a.parse_args()
    env = {"OPENAUTOGLM_TEST_GPU": "1", "CUDA_LAUNCH_BLOCKING": "0"} if a.device == "cuda" else {}
    clock, results = gpu.Clock(a.seconds), []
    machine = gpu.machine(a.device)
    print(", ".join(machine.values()))

    def step(name, command, more=None):
        began = time.monotonic()
        if clock.left() < 5:
            passed, text = None, "no time left"
        else:
            status, out = gpu.run(*command, seconds=clock.left(300), env=env | (more or {}))
            passed, text = (None, "not built") if status == 127 else verdict(status, out)
        results.append({"step": name, "passed": passed, "seconds": round(time.monotonic() - began, 1), "text": text})
        print(f"{name}: {'skip' if passed is None else 'ok' if passed else 'FAILED'} ({text})", flush=True)

    for name, program, more in STEPS:
        step(name, [gpu.BUILD / "tests" / program], more)
    sanitizer = gpu.find("compute-sanitizer")
    if a.device == "cuda" and sanitizer:
        for only, tool in SANITIZED:
            step(f"{tool} of {only}", [sanitizer, "--tool", tool, "--error-exitcode", "9", gpu.BUILD / "tests/cusim/test_ops"],
                 {"ONLY": only, "CK_FORK": "no"})
    elif a.device == "cuda":
        print("skip: compute-sanitizer is not there")
    print()
    gpu.table([("step", "result", "seconds", "")] +
              [(r["step"], {True: "ok", False: "FAILED", None: "skip"}[r["passed"]], r["seconds"], r["text"][:100]) for r in results])
    gpu.save("gpu-test.json", {"machine": machine, "device": a.device, "steps": results})
    sys.exit(any(r["passed"] is False for r in results) or not any(r["passed"] for r in results))


if __name__ == "__main__":
    main()
