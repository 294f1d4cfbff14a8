"""Builds the Python package: what pip calls (PEP 517), and `make wheel`.

The wheel holds the package, libopenautoglm.so with its header, and the shipped
model.  The library is built by make in the checkout that this file lies in, so
that `pip install ./python` needs a C compiler and the libraries that
`./setup.sh packages` installs, and nothing from a package index.  An editable
install uses the library in build/.
"""

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
MODEL = "models/open-autoglm-v1"
SKIPPED = {"__pycache__", "lib", "models"}


def _project():
    return tomllib.loads((HERE / "pyproject.toml").read_text())["project"]


def _version():
    return (ROOT / "VERSION").read_text().strip()


def _metadata():
    """METADATA of core metadata 2.1 (PyPA), from pyproject.toml."""
    p = _project()
    lines = ["Metadata-Version: 2.1", f"Name: {p['name']}", f"Version: {_version()}", f"Summary: {p['description']}",
             f"License: {p['license']}", f"Requires-Python: {p['requires-python']}"]
    lines += [f"Requires-Dist: {d}" for d in p["dependencies"]]
    for extra, needs in p["optional-dependencies"].items():
        lines += [f"Provides-Extra: {extra}"] + [f'Requires-Dist: {d}; extra == "{extra}"' for d in needs]
    return "\n".join([*lines, "Description-Content-Type: text/markdown", "", (HERE / p["readme"]).read_text()])


def _info():
    return f"openautoglm-{_version()}.dist-info"


def _tag(pure):
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    return "py3-none-any" if pure else f"py3-none-{platform}"


def _library():
    """Builds the library and gives its path; OPENAUTOGLM_LIBRARY may name one that is there."""
    named = os.environ.get("OPENAUTOGLM_LIBRARY")
    if named:
        return Path(named)
    r = subprocess.run(["make", "-s", "-C", str(ROOT), f"-j{os.cpu_count()}", "build/libopenautoglm.so"], check=False)
    if r.returncode != 0:
        sys.exit("openautoglm: the library could not be built; `./setup.sh packages` installs what that needs")
    return ROOT / "build" / "libopenautoglm.so"


def _files():
    """Path in the wheel -> path here, of a wheel that runs by itself."""
    files = {str(p.relative_to(HERE)): p for p in sorted((HERE / "openautoglm").rglob("*"))
             if p.is_file() and not SKIPPED & set(p.relative_to(HERE).parts) and p.suffix != ".pyc"}
    files |= {f"openautoglm/lib/{MODEL}/{p.name}": p for p in sorted((ROOT / MODEL).iterdir()) if p.is_file()}
    files["openautoglm/lib/openautoglm.h"] = ROOT / "library" / "openautoglm.h"
    files[f"{_info()}/LICENSE"] = ROOT / "LICENSE"
    return files


def _stripped(library, folder):
    """A copy without what only debuggers read, where strip is installed."""
    out = Path(folder) / "libopenautoglm.so"
    shutil.copy(library, out)
    if shutil.which("strip"):
        subprocess.run(["strip", "--strip-unneeded", str(out)], check=True)
    return out


def _write(path, contents, tag):
    """A wheel of these contents (name -> bytes), with its record; the same contents give the same bytes."""
    contents[f"{_info()}/METADATA"] = _metadata().encode()
    pure = str(tag.endswith("-any")).lower()
    contents[f"{_info()}/WHEEL"] = (f"Wheel-Version: 1.0\nGenerator: openautoglm\nRoot-Is-Purelib: {pure}\n"
                                    f"Tag: {tag}\n").encode()
    record = f"{_info()}/RECORD"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        lines = []
        for name, data in contents.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            lines.append(f"{name},sha256={digest},{len(data)}")
            z.writestr(_entry(name), data)
        z.writestr(_entry(record), "\n".join([*lines, f"{record},,", ""]))


def _entry(name):
    e = zipfile.ZipInfo(name)
    e.compress_type = zipfile.ZIP_DEFLATED
    e.external_attr = 0o644 << 16
    return e


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """PEP 517."""
    with tempfile.TemporaryDirectory() as folder:
        files = _files() | {"openautoglm/lib/libopenautoglm.so": _stripped(_library(), folder)}
        tag = _tag(pure=False)
        name = f"openautoglm-{_version()}-{tag}.whl"
        _write(Path(wheel_directory) / name, {to: p.read_bytes() for to, p in files.items()}, tag)
    return name


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """PEP 660: the package is used where it lies, with the library in build/."""
    _library()
    tag = _tag(pure=True)
    name = f"openautoglm-{_version()}-{tag}.whl"
    _write(Path(wheel_directory) / name, {"openautoglm.pth": f"{HERE}\n".encode()}, tag)
    return name


def build_sdist(sdist_directory, config_settings=None):
    """PEP 517 wants it; there is none, because the sources of the library lie outside of this folder."""
    raise NotImplementedError("openautoglm is built from a checkout: pip install ./python, or make wheel")


if __name__ == "__main__":
    Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
    print(Path(sys.argv[1]) / build_wheel(sys.argv[1]))
