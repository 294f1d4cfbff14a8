"""Everything that can be checked on a GPU: `make gpu-test`, ten minutes at most, build/gpu-test.json and, as a table,
.txt.

    tests/cusim/gpu_test.py [--device cusim]     # cusim: the same steps on the emulator, to try this program

Exit status 1 if a step failed, or if the GPU could not be used.
"""

import argparse
import json
import re
import struct
import sys
import time

import gpu

# Name, program under build/tests.
STEPS = {
    "wrappers": "cusim/test_wrappers",
    "operations": "cusim/test_ops",
    "golden cases": "cusim/test_golden",
    "replays": "cusim/test_replay",
    "resizing": "cusim/test_resize",
    "cuBLASLt": "cusim/test_blas",
}
SANITIZED = [("norm", "memcheck"), ("element", "racecheck"), ("linear", "memcheck"), ("attend", "racecheck"),
             ("attend", "memcheck"),
             ("linear", "synccheck"), ("after", "memcheck"), ("rounded", "racecheck"), ("prep_attend", "racecheck"),
             ("tokens", "racecheck"), ("tokens", "initcheck")]
MODEL = gpu.ROOT / "models/open-autoglm-v1"


def verdict(status, out):
    """(passed, text) of a program of Check's."""
    m = re.search(r"^\d+%: Checks: (\d+), Failures: (\d+), Errors: (\d+)", out, re.M)
    skipped = re.search(r"^skip: (.*)", out, re.M)
    if status == 127:
        return None, "not built"
    if status == 124:
        return False, "took too long"
    if skipped and m and m[1] == "0":
        return None, skipped[1]
    if not m or status:
        return False, next((x for x in out.splitlines() if ":F:" in x or ":E:" in x),
                           f"exit {status}: " + out.strip()[-200:])
    return m[2] == m[3] == "0" and int(m[1]) > 0, f"{m[1]} checks"


def inside(answer, sample):
    """Does the answer tap into the sample's box? Coordinates are thousandths of the picture, a PNG."""
    m = re.search(r'do\(action="Tap", element=\[(\d+),(\d+)\]\)', answer)
    if not m or not sample["box"]:
        return False
    left, top, right, bottom = sample["box"]
    width, height = struct.unpack(">II", (MODEL / "samples" / sample["file"]).read_bytes()[16:24])
    return left <= (int(m[1]) + .5) / 1000 * width <= right and top <= (int(m[2]) + .5) / 1000 * height <= bottom


class Checks:
    """Steps one after the other, each one's result added to `results` under "steps"."""

    def __init__(self, device, clock, results):
        self.device, self.clock, self.results = device, clock, results
        self.env = {"OPENAUTOGLM_TEST_GPU": "1", "CUDA_LAUNCH_BLOCKING": "0"} if device == "cuda" else {}

    def step(self, name, work, most=300):
        """work(seconds) -> (passed, text); passed None: it could not be tried"""
        began = time.monotonic()
        passed, text = work(self.clock.left(most)) if self.clock.left() >= 5 else (None, "no time left")
        if passed is False and self.clock.left() <= 0:
            passed, text = None, f"the time was over: {text}"
        self.results.add("steps", {"step": name, "passed": passed, "seconds": round(time.monotonic() - began, 1),
                                   "text": text})
        print(f"{name}: {'skip' if passed is None else 'ok' if passed else 'FAILED'} ({text})", flush=True)

    def program(self, name, most=300):
        path = gpu.BUILD / "tests" / STEPS[name]
        self.step(name, lambda seconds: verdict(*gpu.run(path, seconds=seconds, env=self.env)), most)

    def sanitizer(self, most=300):
        """compute-sanitizer over single operations; it does not work on every machine."""
        tool = gpu.find("compute-sanitizer")
        if self.device != "cuda" or not tool:
            print("skip: compute-sanitizer is not there")
            return
        for only, kind in SANITIZED:
            def work(seconds):
                status, out = gpu.run(tool, "--tool", kind, "--error-exitcode", "9",
                                      gpu.BUILD / "tests/cusim/test_ops", seconds=seconds,
                                      env=self.env | {"ONLY": only, "CK_FORK": "no"})
                return ((None, "compute-sanitizer cannot use this device") if "Device not supported" in out
                        else verdict(status, out))
            self.step(f"{kind} of {only}", work, most)
            if self.results.lists["steps"][-1]["text"].startswith("compute-sanitizer cannot"):
                return

    def selftest(self, most=120):
        """The shipped model against PyTorch's record of it, stage by stage."""
        def work(seconds):
            status, out = gpu.run(gpu.BUILD / "openautoglm", "selftest", "--device", self.device, "--model", MODEL,
                                  seconds=seconds)
            if status in (124, 127):
                return (False, "took too long") if status == 124 else (None, "not built")
            good, bad = (len(re.findall(rf"^{word} ", out, re.M)) for word in ("ok", "FAIL"))
            verdict = f"{good} stages right, {bad} wrong" if good else out.strip()[-200:]
            return status == 0 and good > 0 and not bad, verdict
        self.step("selftest of the shipped model", work, most)

    def answers(self, most=120):
        """The shipped model's answers about its samples: as recorded, or a tap inside what was asked for."""
        def work(seconds):
            clock, right, wrong = gpu.Clock(seconds), 0, []
            for s in json.loads((MODEL / "samples/samples.json").read_text()):
                if clock.left() < 2:
                    break
                status, out = gpu.run(gpu.BUILD / "openautoglm", "chat", "--device", self.device, "--model", MODEL,
                                      "--log-level", "error",
                                      "--image", MODEL / "samples" / s["file"], "--", s["question"],
                                      seconds=clock.left())
                if status == 124:
                    break
                if status == 0 and (out.strip() == s["answer"] or inside(out, s)):
                    right += 1
                else:
                    wrong.append(f"{s['file']}: {out.strip()[-120:]}")
            if not right and not wrong:
                return False, "took too long"
            return not wrong, f"{right} answers right" + (f", {len(wrong)} not; {wrong[0]}" if wrong else "")
        self.step("answers about the samples", work, most)


def rows_of_steps(steps):
    return [("step", "result", "seconds", "")] + [(r["step"], {True: "ok", False: "FAILED", None: "skip"}[r["passed"]],
                                                   r["seconds"], r["text"][:100])
                                                  for r in steps]


TABLES = {"steps": rows_of_steps}


def failed(results):
    steps = results.lists["steps"]
    return any(r["passed"] is False for r in steps) or not any(r["passed"] for r in steps)


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--device", default="cuda", choices=("cuda", "cusim"))
    a.add_argument("--seconds", type=float, default=560)
    a = a.parse_args()
    results = gpu.Results(gpu.BUILD, "gpu-test", TABLES, machine=gpu.machine(a.device), device=a.device)
    checks = Checks(a.device, gpu.Clock(a.seconds), results)
    for name in STEPS:
        checks.program(name)
    checks.selftest()
    checks.answers()
    checks.sanitizer()
    results.close()
    sys.exit(failed(results))


if __name__ == "__main__":
    main()
