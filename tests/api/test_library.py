"""libopenautoglm.so from outside: what it exports, the C example of the docs beside the server, and what a guest in a
process must not do. The verbs one by one are tested in tests/library/."""

import json
import os
import re
import resource
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import BIN, MODEL, PATIENCE, ROOT, data_url

LIBRARY = Path(BIN).parent / "libopenautoglm.so"
HEADER = ROOT / "library" / "openautoglm.h"
SHIM = ROOT / "build" / "tests" / "alloc" / "fail_alloc.so"
SAMPLE = MODEL / "samples" / "home-en.png"
TASK = 'Tap "Camera"'
SANITIZER = next((s for s in ("asan", "tsan") if f"/{s}/" in BIN), None)
FLAGS = {"asan": ["-fsanitize=address,undefined"], "tsan": ["-fsanitize=thread"], None: []}[SANITIZER]
ENV = ({k: v for k, v in os.environ.items() if not k.startswith("OPENAUTOGLM_")} |
       {"LD_LIBRARY_PATH": str(LIBRARY.parent)})


@pytest.fixture(scope="module", autouse=True)
def built():
    assert LIBRARY.exists(), "make library builds it"


def compile_c(source, out):
    """As a user of the library does: nothing but its header is seen."""
    command = [*shlex.split(os.environ.get("CC", "cc")), "-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-g", *FLAGS,
               "-I", HEADER.parent, "-x", "c", "-", "-L", LIBRARY.parent, "-lopenautoglm", "-lpthread", "-o", out]
    r = subprocess.run(list(map(str, command)), input=source, capture_output=True, text=True, timeout=PATIENCE)
    assert r.returncode == 0, r.stderr
    return out


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    source = re.search(r"```c\n(.*?)```", (ROOT / "docs" / "c-api.md").read_text(), re.S)[1]
    return compile_c(source, tmp_path_factory.mktemp("c") / "ask")


def run(program, *args, **kw):
    return subprocess.run([str(program), *map(str, args)], capture_output=True, text=True, timeout=PATIENCE,
                          env=ENV | kw.pop("env", {}), **kw)


def test_exports_are_the_verbs_of_the_header():
    lines = subprocess.run(["nm", "-D", "--defined-only", str(LIBRARY)], capture_output=True, text=True, check=True)
    exported = {line.split()[-1] for line in lines.stdout.splitlines()}
    declared = set(re.findall(r"(openautoglm_\w+)\(", re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.S)))
    assert len(declared) > 10 and exported == declared


def test_header_serves_cxx():
    cxx = shutil.which("g++") or pytest.skip("g++ is not installed")
    r = subprocess.run([cxx, "-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-x", "c++", str(HEADER)],
                       capture_output=True, text=True, timeout=PATIENCE)
    assert r.returncode == 0, r.stderr.replace("pragma", "")


def test_example_answers_as_the_server(example, client):
    part = {"type": "image_url", "image_url": {"url": data_url(SAMPLE.read_bytes())}}
    messages = [{"role": "user", "content": [part, {"type": "text", "text": TASK}]}]
    served = client.chat.completions.create(model="", messages=messages, temperature=0, max_tokens=100)
    r = run(example, MODEL, SAMPLE, json.dumps(TASK))
    assert (r.returncode, r.stdout, r.stderr) == (0, served.choices[0].message.content + "\n", "")
    assert "Tap" in r.stdout


@pytest.mark.parametrize("args, words", [
    (("nowhere", SAMPLE, '"x"'), "nowhere"),
    ((MODEL, SAMPLE, "7"), "messages[0].content[1].text must be a string"),
    ((MODEL, SAMPLE, "}"), "is not valid JSON"),
    ((MODEL, MODEL / "config.json", '"x"'), "not a JPEG, PNG, WebP or GIF image"),
])
def test_errors_come_back(example, args, words):
    r = run(example, *args)
    assert r.returncode == 1 and not r.stdout.strip() and words in r.stderr, r


