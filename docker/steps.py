"""Does what a Dockerfile says without a container engine: its RUN lines in roots that mmdebstrap makes.

    docker/steps.py Dockerfile --list                      the steps, as they would be done
    docker/steps.py Dockerfile --root DIR [--arg K=V]...   do them (as root), and print the size of the result
    docker/steps.py Dockerfile --root DIR --try            run the result as its user on a read-only root: it must
                                                           become healthy and answer a question

Knows what the Dockerfiles here use. `FROM debian:12-slim` becomes mmdebstrap --variant=minbase; the mirror is that of
DEBIAN_MIRROR.
"""

import argparse
import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
SUITES = {"11": "bullseye", "12": "bookworm", "13": "trixie"}
MIRROR = os.environ.get("DEBIAN_MIRROR", "http://deb.debian.org/debian")
KNOWN = {"ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "RUN", "USER", "WORKDIR"}


def instructions(text):
    """(name, rest) of every instruction; comments and continued lines resolved."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        if line.strip():
            name, rest = line.split(None, 1)
            if name not in KNOWN:
                sys.exit(f"steps: {name} is not known here")
            yield name, rest.strip()


def expand(text, values):
    """${NAME} and ${NAME:+word}, as FROM takes them; the word may have one more ${NAME} in it."""
    def one(m):
        value = values.get(m[1], "")
        return value if m[2] is None else (expand(m[2], values) if value else "")
    return re.sub(r"\$\{(\w+)(?::\+((?:[^{}]|\{[^{}]*\})*))?\}", one, text)


def ignored():
    """The patterns of .dockerignore; one with ! takes its file back in."""
    return [line for line in (TOP / ".dockerignore").read_text().split("\n") if line and not line.startswith("#")]


def is_ignored(path, patterns):
    out = False
    for pattern in patterns:
        plain = pattern.lstrip("!")
        if fnmatch.fnmatch(path, plain) or path.startswith(plain + "/"):
            out = not pattern.startswith("!")
    return out


class Image:
    def __init__(self, root):
        self.root, self.env, self.user, self.folder = root, {}, "0:0", "/"
        self.args, self.health, self.entry, self.command = {}, None, [], []


class Steps:
    def __init__(self, dockerfile, work, given, act, mounts=()):
        self.path, self.work, self.given, self.act, self.mounts = Path(dockerfile), work, given, act, mounts
        self.globals, self.stages, self.image = {}, {}, None

    def say(self, text):
        print(f"steps: {text}", flush=True)

    def run(self, skip=0):
        act = self.act
        for i, (name, rest) in enumerate(instructions(self.path.read_text())):
            self.act = act and i >= skip
            self.say(f"{i}: {name} {rest}")
            getattr(self, "do_" + name.lower())(rest)
        return self.image

    def do_arg(self, rest):
        name, _, default = rest.partition("=")
        (self.image.args if self.image else self.globals)[name] = self.given.get(name, " ".join(shlex.split(default)))

    def do_from(self, rest):
        base, _, stage = expand(rest, self.globals).partition(" AS ")
        self.image = Image(self.work / (stage or "result"))
        self.stages[stage or "result"] = self.image
        if not self.act:
            return
        shutil.rmtree(self.image.root, ignore_errors=True)
        self.work.mkdir(parents=True, exist_ok=True)
        if base == "scratch":
            self.image.root.mkdir(parents=True)
            return
        m = re.fullmatch(r"debian:(\d+)(-slim)?(@sha256:[0-9a-f]{64})?", base)
        if not m:
            sys.exit(f"steps: there is no {base} here")
        subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", SUITES[m[1]], self.image.root, MIRROR],
                       check=True)

    def do_env(self, rest):
        self.image.env |= dict(pair.split("=", 1) for pair in shlex.split(rest))

    def do_workdir(self, rest):
        self.image.folder = rest
        if self.act:
            (self.image.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)

    def do_user(self, rest):
        self.image.user = rest

    def do_copy(self, rest):
        words = shlex.split(rest)
        source = None
        if words[0].startswith("--from="):
            source = self.stages[words.pop(0).removeprefix("--from=")].root
        *files, to = words
        target = self.image.root / to.lstrip("/")
        for file in files:
            if source is None and not (TOP / file).exists():
                sys.exit(f"steps: COPY {file}: there is no such file")
            if not self.act:
                continue
            target.mkdir(parents=True, exist_ok=True)
            if source is not None:
                subprocess.run(["cp", "-a", f"{source}/{file.lstrip('/')}/.", target], check=True)
            else:
                self.copy_tree(file, target)

    def copy_tree(self, file, target):
        listed = subprocess.run(["git", "-C", TOP, "ls-files", "-co", "--exclude-standard", file], capture_output=True,
                                text=True, check=True)
        for path in listed.stdout.splitlines():
            if is_ignored(path, ignored()) or not (TOP / path).exists():
                continue
            place = target / (path if file == "." else Path(path).name)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(TOP / path, place)

    def do_run(self, rest):
        if not self.act:
            return
        env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C",
               **{k: v for k, v in os.environ.items() if k.lower().endswith("_proxy") or k == "PIP_INDEX_URL"},
               **self.image.args, **self.image.env}
        root = self.image.root
        shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
        for file in ("/etc/hosts", "/etc/pip.conf"):
            if Path(file).exists():
                shutil.copy(file, root / file.lstrip("/"))
        inside = f"cd {self.image.folder} && {rest}"
        binds = ""
        for pair in self.mounts:
            source, _, place = pair.partition(":")
            (root / place.lstrip("/")).mkdir(parents=True, exist_ok=True)
            binds += f'mount --rbind "{source}" "{root}/{place.lstrip("/")}" && '
        mounts = (f'mount -t proc proc "{root}/proc" && mount --rbind /dev "{root}/dev" && {binds}'
                  f'exec chroot "{root}" /bin/sh -c "$0"')
        began = time.monotonic()
        subprocess.run(["unshare", "-m", "sh", "-c", mounts, inside], env=env, check=True)
        self.say(f"took {time.monotonic() - began:.0f} s")

    def do_expose(self, rest):
        pass

    def do_healthcheck(self, rest):
        self.image.health = json.loads(rest[rest.index("CMD") + 3:])

    def do_entrypoint(self, rest):
        self.image.entry = json.loads(rest)

    def do_cmd(self, rest):
        self.image.command = json.loads(rest)


def size(root):
    """Bytes of the files, and how many of them are the model's."""
    files = [p for p in root.rglob("*") if p.is_file() and not p.is_symlink()]
    model = sum(p.stat().st_size for p in files if "share/openautoglm/models" in str(p))
    return sum(p.stat().st_size for p in files), model


def try_out(image):
    """Runs the result as its user; nothing but /tmp can be written."""
    root, port = image.root, "18765"
    user, group = image.user.split(":")
    if user == "0":
        sys.exit("steps: the image's user is root")
    setup = (f'mount --rbind "{root}" "{root}" && mount -t proc proc "{root}/proc" && '
             f'mount -t tmpfs tmpfs "{root}/tmp" && mount -o remount,bind,ro "{root}" && '
             f'exec chroot --userspec={user}:{group} --groups={group} "{root}" "$@"')
    env = {**image.env, "OPENAUTOGLM_PORT": port, "PATH": os.environ["PATH"]}

    def inside(command):
        return subprocess.Popen(["unshare", "-m", "sh", "-c", setup, "sh", *command], env=env)

    server = inside([*image.entry, *image.command])
    try:
        for _ in range(100):
            if inside(image.health).wait() == 0:
                break
            time.sleep(0.2)
        else:
            sys.exit("steps: it did not become healthy")
        question = '{"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}'
        asked = subprocess.run(["curl", "-sf", f"http://127.0.0.1:{port}/v1/chat/completions", "-d", question],
                               capture_output=True, text=True)
        print(asked.stdout)
        status = Path(f"/proc/{server.pid}/status").read_text()
        print(*re.findall(r"^(?:Uid|Gid|CapEff|VmHWM):.*$", status, re.M), sep="\n")
        if asked.returncode != 0:
            sys.exit("steps: it did not answer")
    finally:
        server.terminate()
    if server.wait() != 0:
        sys.exit("steps: it did not stop well")


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("dockerfile")
    p.add_argument("--root", type=Path)
    p.add_argument("--arg", action="append", default=[])
    p.add_argument("--mount", action="append", default=[], metavar="DIR:PLACE",
                   help="a folder that RUN lines see, in the place of one that a skipped step would have made")
    p.add_argument("--skip", type=int, default=0, help="steps that an earlier call has done in that root")
    p.add_argument("--list", action="store_true")
    p.add_argument("--try", dest="try_it", action="store_true")
    a = p.parse_args()
    given = dict(pair.split("=", 1) for pair in a.arg)
    act = not a.list and not a.try_it
    image = Steps(a.dockerfile, (a.root or Path("/nowhere")).resolve(), given, act, a.mount).run(a.skip)
    if act:
        total, model = size(image.root)
        print(f"steps: {image.root}: {total / 1e6:.1f} MB, of which the model {model / 1e6:.1f} MB")
    if a.try_it:
        try_out(image)


if __name__ == "__main__":
    main()
