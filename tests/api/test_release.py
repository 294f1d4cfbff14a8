"""What is given away: the installed files, the manual, completion, the container files and the examples beside them."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import BIN, PATIENCE, ROOT

ENV = {k: v for k, v in os.environ.items() if not k.startswith("OPENAUTOGLM_")}


def run(*command, **kw):
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=PATIENCE,
                          env=kw.pop("env", ENV), **kw)


def program(name):
    return shutil.which(name) or shutil.which(name, path="/usr/sbin") or pytest.skip(f"{name} is not installed")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    to = tmp_path_factory.mktemp("root")
    r = run(ROOT / "release/install.sh", BIN, to, "/usr")
    assert r.returncode == 0, r.stderr
    return to


def test_it_runs_from_where_it_was_installed(installed, tmp_path):
    r = run(installed / "usr/bin/openautoglm", "plan", "--json", cwd=tmp_path)
    assert r.returncode == 0 and str(installed) in json.loads(r.stdout)["model"], r
    assert (installed / "usr/share/doc/openautoglm/LICENSE").exists()


def options_of(command):
    return {"--" + name for name in re.findall(r"^  --(?:\[no-\])?([a-z-]+)", run(BIN, command, "--help").stdout, re.M)}


def test_manual(installed):
    page = installed / "usr/share/man/man1/openautoglm.1"
    text = page.read_text().replace("\\-", "-")
    options = options_of("serve") | options_of("chat") | options_of("plan")
    assert len(options) > 50 and all(f"\\fB{o}\\fR" in text for o in options)
    assert all(f".B {c}\n" in text for c in re.findall(r"^  ([a-z]+) ", run(BIN, "help").stdout, re.M))
    assert "SKIPPED" not in text and "@" not in text.replace("ORG/NAME[@REVISION]", "")
    groff = shutil.which("groff") or pytest.skip("groff is not installed")
    r = run(groff, "-man", "-Tutf8", "-ww", "-z", page)
    assert r.returncode == 0 and not r.stderr, r.stderr


def completed(script, *words):
    """What bash offers for the last word."""
    lines = (f"source {script}; COMP_WORDS=({' '.join(map(repr, words))}); COMP_CWORD={len(words) - 1}; _openautoglm; "
             "printf '%s\\n' \"${COMPREPLY[@]}\"")
    r = run("bash", "-c", lines)
    assert r.returncode == 0 and not r.stderr, r.stderr
    return set(r.stdout.split())


def test_completion(installed):
    script = installed / "usr/share/bash-completion/completions/openautoglm"
    assert completed(script, "openautoglm", "pl") == {"plan"} and "serve" in completed(script, "openautoglm", "")
    assert completed(script, "openautoglm", "serve", "--") == options_of("serve") | {"--help"}
    assert completed(script, "openautoglm", "chat", "--im") == {"--image", "--image-cache-bytes"}
    assert completed(script, "openautoglm", "serve", "--weights", "") >= {"auto", "int8"}
    assert completed(script, "openautoglm", "serve", "") == set()                  # a model: the shell offers files
    assert completed(script, "openautoglm", "completion", "") == {"bash", "zsh"}
    zsh = shutil.which("zsh")
    if zsh:
        assert run(zsh, "-n", installed / "usr/share/zsh/site-functions/_openautoglm").returncode == 0
    assert run(BIN, "completion", "fish").returncode == 2


def test_systemd_unit(installed):
    unit = installed / "usr/lib/systemd/system/openautoglm.service"
    assert "ExecStart=/usr/bin/openautoglm serve\n" in unit.read_text() and unit.with_suffix(".socket").exists()
    r = run(program("systemd-analyze"), "security", "--offline=true", "--no-pager", unit)
    m = re.search(r"exposure level for \S+: ([\d.]+)", r.stdout)
    if not m:
        pytest.skip("this systemd-analyze does not look at files")
    assert float(m[1]) < 2.5, r.stdout


def test_health(server):
    r = run(BIN, "health", "--port", server.port)
    assert r.returncode == 0 and r.stdout.endswith("/health: 200\n"), r
    r = run(BIN, "health", env=ENV | {"OPENAUTOGLM_PORT": str(server.port), "OPENAUTOGLM_HOST": "0.0.0.0", "http_proxy": "http://127.0.0.1:9"})
    assert r.returncode == 0, "as the server is configured, and never through a proxy"
    r = run(BIN, "health", "--port", "9")
    assert r.returncode == 1 and "127.0.0.1:9" in r.stdout


def test_health_while_it_loads(loading):
    s = loading()
    assert run(BIN, "health", "--port", s.server.port).returncode == 1
    s.let()
    assert run(BIN, "health", "--port", s.server.port).returncode == 0


def test_software_bill_of_materials():
    root = Path("/")
    if not (root / "var/lib/dpkg/status").exists():
        pytest.skip("no package database")
    libraries = [m[1] for m in re.finditer(r"=> (/\S*(?:curl|png|jansson)\S*)", run("ldd", BIN).stdout)]
    r = run(sys.executable, ROOT / "release/sbom.py", "1.2.3", "/", *libraries)
    assert r.returncode == 0, r.stderr
    bill = json.loads(r.stdout)
    assert bill["bomFormat"] == "CycloneDX"
    assert {c["name"] for c in bill["components"]} >= {"libcurl4", "libjansson4", "libpng16-16"}
    assert all(c["version"] and c["purl"].startswith("pkg:deb/debian/") for c in bill["components"])
    assert run(sys.executable, ROOT / "release/sbom.py", "1", "/", "/nowhere/libnone.so.1").returncode == 1


# ---- containers ----

@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_dockerfile(kind):
    """Every step is one that docker/steps.py can do; the result is not root's and knows its own health."""
    r = run(sys.executable, ROOT / "docker/steps.py", ROOT / f"docker/Dockerfile.{kind}", "--list")
    assert r.returncode == 0, r.stderr + r.stdout
    steps = [re.sub(r"^steps: \d+: ", "", line) for line in r.stdout.splitlines()]
    assert [s for s in steps if s.startswith("USER")][-1] == "USER 65532:65532"
    checks = [json.loads(s[s.index("CMD") + 3:]) for s in steps if s.startswith("HEALTHCHECK")]
    assert checks == [["/usr/bin/openautoglm", "health"]]
    assert steps[0].startswith("ARG DEBIAN=") and "${DEBIAN_DIGEST:+@${DEBIAN_DIGEST}}" in r.stdout
    hadolint = shutil.which("hadolint")
    if hadolint:
        assert run(hadolint, "--ignore", "DL3008", ROOT / f"docker/Dockerfile.{kind}").returncode == 0


