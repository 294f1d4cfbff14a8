"""`openautoglm doctor`: every line has a verdict, which follows what the machine, its limits and the model are."""

import json
import re
import resource
import subprocess

import pytest

from conftest import BIN, MODEL, PATIENCE, ROOT
from test_commands import run


def findings(*args, status=0, **kw):
    r = run("doctor", "--json", *args, **kw)
    assert r.returncode == status and len(r.stdout.splitlines()) == 1, r
    said = json.loads(r.stdout)
    assert {f["verdict"] for f in said["findings"]} <= {"ok", "note", "warn", "fail"}
    return {f["name"]: f for f in said["findings"]}


def test_for_people():
    r = run("doctor", "--device", "cpu")
    assert r.returncode == 0 and not r.stderr, r
    assert all(len(line) < 100 for line in r.stdout.splitlines()), r.stdout
    for name in ("machine", "cores", "instruction set", "products", "memory", "huge pages", "open files",
                 "locked memory", "GPU", "GPU backend", "models by name", "model", "choice", "fits"):
        assert re.search(rf"^(ok|note|warn) +{name} +\S", r.stdout, re.M), (name, r.stdout)


def test_it_says_what_would_be_chosen():
    plan = json.loads(run("plan", "--json", "--device", "cpu", "--weights", "int8").stdout)
    f = findings("--device", "cpu", "--weights", "int8")
    assert f["choice"]["values"]["weights"] == "int8" and f["choice"]["values"]["device"] == "cpu"
    assert f["fits"]["values"]["total_bytes"] > 0 and f["fits"]["values"]["fits"]
    assert f["model"]["values"]["parameters"] == plan["n_params"]
    assert f["cores"]["values"]["threads"] >= 1 and f["memory"]["values"]["free_bytes"] > 1 << 20
    assert set(f["products"]["values"]) == {"f32", "f16", "bf16", "fp8", "int8", "int4"}


def test_instruction_sets():
    f = findings("--device", "cpu", env={"OPENAUTOGLM_ISA": "generic"})["instruction set"]
    assert f["verdict"] == "warn" and f["values"]["taken"] == "generic" and "generic" in f["values"]["works"]
    best = findings("--device", "cpu")["instruction set"]["values"]
    assert best["taken"] == best["works"][0] and not best["forced"]
    f = findings("--device", "cpu", env={"OPENAUTOGLM_ISA": "abacus"}, status=1)["instruction set"]
    assert f["verdict"] == "fail" and "abacus" in f["text"]


def test_what_fails_is_named():
    f = findings("--device", "cpu", "--memory-bytes", "8M", status=1)
    assert f["fits"]["verdict"] == "fail" and "MiB" in f["fits"]["text"]
    f = findings("--model", "/nowhere", status=1)
    assert f["model"]["verdict"] == "fail" and "/nowhere" in f["model"]["text"] and "fits" not in f
    r = run("doctor", "--device", "cpu", "--memory-bytes", "8M")
    assert r.returncode == 1 and re.search("^fail +fits", r.stdout, re.M)
    assert run("doctor", "--nonsense").returncode == 2


def test_limits():
    few = subprocess.run([BIN, "doctor", "--json", "--device", "cpu", "--model", str(MODEL)], cwd=ROOT,
                         capture_output=True, timeout=PATIENCE,
                         preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200)))
    f = {x["name"]: x for x in json.loads(few.stdout)["findings"]}
    assert few.returncode == 0 and f["open files"]["verdict"] == "warn" and f["open files"]["values"]["hard"] == 200


def test_control_groups():
    """A folder that looks like the group of a container with 1.5 cores and 2 GiB, which only this process sees."""
    script = ("mount -t tmpfs none /sys/fs/cgroup && echo 2147483648 > /sys/fs/cgroup/memory.max && "
              "echo 1048576 > /sys/fs/cgroup/memory.current && echo 50000 100000 > /sys/fs/cgroup/cpu.max && "
              'exec "$@"')
    r = subprocess.run(["unshare", "-rm", "sh", "-c", script, "sh", BIN, "doctor", "--json", "--device", "cpu",
                        "--model", str(MODEL)], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    if r.returncode and "doctor" not in r.stderr and not r.stdout:
        pytest.skip(f"no namespaces here: {r.stderr.strip()}")
    f = {x["name"]: x for x in json.loads(r.stdout)["findings"]}
    assert f["cores"]["values"]["quota"] == 0.5 and f["cores"]["values"]["threads"] == 1
    assert f["memory"]["values"]["limit_bytes"] == 2 << 30 and "control group" in f["memory"]["text"]
    assert f["memory"]["values"]["free_bytes"] < 2 << 30
    assert f["cores"]["verdict"] == "note" and "0.5" in f["cores"]["text"]
