"""Models by name: pull, serve, list and rm against a stand-in for the hub (hub.py) that behaves badly."""

import json
import os
import pty
import shutil
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest

from conftest import BIN, MODEL, PATIENCE, ROOT
from hub import COMMIT, Hub, etag

SHARDED = ROOT / "tests/model/llama/yarn"
NAMES = ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", "preprocessor_config.json",
         "chat_template.jinja", "model.safetensors"]
FILES = {name: (MODEL / name).read_bytes() for name in NAMES}
WEIGHTS = FILES["model.safetensors"]
REPO = "models--org--name"


@pytest.fixture
def hub():
    with Hub({"org/name": dict(FILES)}) as h:
        yield h


@pytest.fixture
def hf(hub, tmp_path):
    """Runs the program with an HF_HOME of its own and the hub as its endpoint."""
    def run(*args, env=None, **kw):
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAUTOGLM_", "HF_"))}
        environment |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "no_proxy": "*"} | (env or {})
        return subprocess.run([BIN, *map(str, args)], cwd=tmp_path, env=environment, capture_output=True, text=True,
                              timeout=PATIENCE, **kw)
    run.env = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "no_proxy": "*"}
    run.repo = tmp_path / "hf/hub" / REPO
    run.snapshot = run.repo / "snapshots" / COMMIT
    return run


def one_line(r, status, *words):
    assert r.returncode == status, r
    said = [line for line in r.stderr.splitlines() if line.startswith("openautoglm: ")]
    assert len(said) == 1 and len(said[0]) < 520, r.stderr
    for word in words:
        assert word in said[0], f"\"{said[0]}\" does not say \"{word}\""


def test_pull_lays_files_out_as_the_hubs_library_does(hub, hf):
    hub.models["org/name"] |= {"README.md": b"x", "pytorch_model.bin": b"x", "onnx/model.safetensors": b"x"}
    r = hf("pull", "org/name")
    assert r.returncode == 0 and r.stdout.strip() == str(hf.snapshot), r
    assert sorted(p.name for p in hf.snapshot.iterdir()) == sorted(NAMES), "only what is needed"
    for name, data in FILES.items():
        link = hf.snapshot / name
        assert os.readlink(link) == f"../../blobs/{etag(name, data)}" and link.read_bytes() == data
    assert (hf.repo / "refs/main").read_text() == COMMIT
    assert (hf.repo / ".no_exist" / COMMIT / "added_tokens.json").exists()
    assert not list((hf.repo / "blobs").glob("*.incomplete"))
    assert (hf.repo.parent / ".locks" / REPO / f"{etag('config.json', FILES['config.json'])}.lock").exists()
    before = len(hub.asked)
    assert hf("pull", "org/name").returncode == 0
    assert len(hub.asked) == before + 1, "a commit that is here is not asked for again"


def test_the_token_goes_to_the_hub_alone(hub, hf):
    hub.token = "hf_secret"
    one_line(hf("pull", "org/name"), 1, "org/name", "HF_TOKEN")
    one_line(hf("pull", "org/name", env={"HF_TOKEN": "hf_wrong"}), 1, "refuses the token", "Invalid credentials")
    r = hf("pull", "org/name", env={"HF_TOKEN": "hf_secret\n"})
    assert r.returncode == 0 and "hf_secret" not in r.stdout + r.stderr, r
    at_store = [headers for is_store, _, headers in hub.headers if is_store]
    assert at_store and not any("Authorization" in headers for headers in at_store)
    shutil.rmtree(hf.repo)
    (hf.repo.parent.parent / "token").write_text("hf_secret\n")
    assert hf("pull", "org/name").returncode == 0
    r = hf("pull", "org/name", env={"HF_TOKEN": "two words"})
    one_line(r, 2, "HF_TOKEN")
    assert "two words" not in r.stderr
    hub.forbidden = True
    one_line(hf("pull", "org/name", env={"HF_TOKEN": "hf_secret"}), 1, "ask for access", "org/name", "Access is")


def test_an_answer_goes_on_where_it_broke_off(hub, hf):
    hub.break_after = len(WEIGHTS) // 3
    assert hf("pull", "org/name").returncode == 0
    ranges = [h.get("Range") for is_store, _, h in hub.headers if is_store]
    assert ranges == [None, f"bytes={hub.break_after}-", f"bytes={2 * hub.break_after}-"] + ranges[3:], ranges
    assert (hf.snapshot / "model.safetensors").read_bytes() == WEIGHTS


