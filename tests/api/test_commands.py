"""The program on the command line: options and their sources, plan, chat, exit codes, start and stop."""

import json
import os
import subprocess
import sys
import time

import pytest

from conftest import BIN, MODEL, PATIENCE, ROOT, png


def run(*args, env=None, cwd=ROOT, stdin=None):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENAUTOGLM_")} | (env or {})
    return subprocess.run([BIN, *map(str, args)], cwd=cwd, env=environment, capture_output=True, text=True,
                          timeout=PATIENCE, input=stdin)


def test_version_and_help():
    assert run("version").stdout.splitlines()[0] == "openautoglm " + (ROOT / "VERSION").read_text().strip()
    assert run("--version").stdout == run("version").stdout
    r = run("help")
    assert r.returncode == 0 and all(c in r.stdout for c in ("serve", "chat", "plan", "tokenize", "version"))
    r = run("serve", "--help")
    assert r.returncode == 0 and "--max-num-seqs" in r.stdout and "--image " not in r.stdout


@pytest.mark.parametrize("args", [(), ("cook",), ("serve", "--nonsense", "1"), ("serve", "--port"),
                                  ("serve", "--port", "70000"),
                                  ("serve", "--port", "x"), ("serve", "--device", "abacus"), ("serve", "extra"),
                                  ("chat",),
                                  ("chat", "--image", "/nowhere.png", "hi"), ("plan", "--host", "x"),
                                  ("serve", "--prefix-cache=maybe"),
                                  ("serve", "--model", "/nowhere"), ("plan", "--model", "tests"),
                                  ("chat", "--model", "/nowhere", "hi"),
                                  ("serve", "--config", "/nowhere.json"),
                                  ("serve", "--port", "0", "--host", "256.1.1.1"),
                                  ("serve", "--port", "0", "--host", "")])
def test_usage_errors_are_one_line_and_2(args):
    r = run(*args)
    assert r.returncode == 2 and r.stderr.strip(), r
    if args and args[0] != "cook":
        lines = [x for x in r.stderr.splitlines() if x.startswith("openautoglm: ")]
        assert len(lines) == 1 and any(str(a).lstrip("-").split("=")[0] in lines[0] for a in args[1:] or
                                       ["question"]), r.stderr


def test_a_configuration_file_that_is_none(tmp_path):
    for path, why in [(tmp_path / "absent.json", "No such file or directory"), (tmp_path, "not a regular file")]:
        r = run("plan", "--config", path)
        assert r.returncode == 2 and r.stderr == f"openautoglm: option config: {path}: {why}\n"
    empty = tmp_path / "empty.json"
    empty.write_bytes(b"")
    r = run("plan", env={"OPENAUTOGLM_CONFIG": str(empty)})
    assert r.returncode == 2 and f"{empty}: line 1" in r.stderr and "line -1" not in r.stderr


@pytest.mark.parametrize("command", [("chat", "--image", "PICTURE", "hi"),
                                     ("mark", "PICTURE", "do(action=\"Tap\", element=[5,5])", "out.png"),
                                     ("preprocess", "--model", MODEL, "--image", "PICTURE")])
def test_a_picture_that_is_none(command, tmp_path):
    (tmp_path / "pointer.png").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    for name, why in [("absent.png", "No such file or directory"), (".", "not a regular file"),
                      ("pointer.png", "Git LFS")]:
        r = run(*[tmp_path / name if a == "PICTURE" else a for a in command], cwd=tmp_path)
        assert r.returncode != 0 and str(tmp_path / name) in r.stderr and why in r.stderr, r
        assert len(r.stderr.splitlines()) == 1, r


@pytest.mark.parametrize("args, status", [(("--max-model-len", "2048", "--memory-bytes", "30M"), 1),
                                          (("--device", "cuda"), 2), (("--activations", "int8"), 2)])
def test_nobody_is_listened_to_before_the_model_can_be_used(args, status):
    """Before anything is loaded it is known that these will not serve (test_not_a_checkpoint.py has the folders)."""
    r = run("serve", "--port", "0", *args, env={"CUSIM_DRIVER": "0"})
    assert r.returncode == status and "openautoglm: " in r.stderr and "listening" not in r.stderr, r


def test_options_for_a_gpu_that_a_cpu_ignores():
    given = ("--gpu-memory-fraction", "0.5", "--device-resize", "--no-gpu-graphs", "--deterministic=false")
    names = "--gpu-memory-fraction, --gpu-graphs, --device-resize, --deterministic: only a GPU heeds this; cpu computes"
    for command in ("plan",), ("chat", "--max-tokens", "2", "hello"):
        r = run(*command, "--device", "cpu", *given)
        assert r.returncode == 0 and len(r.stderr.splitlines()) == 1 and names in r.stderr, r
    r = run("plan", "--device", "cpu", "--config", ROOT / "config/default.json",
            env={"OPENAUTOGLM_ACTIVATIONS": "float"})
    assert r.returncode == 0 and not r.stderr, "what is as by default ignores nothing"


