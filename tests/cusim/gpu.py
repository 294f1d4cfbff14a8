"""What gpu_test.py and gpu_bench.py share: the machine, programs with a time limit, results as a table and as JSON."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"


class Clock:
    """The seconds that are left of the whole."""

    def __init__(self, seconds):
        self.end = time.monotonic() + seconds

    def left(self, most=1e9):
        return max(0.0, min(most, self.end - time.monotonic()))


def run(*command, seconds, env=None):
    """(exit status, output); 124: it took too long, 127: it is not there."""
    try:
        r = subprocess.run([str(c) for c in command], cwd=ROOT, env=os.environ | (env or {}), timeout=max(seconds, 1), text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return r.returncode, r.stdout
    except subprocess.TimeoutExpired as e:
        return 124, (e.stdout or b"").decode(errors="replace") if isinstance(e.stdout, bytes) else e.stdout or ""
    except FileNotFoundError as e:
        return 127, str(e)


def machine(device):
    """Name, compute capability, memory and driver of the GPU, as nvidia-smi tells."""
    if device != "cuda":
        return {"name": "the emulator"}
    fields = "name,compute_cap,memory.total,driver_version,clocks.max.sm"
    status, out = run("nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader", seconds=30)
    if status:
        sys.exit(f"nvidia-smi: {out.strip() or 'is not there'}")
    return dict(zip(fields.split(","), (x.strip() for x in out.splitlines()[0].split(","))))


def table(rows):
    widths = [max(len(str(r[i])) for r in rows) for i in range(len(rows[0]))]
    for r in rows:
        print("  ".join(str(x).ljust(w) for x, w in zip(r, widths)).rstrip())


def save(name, result):
    BUILD.mkdir(exist_ok=True)
    (BUILD / name).write_text(json.dumps(result, indent=1) + "\n")
    print(f"\nwritten: build/{name}")


def find(program):
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/local/cuda/bin")
