"""What gpu_test.py, gpu_bench.py and gpu_kit.py share: the machine, programs with a time limit, results as tables and
as JSON.

The standard library alone: a machine with a GPU may have nothing else.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
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


# ---- programs ----

sessions = set()        # of the programs that run; each is the leader of one


def start(command, env=None, **more):
    p = subprocess.Popen([str(c) for c in command], cwd=ROOT, env=os.environ | (env or {}), text=True,
                         start_new_session=True, **more)
    sessions.add(p.pid)
    return p


def end(session):
    """Ends a program and all that it started, also what made a process group of its own, as Check's tests do."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[3]) == session:
                os.kill(int(stat.parent.name), signal.SIGKILL)
        except (OSError, ValueError, IndexError):
            pass        # it has ended by itself
    sessions.discard(session)


def run(*command, seconds, env=None):
    """(exit status, output); 124: it took too long, 127: it is not there."""
    with tempfile.TemporaryFile("w+", errors="replace") as out:
        try:
            p = start(command, env, stdout=out, stderr=subprocess.STDOUT)
        except OSError as e:
            return 127, str(e)
        try:
            status = p.wait(max(seconds, 1))
        except subprocess.TimeoutExpired:
            status = 124
        end(p.pid)
        p.wait()
        out.seek(0)
        return status, out.read()


def lines(*command, seconds, env=None, input=None):
    """The lines of a program's output as they come, ended after so many seconds; the last item is its exit status."""
    try:
        p = start(command, env, stdin=subprocess.PIPE if input else subprocess.DEVNULL, stdout=subprocess.PIPE,
                  stderr=subprocess.STDOUT)
    except OSError as e:
        yield str(e)
        yield 127
        return
    timer = threading.Timer(max(seconds, 1), end, [p.pid])
    timer.start()
    try:
        if input:
            p.stdin.write(input)
            p.stdin.close()
        for line in p.stdout:
            yield line.rstrip("\n")
        yield p.wait()
    except BrokenPipeError:
        yield p.wait()
    finally:
        timer.cancel()
        end(p.pid)


def find(program):
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/local/cuda/bin")


def machine(device):
    """Name, compute capability, memory and driver of the GPU, as nvidia-smi tells."""
    if device != "cuda":
        return {"name": "the emulator"}
    fields = "name,compute_cap,memory.total,driver_version,clocks.max.sm"
    status, out = run("nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader", seconds=30)
    if status or not out.strip():
        return {"name": f"nvidia-smi: {out.strip()[-200:] or 'is not there'}"}
    return dict(zip(fields.split(","), (x.strip() for x in out.splitlines()[0].split(","))))


# ---- results ----

def table(rows):
    if not rows:
        return ""
    widths = [max(len(str(r[i])) for r in rows) for i in range(len(rows[0]))]
    return "".join("  ".join(str(x).ljust(w) for x, w in zip(r, widths)).rstrip() + "\n" for r in rows)


class Results:
    """What is known so far. Each result is written down as soon as it is known: FOLDER/NAME.json, and as tables
    FOLDER/NAME.txt.

    `tables`: section -> function that makes rows of its list of results; the first row is the heading.
    """

    def __init__(self, folder, name, tables, **head):
        self.folder, self.name, self.tables, self.head = Path(folder), name, tables, head
        self.lists = {section: [] for section in tables}
        self.lock = threading.Lock()
        self.folder.mkdir(parents=True, exist_ok=True)
        print(", ".join(head.get("machine", {}).values()), flush=True)
        self.save()

    def add(self, section, result):
        self.lists[section].append(result)
        self.save()

    def note(self, **more):
        self.head |= more
        self.save()

    def text(self):
        parts = [", ".join(self.head.get("machine", {}).values()) + "\n"] + [table(rows(self.lists[s])) for s,
            rows in self.tables.items() if self.lists[s]]
        return "\n".join(parts)

    def save(self):
        with self.lock:
            for suffix, text in ((".json", json.dumps(self.head | self.lists, indent=1) + "\n"), (".txt", self.text())):
                part = self.folder / (self.name + suffix + ".part")
                part.write_text(text)
                part.replace(self.folder / (self.name + suffix))

    def close(self):
        print("\n" + self.text())
        print(f"written: {self.folder / self.name}.json and .txt", flush=True)


def end_all(results, why):
    """At once, whatever runs: what is known has been written."""
    results.note(ended=why)
    print(f"\n{why}", flush=True)
    for session in list(sessions):
        end(session)
    results.close()
    sys.stdout.flush()
    os._exit(1)
