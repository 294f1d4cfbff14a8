"""Sizes and pixel values of `openautoglm preprocess` against the golden files.

    python tests/model/preprocess.py [build/openautoglm]

Needs NumPy and Pillow.  The pictures are drawn as python/golden.py draws them;
their hashes there are those of transformers' pixel values.
"""
import glob
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
from PIL import Image


def picture(w, h, seed):
    g = np.random.default_rng(seed)
    y, x = np.mgrid[0:h, 0:w]
    base = np.stack([x * 255 / w, y * 255 / h, (x + y) * 255 / (w + h)], -1)
    return np.clip(base + g.normal(0, 40, (h, w, 3)), 0, 255).astype(np.uint8)


def main():
    program = sys.argv[1] if len(sys.argv) > 1 else "build/openautoglm"
    equal = failed = 0
    with tempfile.TemporaryDirectory() as tmp:
        png, drawn = os.path.join(tmp, "a.png"), None
        cases = [(row["size"], path, row) for path in sorted(glob.glob("tests/model/*/*/golden.json") +
                                                                 glob.glob("tests/model/*/*/vectors.json"))
                 for row in json.load(open(path)).get("preprocessing", [])]
        for (w, h), path, want in sorted(cases, key=lambda c: (c[0], c[1])):
            if drawn != (w, h):
                Image.fromarray(picture(w, h, w * 10000 + h)).save(png, compress_level=1)
                drawn = (w, h)
            model = os.path.dirname(path)
            run = subprocess.run([program, "preprocess", "--model", model, "--image", png], capture_output=True,
                                 text=True)
            if "error" in want:
                ok = run.returncode != 0
            else:
                have = json.loads(run.stdout or "{}")
                ok = (have.get("sha256") == want["sha256"] and
                      ("grid" not in want or [2 * n for n in have["grid"]] == want["grid"][1:]))
            equal, failed = equal + ok, failed + (not ok)
            if not ok:
                print(f"{model}: {w}x{h}: {run.stdout or run.stderr} not {want}")
    print(f"{equal} equal, {failed} different")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
