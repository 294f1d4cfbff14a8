"""What the program says of itself: help that fits into a terminal, what was meant by a mistyped word, its version."""

import json
import re
import subprocess

import pytest

from conftest import BIN, ROOT
from test_commands import run

COMMANDS = re.findall(r"^\.B (\S+)$", subprocess.run([BIN, "manual"], capture_output=True, text=True).stdout
                      .split(".SH COMMANDS")[1].split(".SH OPTIONS")[0], re.M)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command):
    r = run(command, "--help")
    assert r.returncode == 0 and not r.stderr and "usage: openautoglm " in r.stdout and command in r.stdout, r
    assert all(len(line) < 100 for line in r.stdout.splitlines()), r.stdout
    assert run("help", command).stdout == r.stdout or command == "help"


def test_the_list_of_commands():
    r = run("help")
    assert r.stdout == run("--help").stdout == run("-h").stdout and len(COMMANDS) > 15
    assert all(len(line) < 100 for line in r.stdout.splitlines()), r.stdout
    assert sorted(re.findall(r"^  ([a-z]+) ", r.stdout, re.M)) == sorted(COMMANDS)
    titles = re.findall(r"^(\S.*):$", r.stdout, re.M)
    assert titles[0] == "Serving" and len(titles) > 4


def test_options_stand_in_groups():
    text = run("serve", "--help").stdout
    groups = dict(re.findall(r"^([A-Z][^\n]*):\n((?:  [^\n]*\n)+)", text, re.M))
    assert "--kv-bytes SIZE" in groups["Memory"] and "--[no-]gpu-graphs" in groups["GPUs"]
    assert "--port N" in groups["The server"] and "(8000)" in groups["The server"]
    named = {o.replace("-", "_") for o in re.findall(r"^  --(?:\[no-\])?([a-z-]+)", text, re.M)}
    assert named - {"config"} == set(json.loads((ROOT / "config/default.json").read_text()))
    assert "The server" not in run("quantize", "--help").stdout


@pytest.mark.parametrize("args, meant", [
    (("serv",), "did you mean serve?"), (("seve", "--port", "1"), "did you mean serve?"),
    (("serve", "--prot", "1"), "did you mean --port?"), (("serve", "--max-seqs", "1"), "did you mean --max-num-seqs?"),
    (("serve", "--kv_byts=1"), "did you mean --kv-bytes?"), (("plan", "--jsn"), "did you mean --json?"),
    (("plan", "--weights", "in8"), "did you mean int8?"), (("serve", "--log-level", "wran"), "did you mean warn?"),
])
def test_what_was_meant(args, meant):
    r = run(*args)
    assert r.returncode == 2 and len(r.stderr.splitlines()) == 1 and r.stderr.rstrip().endswith(meant), r


@pytest.mark.parametrize("args", [("frobnicate",), ("serve", "--frobnicate"), ("serve", "--image", "x"),
                                  ("plan", "--weights", "heavy"), ("help", "frobnicate"), ("x" * 5000,),
                                  ("serve", "--" + "x" * 5000)])
def test_what_nobody_meant(args):
    r = run(*args)
    assert r.returncode == 2 and "did you mean" not in r.stderr and r.stderr.startswith("openautoglm: "), r


def test_a_mistyped_key_of_a_file(tmp_path):
    (tmp_path / "c.json").write_text('{"max_num_seq": 3}')
    r = run("plan", "--config", tmp_path / "c.json")
    assert r.returncode == 2 and r.stderr.rstrip().endswith("did you mean max-num-seqs?"), r


def test_version():
    lines = run("--version").stdout.splitlines()
    assert lines[0] == "openautoglm " + (ROOT / "VERSION").read_text().strip()
    said = dict(line.split(maxsplit=1) for line in lines[1:])
    assert list(said) == ["commit", "compiler", "backends"]
    assert re.fullmatch(r"[0-9a-f]{12,40}(-dirty)?|unknown", said["commit"])
    assert re.match(r"(gcc|clang) \d", said["compiler"]) and said["backends"].startswith("cpu (") and (
        "generic" in said["backends"] and "cuda (its library is " in said["backends"])


def test_the_commit_of_a_build(tmp_path):
    """It is written only when it changes, so that nothing is built anew for nothing."""
    def told(*commit):
        return subprocess.run([ROOT / "release/commit.sh", tmp_path / "b/commit", *commit], capture_output=True,
                              text=True, check=True).stdout.strip()

    assert told("abc") == "abc" == (tmp_path / "b/commit").read_text().strip()
    before = (tmp_path / "b/commit").stat().st_mtime_ns
    assert told("abc") == "abc" and (tmp_path / "b/commit").stat().st_mtime_ns == before
    assert told("def") == "def" == (tmp_path / "b/commit").read_text().strip()
    assert told() and told() != "def"