def test_what_an_earlier_try_left_is_used(hub, hf):
    blob = hf.repo / "blobs" / etag("model.safetensors", WEIGHTS)
    blob.parent.mkdir(parents=True)
    part = blob.with_name(blob.name + ".incomplete")
    part.write_bytes(WEIGHTS[:1000])
    assert hf("pull", "org/name").returncode == 0
    assert [h.get("Range") for is_store, _, h in hub.headers if is_store] == ["bytes=1000-"]
    for wrong in (b"x" * 1000, WEIGHTS + b"more", b"x" * len(WEIGHTS)):
        shutil.rmtree(hf.snapshot)
        blob.unlink()
        part.write_bytes(wrong)
        assert hf("pull", "org/name").returncode == 0
        assert blob.read_bytes() == WEIGHTS and not part.exists()


def test_a_store_without_ranges(hub, hf):
    hub.ranges = False
    blob = hf.repo / "blobs" / etag("model.safetensors", WEIGHTS)
    blob.parent.mkdir(parents=True)
    blob.with_name(blob.name + ".incomplete").write_bytes(WEIGHTS[:1000])
    assert hf("pull", "org/name").returncode == 0 and blob.read_bytes() == WEIGHTS


LIES = {
    "too many bytes": (lambda h: h.bytes.update({"model.safetensors": WEIGHTS + b"x"}), ["safetensors", "more than"]),
    "too few bytes": (lambda h: h.bytes.update({"model.safetensors": WEIGHTS[:-1]}), ["safetensors", "announced"]),
    "other bytes": (lambda h: h.bytes.update({"model.safetensors": WEIGHTS[:-1] + b"x"}), ["SHA-256"]),
    "a small file with other bytes": (lambda h: h.bytes.update({"config.json": FILES["config.json"][:-1] + b" "}),
                                      ["config.json", "hash of git"]),
    "an etag that is a path": (lambda h: h.etags.update({"config.json": "../../../x"}), ["config.json", "ETag"]),
    "a file outside": (lambda h: h.more_names.append("../../outside.json"), ["not safe", "../../outside.json"]),
    "an absolute file": (lambda h: h.more_names.append("/etc/passwd"), ["not safe"]),
    "a file with a line break": (lambda h: h.more_names.append("a\nb"), ["not safe"]),
    "a commit that is a path": (lambda h: setattr(h, "commit", "../../../../x"), ["not what a hub says"]),
    "a file that is not there": (lambda h: h.more_names.append("added_tokens.json"), ["added_tokens.json"]),
    "an index that leads outside": (
        lambda h: (h.models["org/name"].pop("model.safetensors"),
                   h.models["org/name"].update({"model.safetensors.index.json": json.dumps(
                       {"weight_map": {"a": "../evil.safetensors"}}).encode()})), ["not the name of a file beside it"]),
    "an index that names what is not listed": (
        lambda h: (h.models["org/name"].pop("model.safetensors"),
                   h.models["org/name"].update({"model.safetensors.index.json": json.dumps(
                       {"weight_map": {"a": "model-00001-of-00001.safetensors"}}).encode()})),
        ["model-00001-of-00001.safetensors", "does not have"]),
    "GGUF alone": (lambda h: (h.models["org/name"].pop("model.safetensors"), h.more_names.append("m-Q4.gguf")),
                   ["GGUF", "m-Q4.gguf"]),
    "no tokenizer": (lambda h: h.models["org/name"].pop("tokenizer.json"), ["no tokenizer.json"]),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_hub_that_lies_leaves_nothing_to_load(lie, hub, hf, tmp_path):
    make, words = LIES[lie]
    make(hub)
    one_line(hf("pull", "org/name"), 1, *words)
    assert not (hf.repo / "refs/main").exists()
    assert not (hf.snapshot / "model.safetensors").exists()
    assert {p.name for p in tmp_path.iterdir()} <= {"hf"}
    assert {p.name for p in hf.repo.parent.glob("*")} <= {REPO, ".locks"}
    assert hf("plan", "org/name").returncode == 2


def test_names(hub, hf):
    for name in ("name", "../name", "org/../name", "org/name/more", "org/name@", "org/name@../x", "org/na me",
                 ".org/name", "org/name@a//b", "org--x/name"):
        one_line(hf("pull", name), 2, name)
    assert not hub.asked and not hf.repo.parent.exists()
    one_line(hf("pull", "org/other"), 1, "no model org/other", hub.url)
    one_line(hf("pull", "org/name@v9"), 1, "no revision 'v9'")
    hub.tags = ["refs/pr/1"]
    assert hf("pull", "org/name@refs/pr/1").returncode == 0
    assert any("/revision/refs%2Fpr%2F1" in a for a in hub.asked)
    assert (hf.repo / "refs/refs/pr/1").read_text() == COMMIT
    assert hf("pull", f"org/name@{COMMIT}").returncode == 0 and not (hf.repo / "refs" / COMMIT).exists()


def test_without_a_network(hub, hf):
    nobody = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    one_line(hf("pull", "org/name", env=nobody), 1, "http://127.0.0.1:9 cannot be reached", "network")
    one_line(hf("serve", "org/name", "--port", "0", env=nobody), 2, "cannot be reached")
    one_line(hf("pull", "org/name", env={"HF_HUB_OFFLINE": "1"}), 1, "HF_HUB_OFFLINE")
    one_line(hf("pull", "org/name", env={"HF_ENDPOINT": "ftp://x"}), 2, "HF_ENDPOINT")
    assert not hub.asked
    assert hf("pull", "org/name").returncode == 0
    assert hf("plan", "org/name", env=nobody).returncode == 0


def test_a_hub_that_is_busy_for_a_moment(hub, hf):
    hub.fail = [503, 429, 500]
    assert hf("pull", "org/name").returncode == 0


def test_four_at_a_time_and_shards(hub, hf, tmp_path):
    """A sharded checkpoint; the store is slow enough that transfers meet."""
    shards = {f"model-0000{i}-of-00006.safetensors": bytes([i]) * 60000 for i in range(1, 7)}
    index = {"weight_map": {f"t{i}": name for i, name in enumerate(shards)}}
    files = {k: v for k, v in FILES.items() if k != "model.safetensors"}
    hub.models["org/name"] = files | shards | {"model.safetensors.index.json": json.dumps(index).encode(),
                                               "model-extra.safetensors": b"x"}
    hub.bytes_per_second = 400000
    assert hf("pull", "org/name").returncode == 0
    assert hub.most_running == 4
    assert not (hf.snapshot / "model-extra.safetensors").exists()
    assert all((hf.snapshot / name).read_bytes() == data for name, data in shards.items())


def test_two_pulls_at_once(hub, hf):
    hub.bytes_per_second = len(WEIGHTS)
    results = []
    threads = [threading.Thread(target=lambda: results.append(hf("pull", "org/name"))) for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert [r.returncode for r in results] == [0, 0], results
    assert len(hub.gets("signature")) == 1 and (hf.snapshot / "model.safetensors").read_bytes() == WEIGHTS


def test_an_interrupted_pull_goes_on(hub, hf, tmp_path):
    hub.bytes_per_second = len(WEIGHTS) / 4
    environment = os.environ | hf.env
    p = subprocess.Popen([BIN, "pull", "org/name"], env=environment, stderr=subprocess.DEVNULL,
                         stdout=subprocess.DEVNULL)
    part = hf.repo / "blobs" / (etag("model.safetensors", WEIGHTS) + ".incomplete")
    end = time.monotonic() + PATIENCE
    while not (part.exists() and part.stat().st_size > 1000):
        assert time.monotonic() < end
        time.sleep(0.02)
    p.kill()
    p.wait()
    had = part.stat().st_size
    assert hf("plan", "org/name").returncode == 2, "a part is not loaded"
    hub.bytes_per_second = None
    assert hf("pull", "org/name").returncode == 0
    assert [h["Range"] for is_store, _, h in hub.headers if is_store and "Range" in h] == [f"bytes={had}-"]


def test_a_bar_on_a_terminal(hub, hf):
    hub.bytes_per_second = len(WEIGHTS) / 1.5
    terminal, end = pty.openpty()
    p = subprocess.Popen([BIN, "pull", "org/name"], env=os.environ | hf.env, stderr=end, stdout=subprocess.DEVNULL)
    os.close(end)
    said = b""
    try:
        while part := os.read(terminal, 4096):
            said += part
    except OSError:                                # the other end is closed
        pass
    assert p.wait() == 0 and b"fetching [#" in said and b"of 8.9 MB" in said and b"8.9 MB fetched" in said, said


def test_a_disk_that_is_full(hub, hf):
    """A limit on the size of files is the same to a program; a small disk is tried where one can be mounted."""
    import resource
    r = hf("pull", "org/name", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000)))
    one_line(r, 1, "model.safetensors", "File too large")
    assert not (hf.snapshot / "model.safetensors").exists()
    assert hf("pull", "org/name").returncode == 0