def test_a_root_of_its_own(installed, tmp_path):
    """What the image holds runs with nothing else around it."""
    if "TEST_SLOW" in os.environ:
        pytest.skip("a sanitizer's own libraries are not what is meant")
    root = tmp_path / "root"
    shutil.copytree(installed, root, symlinks=True)
    r = run(ROOT / "release/rootfs.sh", root)
    assert r.returncode == 0, r.stderr
    if run("unshare", "-r", "true").returncode != 0:
        pytest.skip("no namespaces here")
    r = run("unshare", "-r", "chroot", root, "/usr/bin/openautoglm", "plan", "--device", "cpu")
    assert r.returncode == 0 and "It fits." in r.stdout, r
    assert not [p for p in root.rglob("*") if p.name in ("sh", "bash", "apt")]


def local_names(text):
    """The replicas of the examples as addresses: nginx wants to know them when it reads its configuration."""
    return re.sub(r"\b[ab]:8000", "127.0.0.1:8000", text)


def test_router_examples(tmp_path):
    checked = 0
    for name, file, command in (("haproxy", "haproxy.cfg", ["-c", "-f"]), ("nginx", "nginx.conf", ["-t", "-q", "-c"]),
                                ("caddy", "Caddyfile", ["validate", "--adapter", "caddyfile", "--config"])):
        tool = shutil.which(name) or shutil.which(name, path="/usr/sbin")
        if not tool:
            continue
        text = (ROOT / "docker" / file).read_text()
        (tmp_path / file).write_text(local_names(text) if name == "nginx" else text)
        if name == "nginx":
            (tmp_path / file).write_text(f"pid {tmp_path}/pid;\nerror_log stderr;\n" + (tmp_path / file).read_text())
        r = run(tool, *command, tmp_path / file, env=ENV | {"HOME": str(tmp_path)})
        assert r.returncode == 0, r.stderr + r.stdout
        checked += 1
    if not checked:
        pytest.skip("none of the routers is installed")


def test_the_dashboard_asks_for_what_there_is(server):
    text = server.get("/metrics")[2].decode()
    names = set(re.findall(r"^([a-z_:]+)(?:\{| )", text, re.M))
    dashboard = json.loads((ROOT / "docker/grafana/dashboard.json").read_text())
    expressions = [t["expr"] for p in dashboard["panels"] for t in p["targets"]]
    assert len(expressions) >= 12
    for expression in expressions:
        asked = re.findall(r"\bopenautoglm_\w+", expression)
        assert asked and set(asked) <= names, f"{expression}: {set(asked) - names} is not in /metrics"
    labels = set(re.findall(r"(\w+)=", text))
    for expression in expressions:
        used = re.findall(r"by \((\w+)\)", expression) + re.findall(r"\{(\w+)=", expression)
        assert set(used) <= labels, expression
