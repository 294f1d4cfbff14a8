"""Which device computes, and what is said when a GPU cannot: the emulated GPU takes the place of the real library."""

import json
import os
import shutil
import subprocess

import pytest

from conftest import BIN, MODEL, PATIENCE, ROOT

CUSIM = ROOT / "build" / "libopenautoglm_cusim.so"


def run(program, *args, env=None):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAUTOGLM_", "CUSIM_"))} | (env or {})
    return subprocess.run([program, *map(str, args)], cwd=ROOT, env=environment, capture_output=True, text=True,
                          timeout=PATIENCE)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """A copy of the program that finds the emulation as its library for GPUs."""
    if not CUSIM.exists():
        pytest.skip("`make cusim` was not run")
    folder = tmp_path_factory.mktemp("program")
    shutil.copy(CUSIM, folder / "libopenautoglm_cuda.so")
    return shutil.copy(BIN, folder / "openautoglm")


@pytest.fixture(scope="module")
def lonely(tmp_path_factory):
    return shutil.copy(BIN, tmp_path_factory.mktemp("program") / "openautoglm")


def errors(r):
    return [x for x in r.stderr.splitlines() if x.startswith("openautoglm: ")]


def test_auto_takes_the_gpu(program):
    plan = json.loads(run(program, "plan", "--json", "--model", MODEL).stdout)
    assert plan["device"] == "cusim" and plan["fits"]
    parts = ("weights", "kv", "image_cache", "scratch", "logits")
    assert plan["total_bytes"] == sum(plan[p + "_bytes"] for p in parts)
    host = ("image_peak", "pixels", "requests", "program")
    assert plan["host_bytes"] == sum(plan[p + "_bytes"] for p in host) < plan["host_available_bytes"]


@pytest.mark.parametrize("env, why", [
    ({"CUSIM_DRIVER": "0"}, "no NVIDIA driver is installed"),
    ({"CUSIM_DRIVER": "12040"}, "driver is too old: it is for CUDA 12.4"),
    ({"CUSIM_DEVICES": "0"}, "no GPU can be used"),
    ({"CUSIM_MAJOR": "7"}, "compute capability 7.0; 8.0 (Ampere) or newer is needed"),
    ({"CUSIM_MEMORY": "32"}, "out of memory"),
])
def test_a_gpu_that_cannot_be_used(program, env, why):
    r = run(program, "plan", "--model", MODEL, "--device", "cuda", env=env)
    assert r.returncode == 2 and len(errors(r)) == 1 and why in errors(r)[0], r
    r = run(program, "plan", "--json", "--model", MODEL, env=env)
    assert r.returncode == 0 and json.loads(r.stdout)["device"] == "cpu"
    assert len(r.stderr.splitlines()) == 1 and "the CPU computes: " in r.stderr and why in r.stderr


def test_a_gpu_with_too_little_memory(program):
    little = {"CUSIM_MEMORY": "90"}
    r = run(program, "plan", "--json", "--model", MODEL, "--device", "cuda", env=little)
    plan = json.loads(r.stdout)
    assert r.returncode == 1 and not plan["fits"] and plan["available_bytes"] < 26 << 20
    r = run(program, "serve", "--port", "0", "--model", MODEL, "--device", "cuda", env=little)
    assert (r.returncode == 1 and len(errors(r)) == 1 and "does not fit into the GPU" in errors(r)[0] and
            "24 MiB may be used" in errors(r)[0])
    r = run(program, "chat", "--model", MODEL, "--log-level", "info", "--max-tokens", "1", "hi", env=little)
    assert r.returncode == 0 and "the CPU computes: " in r.stderr and "does not fit into the GPU" in r.stderr, r


def test_no_library(lonely):
    r = run(lonely, "plan", "--model", MODEL, "--device", "cuda")
    assert (r.returncode == 2 and len(errors(r)) == 1 and
            "libopenautoglm_cuda.so was not built: `make cuda`" in errors(r)[0])
    r = run(lonely, "plan", "--json", "--model", MODEL)
    assert json.loads(r.stdout)["device"] == "cpu" and r.stderr == ""


@pytest.mark.parametrize("name", ["gpu", "cusim", "cusim-checked", "", "../cuda", "CPU", "x" * 40])
def test_a_device_that_there_is_not(lonely, name):
    """The emulation of a GPU is a device where its library lies beside the program, and nowhere else."""
    r = run(lonely, "plan", "--model", MODEL, "--device", name)
    assert r.returncode == 2 and len(errors(r)) == 1 and "choose auto, cpu, ref or cuda" in errors(r)[0], r
    assert "cusim" not in run(lonely, "serve", "--help").stdout + run(lonely, "selftest", "--help").stdout


def test_a_library_of_other_sources(lonely):
    shutil.copy("/proc/self/exe", os.path.dirname(lonely) + "/libopenautoglm_cuda.so")
    r = run(lonely, "plan", "--model", MODEL, "--device", "cuda")
    assert r.returncode == 2 and len(errors(r)) == 1, r


def test_the_real_library_without_a_driver(program, tmp_path):
    real = ROOT / "build" / "libopenautoglm_cuda.so"
    if not real.exists() or os.path.exists("/dev/nvidiactl"):
        pytest.skip("`make cuda` was not run, or here is a GPU")
    shutil.copy(real, tmp_path)
    r = run(shutil.copy(BIN, tmp_path / "openautoglm"), "plan", "--model", MODEL, "--device", "cuda")
    if "other sources" in r.stderr:
        pytest.skip("`make cuda` was run on other sources")
    assert r.returncode == 2 and len(errors(r)) == 1 and "no NVIDIA driver" in errors(r)[0], r


def test_plan_for_a_gpu_that_is_not_here(program):
    def plan(*args):
        return json.loads(run(program, "plan", "--json", "--model", MODEL, "--device", "cuda", *args,
                              env={"CUSIM_DRIVER": "0"}).stdout)

    card, share = plan("--gpu-memory", "8G"), plan("--gpu-memory", "8G", "--gpu-memory-fraction", "0.5")
    left = (8 << 30) - (640 << 20)
    assert card["fits"] and card["available_bytes"] == int(left * 0.95) and share["available_bytes"] == left // 2
    assert not plan("--gpu-memory", "700M")["fits"]
    r = run(program, "plan", "--model", MODEL, "--device", "cpu", "--gpu-memory", "8G")
    assert r.returncode == 2 and "planned with --device cuda" in r.stderr