def test_a_small_disk(hub, hf, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    inner = f'mount -t tmpfs -o size=1m tmpfs "{disk}" && HF_HOME="{disk}" exec "{BIN}" pull org/name'
    if subprocess.run(["unshare", "-rm", "sh", "-c", f'mount -t tmpfs tmpfs "{disk}"'], capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    r = subprocess.run(["unshare", "-rm", "sh", "-c", inner], env=os.environ | hf.env, capture_output=True, text=True,
                       timeout=PATIENCE)
    one_line(r, 1, "No space left on device", "MB are needed")


def test_tls(tmp_path):
    """A hub is believed if its certificate is; and nobody is led from https to http."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                    "-keyout", key, "-out", certificate], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with Hub({"org/name": dict(FILES)}, tls) as hub:
        def pull(name, **more):
            environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / name), "no_proxy": "*"} | more
            return subprocess.run([BIN, "pull", "org/name"], env=environment, capture_output=True, text=True,
                                  timeout=PATIENCE)
        one_line(pull("a"), 1, "not safe", "certificate")
        assert not hub.asked
        trusted = {"CURL_CA_BUNDLE": str(certificate)}
        hub.store_scheme = "http"
        one_line(pull("a", **trusted), 1, "without TLS")
        hub.store_scheme = None
        assert pull("a", **trusted).returncode == 0


@pytest.fixture
def serve(hf, start):
    def run(*options, env=None, **kw):
        return start(*options, env=hf.env | (env or {}), model=None, **kw)
    return run


def test_serve_by_name_and_without_a_network_afterwards(hub, hf, serve):
    s = serve("org/name")
    assert json.loads(s.get("/v1/models")[2])["data"][0]["id"] == "org/name"
    assert s.post("/v1/chat/completions", {"model": "org/name", "max_tokens": 4,
                                           "messages": [{"role": "user", "content": "hi"}]})[0] == 200
    s.stop()
    asked = len(hub.asked)
    s = serve("--model", "org/name@main", env={"HF_ENDPOINT": "http://127.0.0.1:9"})
    assert json.loads(s.get("/v1/models")[2])["data"][0]["id"] == "org/name"
    s.stop()
    assert len(hub.asked) == asked
    (hf.repo / ".no_exist" / COMMIT / "added_tokens.json").unlink()       # as if somebody else had put it there
    s = serve("org/name", env={"HF_ENDPOINT": "http://127.0.0.1:9"})
    assert any("could be missing" in line for line in s.lines)
    one_line(hf("serve", "org/name", "--model", "other/name", "--port", "0"), 2, "one model")
    one_line(hf("serve", "org/name", "more", "--port", "0"), 2, "more")


def test_a_newer_commit_counts_once_it_is_whole(hub, hf):
    assert hf("pull", "org/name").returncode == 0
    hub.commit = "f" * 40
    hub.models["org/name"]["config.json"] += b" "
    hub.bytes["config.json"] = b"broken"
    assert hf("pull", "org/name").returncode == 1
    assert (hf.repo / "refs/main").read_text() == COMMIT
    hub.bytes.clear()
    assert hf("pull", "org/name").returncode == 0
    assert (hf.repo / "refs/main").read_text() == "f" * 40 and len(hub.gets("signature")) == 1


def test_list_and_rm(hub, hf):
    assert hf("list").stdout.split() == ["MODEL", "REVISION", "COMMIT", "SIZE", "STATE"]
    hf("pull", "org/name")
    hub.commit = "f" * 40
    hub.models["org/name"]["config.json"] += b" "
    hub.tags = ["v2"]
    hf("pull", "org/name@v2")
    rows = [line.split() for line in hf("list").stdout.splitlines()[1:]]
    size = f"{sum(map(len, FILES.values())) / 1e6:.1f}"
    assert sorted(rows) == [["org/name", "main", COMMIT[:12], size, "MB", "ready"],
                            ["org/name", "v2", "f" * 12, size, "MB", "ready"]]
    blobs = len(list((hf.repo / "blobs").iterdir()))
    assert blobs == len(NAMES) + 1
    one_line(hf("rm", "org/other"), 1, "org/other is not in")
    one_line(hf("rm", "org/name@v9"), 1, "org/name@v9 is not in")
    one_line(hf("rm", "../name"), 2)
    assert hf("rm", "org/name@v2").returncode == 0
    assert len(list((hf.repo / "blobs").iterdir())) == blobs - 1 and hf("plan", "org/name").returncode == 0
    (hf.snapshot / "model.safetensors").unlink()
    assert hf("list").stdout.splitlines()[1].endswith("incomplete")
    r = hf("rm", "org/name")
    assert r.returncode == 0 and "MB freed" in r.stdout and not hf.repo.exists()
    assert hf("rm", "org/name").returncode == 1