@pytest.mark.parametrize("program", ["evaluate", "train"])
def test_screens_without_fonts(program, tmp_path):
    if program == "train":
        pytest.importorskip("torch")
    environment = os.environ | {"OPENAUTOGLM_FONTS": str(tmp_path), "PYTHONPATH": str(ROOT / "python")}
    options = ["--serve", BIN] if program == "evaluate" else ["--out", tmp_path / "run"]
    r = subprocess.run([sys.executable, "-m", f"openautoglm.{program}", *options], env=environment,
                       capture_output=True, text=True, timeout=PATIENCE)
    assert r.returncode == 1 and len(r.stderr.splitlines()) == 1 and "./setup.sh eval" in r.stderr, r.stderr


def test_precedence(tmp_path):
    config = tmp_path / "c.json"

    def seqs(*args, env=None):
        return json.loads(run("plan", "--json", *args, env=env).stdout)["max_num_seqs"]

    config.write_text('{"max_num_seqs": 3, "max-model-len": 512, "port": 1}')
    environment = {"OPENAUTOGLM_MAX_NUM_SEQS": "5"}
    assert seqs() == 32
    assert seqs("--config", config) == 3
    assert seqs(env={"OPENAUTOGLM_CONFIG": str(config)}) == 3
    assert seqs("--config", config, env=environment) == 5
    assert seqs("--config", config, "--max-num-seqs", "7", env=environment) == 7
    assert seqs(f"--config={config}", "--max-num-seqs=7", env=environment) == 7
    for text, named in [('{"max_num_seqs": "many"}', "max-num-seqs"), ('{"nonsense": 1}', "nonsense"), ("[]", "config"),
                        ('{"port": 1.5}', "port"), ('{"port": []}', "must be a number from"),
                        ('{"prefix_cache": "yes"}', "true or false"),
                        ('{"served_model_name": [1]}', "list of strings"), ('{"device": 5}', "must be a string"),
                        ('{"max_num_seqs": 3,', "config")]:
        config.write_text(text)
        r = run("plan", "--config", config)
        assert r.returncode == 2 and named in r.stderr and str(config) in r.stderr, r
    r = run("plan", env={"OPENAUTOGLM_PORT": "high"})
    assert r.returncode == 2 and "OPENAUTOGLM_PORT" in r.stderr


def test_default_json_documents_the_defaults():
    assert run("defaults").stdout == (ROOT / "config/default.json").read_text()
    r = run("plan", "--json", "--config", ROOT / "config" / "default.json")
    assert r.returncode == 0 and json.loads(r.stdout)["max_num_seqs"] == 32, r.stderr


def test_plan():
    r = run("plan")
    assert r.returncode == 0 and "weights" in r.stdout and "It fits." in r.stdout
    p = json.loads(run("plan", "--json", "--device", "cpu").stdout)
    parts = ("weights", "kv", "image_cache", "scratch", "logits", "image_peak", "pixels", "requests", "program")
    assert (p["fits"] and p["total_bytes"] == sum(p[k + "_bytes"] for k in parts) and
            p["total_bytes"] < p["available_bytes"])
    assert (p["kv_floor_tokens"] == p["max_model_len"] and p["kv_floor_bytes"] * p["kv_tokens"] == p["kv_bytes"] *
            p["kv_floor_tokens"])
    assert p["floor_bytes"] == p["total_bytes"] - p["kv_bytes"] + p["kv_floor_bytes"] and " floor " in r.stdout
    half = json.loads(run("plan", "--json", "--device", "cpu", "--kv-cache-dtype", "bf16").stdout)
    assert (p["kv_dtype"], half["kv_dtype"]) == ("f32", "bf16") and 2 * half["kv_bytes"] == p["kv_bytes"]
    for kind in ("int8", "fp8"):
        byte = json.loads(run("plan", "--json", "--device", "cpu", "--kv-cache-dtype", kind).stdout)
        assert byte["kv_dtype"] == kind and byte["kv_tokens"] == p["kv_tokens"] and 3 * byte["kv_bytes"] < p["kv_bytes"]
    for options, kind in ((["int8"], "f16"), (["int4"], "f16"), (["int8", "--activations", "float"], "f32"),
                          (["fp8"], "f32"), (["int8", "--kv-cache-dtype", "f32"], "f32"), (["bf16"], "f32")):
        rounded = json.loads(run("plan", "--json", "--device", "cpu", "--weights", *options).stdout)
        assert rounded["kv_dtype"] == kind, options
    r = run("plan", "--json", "--memory-bytes", "8M")
    assert r.returncode == 1 and not json.loads(r.stdout)["fits"]
    r = run("serve", "--port", "0", "--memory-bytes", "8M")
    assert r.returncode == 1 and "openautoglm: " in r.stderr and "MiB" in r.stderr


