"""The kit for machines with a GPU (`make gpu-kit`): what it writes down and that it ends, with the emulator in the
GPU's place."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import PATIENCE, ROOT

sys.path.insert(0, str(ROOT / "tests/cusim"))
import gpu
import gpu_test

NEEDED = [ROOT / "build" / x for x in ("tests/cusim/test_wrappers", "libcusim_wrappers.so", "libopenautoglm_cusim.so")]


def ends(pid):
    """Is a killed process gone, or nobody's any more, as soon as the machine comes to it?"""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_results_are_written_as_they_come_and_it_ends(tmp_path):
    if not all(p.exists() for p in NEEDED):
        pytest.skip("`make cusim-test` was not run")
    done = subprocess.run([sys.executable, ROOT / "tests/cusim/gpu_kit.py", tmp_path / "out", "--device", "cusim",
                           "--seconds", "20"],
                          capture_output=True, text=True, timeout=PATIENCE)
    told = json.loads((tmp_path / "out/results.json").read_text())
    steps = told["steps"]
    assert steps[0] == {"step": "wrappers", "passed": True, "seconds": steps[0]["seconds"],
                        "text": "1 checks"}, done.stdout + done.stderr
    assert told["ended"] and told["machine"] == {"name": "the emulator"} and {s["step"]
        for s in steps} >= {"operations", "golden cases"}
    assert "wrappers" in (tmp_path / "out/results.txt").read_text() and not list(tmp_path.glob("out/*.part"))


def test_what_is_known_outlives_what_hangs(tmp_path):
    """The limit of the whole ends it in the middle of a step, and what it had started."""
    mark = tmp_path / "child"
    code = f"""
import sys, threading; sys.path.insert(0, {str(ROOT / "tests/cusim")!r})
import gpu, gpu_test
results = gpu.Results({str(tmp_path)!r}, "r", gpu_test.TABLES, machine={{"name": "none"}})
results.add("steps", {{"step": "first", "passed": True, "seconds": 1, "text": ""}})
threading.Timer(1, gpu.end_all, [results, "ended by the limit"]).start()
gpu.run("sh", "-c", "sleep 600 & echo $! > {mark}; wait", seconds=600)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    told = json.loads((tmp_path / "r.json").read_text())
    assert done.returncode == 1 and told["ended"] == "ended by the limit" and told["steps"][0]["step"] == "first"
    assert ends(int(mark.read_text()))


def test_a_program_that_takes_too_long_is_ended_with_its_children(tmp_path):
    """Also those that made a process group of their own, as the tests that Check forks do."""
    status, out = gpu.run(sys.executable, "-c", "import os, time\nif not os.fork():\n    os.setpgid(0, "
                                                "0)\nos.write(1, b'%d\\n' % os.getpid())\ntime.sleep(600)", seconds=1)
    pids = [int(x) for x in out.split()]
    assert status == 124 and len(pids) == 2
    assert all(map(ends, pids))


@pytest.mark.parametrize("status, out, wanted", [
    (0, "100%: Checks: 7, Failures: 0, Errors: 0\n", (True, "7 checks")),
    (1, "50%: Checks: 2, Failures: 1, Errors: 0\na.c:1:F:x:y:0: wrong\n", (False, "a.c:1:F:x:y:0: wrong")),
    (0, "skip: no GPU\n100%: Checks: 0, Failures: 0, Errors: 0\n", (None, "no GPU")),
    (124, "100%: Checks: 7, Failures: 0, Errors: 0\n", (False, "took too long")), (127, "", (None, "not built")),
    (-11, "", (False, "exit -11: ")),
])
def test_verdicts(status, out, wanted):
    assert gpu_test.verdict(status, out) == wanted


def kit(folder, glibc):
    folder.mkdir()
    for script in "run.sh", "train.sh":
        shutil.copy(ROOT / "tests/cusim/kit" / script, folder)
    (folder / "kit.json").write_text(json.dumps({"device": "cusim", "glibc": glibc}))
    return folder


def test_a_machine_with_an_older_glibc_is_told_so(tmp_path):
    done = subprocess.run([kit(tmp_path / "kit", "9.99") / "run.sh", tmp_path / "out"], capture_output=True, text=True,
                          timeout=PATIENCE)
    assert done.returncode == 2 and "need glibc 9.99; this machine has 2." in done.stdout and "9.99" in (tmp_path /
        "out/log.txt").read_text()


def test_training_without_what_it_needs_says_what(tmp_path):
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin/python3"
    python.write_text("#!/bin/sh\ncase \"$2\" in *PIL*) echo 'No module named PIL' >&2; exit 1; esac\n")
    python.chmod(0o755)
    done = subprocess.run([kit(tmp_path / "kit", "2.2") / "train.sh", tmp_path / "out", "1"], capture_output=True,
                          text=True, timeout=PATIENCE,
                          env=os.environ | {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"})
    assert done.returncode == 2 and "no PIL (the package pillow)" in done.stdout
