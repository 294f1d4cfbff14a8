"""Writes the parts of a release as CycloneDX JSON: sbom.py VERSION ROOT LIBRARY... > sbom.json

ROOT is the root of a Debian system (or its unpacked packages) from which the libraries were taken; its package database
says which package and version each is of.
"""

import json
import re
import sys
from hashlib import sha256
from pathlib import Path


def owners(root):
    """The package of every library's path, and the version of every package."""
    versions, paths = {}, {}
    for block in (root / "var/lib/dpkg/status").read_text().split("\n\n"):
        fields = dict(re.findall(r"^(Package|Version|Architecture|Source): (.*)$", block, re.M))
        if fields:
            versions[fields["Package"]] = fields
    for listing in (root / "var/lib/dpkg/info").glob("*.list"):
        package = listing.name.removesuffix(".list").split(":")[0]
        for line in listing.read_text().splitlines():
            if ".so" in line:
                paths[Path(line).name] = package
    return versions, paths


def component(package, fields, files):
    version = fields["Version"]
    return {
        "type": "library", "name": package, "version": version,
        "bom-ref": f"{package}@{version}",
        "purl": f"pkg:deb/debian/{package}@{version.replace('+', '%2B')}?arch={fields['Architecture']}",
        "properties": [{"name": "file", "value": f"{f.name} sha256:{sha256(f.read_bytes()).hexdigest()}"}
                       for f in files],
    }


def main():
    version, root, *libraries = sys.argv[1:]
    versions, paths = owners(Path(root))
    by_package = {}
    for library in map(Path, libraries):
        if library.name not in paths:
            sys.exit(f"sbom: no package of {root} has {library.name}")
        by_package.setdefault(paths[library.name], []).append(library)
    parts = [component(p, versions[p], sorted(by_package[p])) for p in sorted(by_package)]
    json.dump({
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": {"component": {"type": "application", "name": "openautoglm", "version": version,
                                   "bom-ref": "openautoglm", "licenses": [{"license": {"id": "Apache-2.0"}}]}},
        "components": parts,
        "dependencies": [{"ref": "openautoglm", "dependsOn": [p["bom-ref"] for p in parts]}],
    }, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