def test_weights(tmp_path):
    def weights(kind):
        p = json.loads(run("plan", "--json", "--weights", kind).stdout)
        assert p["weights_dtype"] == kind
        return p["weights_bytes"]

    assert weights("f32") > weights("bf16") > weights("int8") >= weights("fp8") > weights("int4")
    (tmp_path / "a.png").write_bytes(png(1))
    for kind in ("int8", "int4", "fp8"):
        r = run("chat", "--weights", kind, "--image", tmp_path / "a.png", "Tap the button", "--max-tokens", "12")
        assert r.returncode == 0 and r.stdout.strip(), r
    for more in ((), ("--weights", "fp8")):
        r = run("plan", "--device", "cpu", "--activations", "int8", *more)
        assert r.returncode == 2 and "activations" in r.stderr and "--weights int8" in r.stderr, r
    for kind in ("int8", "int4"):
        assert run("plan", "--device", "cpu", "--activations", "int8", "--weights", kind).returncode == 0
    r = run("plan", "--device", "ref", "--activations", "int8", "--weights", "int8")
    assert r.returncode == 2 and "floats" in r.stderr, r
    for command in ("serve", "plan"):
        r = run(command, "--weights", "int5")
        assert r.returncode == 2 and "weights" in r.stderr and "int4" in r.stderr and "Traceback" not in r.stderr, r


def test_chat(tmp_path, server):
    (tmp_path / "a.png").write_bytes(png(1))
    r = run("chat", "--image", tmp_path / "a.png", "Tap the button", "--max-tokens", "12", "--temperature", "0")
    assert r.returncode == 0 and r.stdout.strip(), r
    again = run("chat", f"--image={tmp_path / 'a.png'}", "--max-tokens=12", "--temperature=0", "--", "Tap the button")
    assert again.stdout == r.stdout
    for kind in ("int8", "fp8"):
        narrow = run("chat", "--kv-cache-dtype", kind, "--image", tmp_path / "a.png", "Tap the button", "--max-tokens",
                     "12")
        assert narrow.returncode == 0 and narrow.stdout.startswith("do("), narrow
    (tmp_path / "b.png").write_bytes(b"no image")
    bad = run("chat", "--image", tmp_path / "b.png", "hi")
    assert bad.returncode == 1 and "b.png" in bad.stderr


@pytest.mark.parametrize("case", ["paligemma/second", "internvl_chat/tiles"])
def test_chat_with_several_images(case, tmp_path):
    """Where all images take the most tokens that one may take, too."""
    for i in range(5):
        (tmp_path / f"{i}.png").write_bytes(png(i))
    images = [word for i in range(5) for word in ("--image", tmp_path / f"{i}.png")]
    r = run("chat", "--model", ROOT / "tests/model" / case, *images, "hi", "--max-tokens", "2")
    assert r.returncode == 0 and r.stdout, r


def test_model_is_found_beside_the_program(tmp_path):
    r = run("plan", cwd=tmp_path)
    assert r.returncode == 0, r.stderr


def test_key_file_and_host(start, tmp_path):
    (tmp_path / "key").write_text("from-file\n")
    s = start("--api-key-file", str(tmp_path / "key"), env={"OPENAUTOGLM_SERVED_MODEL_NAME": "x"})
    assert s.get("/v1/models")[0] == 401
    status, _, body = s.get("/v1/models", Authorization="Bearer from-file")
    assert status == 200 and json.loads(body)["data"][0]["id"] == "x"


@pytest.mark.parametrize("host, url", [("::1", "[::1]"), ("0.0.0.0", "127.0.0.1"), ("localhost", "localhost")])
def test_hosts(start, host, url):
    import socket
    import urllib.request
    if ":" in host:
        try:
            socket.create_server((host, 0), family=socket.AF_INET6).close()
        except OSError as e:
            pytest.skip(f"no IPv6 here: {e}")
    try:
        socket.getaddrinfo(url.strip("[]"), 80)
    except OSError as e:                     # a root that debootstrap made has no /etc/hosts
        pytest.skip(f"{host} is not known here: {e}")
    s = start("--host", host, ready=False)
    assert urllib.request.urlopen(f"http://{url}:{s.port}/live", timeout=PATIENCE).status == 200
    s.stop()


def test_it_listens_first(start):
    began = time.monotonic()
    s = start(ready=False)
    assert s.get("/live")[0] == 200
    print(f"first 200 of /live after {time.monotonic() - began:.3f} s")
    assert s.get("/health")[0] in (200, 503)
    s.wait_ready()
    assert json.loads(s.get("/health")[2]) == {"status": "ok", "state": "ready"}


def test_selftest_at_the_start(start):
    def said(*options):
        return [line for line in start(*options).lines if "selftest: " in line]

    assert any("preprocess and positions are right" in line and ", recorded" in line for line in said())
    assert not said("--no-selftest")
    assert not said("--model", str(ROOT / "tests/model/llama/yarn"))       # takes no pictures


def test_interrupt_stops_it(start):
    import signal
    s = start()
    assert s.stop(signal.SIGINT) == 0


def test_port_in_use(server):
    r = run("serve", "--port", server.port)
    assert r.returncode == 2 and str(server.port) in r.stderr and str(MODEL.name) not in r.stderr