def test_installed_library_serves_programs(tmp_path):
    """As after `make install`: compiled by what pkg-config says, and the shipped model is found beside the library."""
    pkg_config = shutil.which("pkg-config") or pytest.skip("pkg-config is not installed")
    r = run(ROOT / "release/install.sh", BIN, "", tmp_path)
    assert r.returncode == 0, r.stderr
    described = {"PKG_CONFIG_PATH": str(tmp_path / "lib/pkgconfig")}
    flags = run(pkg_config, "--cflags", "--libs", "openautoglm", env=described)
    source = re.search(r"```c\n(.*?)```", (ROOT / "docs" / "c-api.md").read_text(), re.S)[1]
    r = subprocess.run([*shlex.split(os.environ.get("CC", "cc")), *FLAGS, "-x", "c", "-", "-o", tmp_path / "ask",
                        *flags.stdout.split()], input=source, capture_output=True, text=True, timeout=PATIENCE)
    assert r.returncode == 0, r.stderr
    r = run(tmp_path / "ask", "open-autoglm-v1", SAMPLE, json.dumps(TASK), cwd=tmp_path,
            env={"LD_LIBRARY_PATH": str(tmp_path / "lib")})
    assert r.returncode == 0 and "Tap" in r.stdout, r


# Opens a model, or the tokenizer alone, again and again. The shim refuses one allocation of each opening, the one at so
# many thousandths of all that there are; or every so-manieth.
STARVED = r"""
#include <fcntl.h>
#include <openautoglm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static volatile long *control;         /* mode, nth, asked, refused */

static void try_to_open(const char *what, long mode, long nth)
{
    struct openautoglm_error e = { 0 };
    control[1] = nth, control[2] = 0, control[3] = 0, control[0] = mode;
    struct openautoglm *m = (strcmp(what, "model") ? openautoglm_open_tokenizer : openautoglm_open)(
        "models/open-autoglm-v1", "{\"threads\": 2, \"log_level\": \"error\"}", &e);
    control[0] = 0;
    printf("%s %d %ld %s %s\n", m ? "opened" : "failed", e.status, control[3], e.code, e.message);
    openautoglm_close(m);
}

int main(int argc, char **argv)
{
    int fd = open(getenv("FAIL_ALLOC"), O_RDWR);
    control = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    try_to_open(argv[1], 1, 1L << 40);
    long all = control[2];
    for (int i = 3; i < argc; i++)
        try_to_open(argv[1], atol(argv[2]), *argv[2] == '1' ? all * atol(argv[i]) / 1000 + 1 : atol(argv[i]));
    return 0;
}
"""


@pytest.fixture(scope="module")
def starved(tmp_path_factory):
    if SANITIZER or not SHIM.exists():
        pytest.skip("a sanitizer brings its own allocator" if SANITIZER else f"`make {SHIM.relative_to(ROOT)}`")
    return compile_c(STARVED, tmp_path_factory.mktemp("starved") / "starved")


@pytest.mark.parametrize("mode, what", [(1, "model"), (1, "tokenizer"), (2, "model")])
def test_memory_that_runs_out_while_opening(starved, tmp_path, mode, what):
    (tmp_path / "control").write_bytes(bytes(4096))
    tries = [0, 1, *range(20, 1000, 65), 990, 995, 998] if mode == 1 else [2, 3, 7, 19, 64, 301, 999, 9999]
    r = run(starved, what, mode, *tries, cwd=ROOT,
            env={"LD_PRELOAD": str(SHIM), "FAIL_ALLOC": str(tmp_path / "control")})
    lines = [line.split(" ", 4) for line in r.stdout.splitlines()]
    assert r.returncode == 0 and not r.stderr, (r.returncode, r.stdout[-300:], r.stderr)
    assert len(lines) == 1 + len(tries) and lines[0][0] == "opened"
    # Some refusals are harmless: a smaller reserve is held, a thread less computes.
    for n, (outcome, status, refused, code, message) in zip(tries, lines[1:]):
        assert int(refused) > 0 and (outcome == "opened" or status in ("400", "503") and message), (n, status, message)
    assert sum(code == "out_of_memory" for _, _, _, code, _ in lines) > len(tries) / 2


def test_little_room_is_an_error(example):
    """Address space that suffices for the program and not for the model."""
    def limit(megabytes):
        return lambda: resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))
    if SANITIZER:
        pytest.skip("a sanitizer takes terabytes of address space")
    codes = set()
    for megabytes in (48, 64, 96, 128, 192, 256, 384):
        r = run(example, MODEL, SAMPLE, json.dumps(TASK), preexec_fn=limit(megabytes))
        assert r.returncode in (0, 1), (megabytes, r)
        assert r.returncode == 0 or r.stderr.startswith("ask: "), (megabytes, r.stderr)
        codes.add(r.returncode)
    assert 1 in codes
