"""What the compiler and the emulator tell about the CUDA kernels, and what it would mean on GPUs: docs/cuda.md's last
section.

    make cuda-report                       # builds what is needed, then runs this; some ten minutes
    tests/cusim/report.py [--print]        # --print: to standard output, docs/cuda.md stays as it is

Registers, spills and shared memory come from ptxas' logs (build/cuda/*.log), instructions from cuobjdump, work from
tests/cusim/count_step.c on checkpoints of AutoGLM-Phone-9B's full width with one and two layers, extended to all of
them. Everything about time is arithmetic.
"""
import argparse
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOC, HEADING = ROOT / "docs" / "cuda.md", "## Predicted, not measured"
MODEL, LAYERS, VISION_LAYERS = "AutoGLM-Phone-9B", 40, 24

# Of a multiprocessor: threads, blocks, shared memory (CUDA's cuda_occupancy.h).
PROCESSOR = {"80": (2048, 32, 164), "86": (1536, 16, 100), "89": (1536, 24, 100), "90": (2048, 32, 228),
             "100": (2048, 32, 228), "120": (1536, 24, 100)}
# Bandwidth in GB/s, dense bfloat16 with float32 sums in TFLOP/s, memory in GB, dense int8 in TOP/s: NVIDIA's data
# sheets.
GPUS = {"H200": (4800, 989, 141, 1979), "H100 SXM": (3350, 989, 80, 1979), "A100 80 GB": (2039, 312, 80, 624),
        "RTX 4090": (1008, 165, 24, 660), "RTX 3060": (360, 25.5, 12, 102)}
WEIGHTS = ["bf16", "int8", "int8 rounded", "int4"]       # rounded: --activations int8
LAUNCH = 1.0e-6         # seconds from one kernel to the next inside a graph; assumed
INSTRUCTIONS = {"HMMA": r"HMMA|IMMA|QMMA", "LDSM": r"LDSM", "LDGSTS.128": r"LDGSTS\S*128", "LDG.128": r"LDG\.\S*128"}


def run(*command, **more):
    return subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True, cwd=ROOT,
                          **more).stdout


def demangle(names):
    out = run("c++filt", input="\n".join(names)).splitlines()
    return {n: re.sub(r"^void |\(anonymous namespace\)::", "", d).split("(")[0].replace("> >", ">>") for n,
            d in zip(names, out)}


def compiled():
    """{kernel: {arch: (registers, static shared bytes, spilled bytes)}} from the logs of ptxas."""
    found = {}
    for log in sorted((ROOT / "build" / "cuda").glob("*.log")):
        name = arch = spill = None
        for line in log.read_text().splitlines():
            if m := re.search(r"Compiling entry function '(\w+)' for 'sm_(\d+)'", line):
                name, arch = m.groups()
            elif m := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line):
                spill = max(map(int, m.groups()))
            elif m := re.search(r"Used (\d+) registers", line):
                shared = re.search(r"(\d+) bytes smem", line)
                found.setdefault(name, {})[arch] = int(m[1]), int(shared[1]) if shared else 0, spill
    names = demangle(list(found))
    return {names[k]: v for k, v in found.items()}


def instructions(arch):
    """{kernel: {instruction: count}} of the machine code; {} without cuobjdump."""
    tool = shutil.which("cuobjdump", path=os.environ["PATH"] + ":/usr/local/cuda/bin")
    if not tool:
        print("skip: cuobjdump is not there (pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm)", file=sys.stderr)
        return {}
    found, name = {}, None
    objects = sorted((ROOT / "build" / "cuda").glob("*.o"))
    for line in "".join(run(tool, "-sass", "-arch", f"sm_{arch}", o) for o in objects
                        if o.with_suffix(".o.log").exists()).splitlines():
        if m := re.search(r"Function : (\w+)", line):
            name = found.setdefault(m[1], dict.fromkeys(INSTRUCTIONS, 0))
        elif name is not None:
            for what, pattern in INSTRUCTIONS.items():
                name[what] += bool(re.search(rf"\s(@!?U?P\d+ )?({pattern})\b", line))
    names = demangle(list(found))
    return {names[k]: v for k, v in found.items()}


def occupancy(arch, registers, threads, shared):
    """Share of a multiprocessor's threads that can be there at once."""
    most_threads, most_blocks, kib = PROCESSOR[arch]
    warps = math.ceil(threads / 32)
    by_registers = 16384 // (math.ceil(registers * 32 / 256) * 256) * 4 // warps
    by_shared = kib * 1024 // (math.ceil((shared + 1024) / 128) * 128)
    return min(most_threads // (warps * 32), most_blocks, by_registers, by_shared) * warps * 32 / most_threads


def count(layers, vision_layers, weights):
    """{scenario: {(kernel, threads, dynamic shared): counters}} of the model with so many layers; kept in
    build/cusim."""
    library = ROOT / "build" / "libopenautoglm_cusim_checked.so"
    kept = ROOT / "build" / "cusim" / f"count-{layers}-{vision_layers}-{weights}.json"      # a minute's work
    if not kept.exists() or kept.stat().st_mtime < library.stat().st_mtime:
        with tempfile.TemporaryDirectory() as folder:
            run(sys.executable, "python/full.py", "--hollow", "--layers", layers, "--vision-layers", vision_layers,
                folder)
            text = run("build/tests/cusim/count_step", folder, *(weights.split() if weights != "bf16" else []))
        kept.write_text(text)
    text, symbols = kept.read_text(), {}
    for line in run("nm", library).splitlines():
        parts = line.split()
        if len(parts) == 3 and parts[1] in "tT":
            symbols[int(parts[0], 16)] = parts[2]
    names = demangle(list(symbols.values()))
    return {s: {(names[symbols[k["offset"]]], k["threads"], k["shared"]): k for k in v}
            for s, v in json.loads(text).items() if isinstance(v, list)}


def whole(weights):
    """The counters of all layers: what the second layer adds, so often."""
    one, two = count(1, 1, weights), count(2, 2, weights)
    total = {}
    for scenario, kernels in two.items():
        more = (VISION_LAYERS if scenario == "screenshot" else LAYERS) - 1
        total[scenario] = {}
        for key, k in kernels.items():
            first = one[scenario].get(key, {})
            total[scenario][key] = {what: first.get(what, 0) + (k[what] - first.get(what, 0)) * more
                                    for what in ("launches", "loads", "stores", "unique", "tensor")}
    return total


def seconds(kernels, gpu):
    bandwidth, peak, _, int8_peak = GPUS[gpu]
    return sum(max(k["unique"] / (bandwidth * 1e9),
                   k["tensor"] / ((int8_peak if name.startswith("linear_int8") else peak) * 1e12))
               + k["launches"] * LAUNCH for (name, *_), k in kernels.items())


def table(head, rows):
    yield "| " + " | ".join(head) + " | | " + " | ".join("---" for _ in head) + " |"
    for row in rows:
        yield "| " + " | ".join(map(str, row)) + " |"
    yield ""


def kernel_table(kernels, launches, code):
    """One row per kernel that the scenarios launch."""
    used = sorted({key for s in launches.values() for key in s})
    archs = [a for a in PROCESSOR if any(a in k for k in kernels.values())]
    rows = []
    for name, threads, shared in used:
        k = kernels.get(name)
        if not k:
            continue
        static = max(v[1] for v in k.values())
        rows.append([f"`{name}`", threads, f"{(static + shared) / 1024:.1f}",
                     " ".join(str(k[a][0]) if a in k else "-" for a in archs),
                     " ".join(f"{100 * occupancy(a, k[a][0], threads, k[a][1] + shared):.0f}" if a in k else "-"
                              for a in archs), max(v[2] for v in k.values()),
                     *(code.get(name, {}).get(i, "-") for i in INSTRUCTIONS)])
    head = ["kernel", "threads", "shared KiB", "registers on " + " ".join(archs), "occupancy %", "spilled bytes",
            *INSTRUCTIONS]
    return table(head, rows)


def plans(weights):
    """{(weights, GPU): what `openautoglm plan` says of a card of that size}."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        run(sys.executable, "python/full.py", "--hollow", folder)
        for w in weights:
            for gpu, (_, _, size, _) in GPUS.items():
                r = subprocess.run([ROOT / "build/openautoglm", "plan", "--json", "--model", folder, "--device",
                                    "cusim", "--weights", w.split()[0],
                                    "--gpu-memory", f"{size}G"], capture_output=True, text=True)
                found[w, gpu] = json.loads(r.stdout)
    return found


def all_counts():
    """{weights: whole(weights)} of the precisions that the backend can multiply with."""
    counts = {}
    for w in WEIGHTS:
        try:
            counts[w] = whole(w)
        except subprocess.CalledProcessError as e:
            print(f"skip: {w}: {e.stderr.strip()}", file=sys.stderr)
    return counts


def section():
    kernels = compiled()
    arch = next(a for a in PROCESSOR if a in next(v for k, v in kernels.items() if k.startswith("linear_kernel")))
    code = instructions(arch)
    counts = all_counts()
    yield HEADING
    yield ""
    yield f"Written by `make cuda-report`. {MODEL} is {LAYERS} layers and {VISION_LAYERS} of vision; a context of"
    yield f"3,500 tokens. Instructions are those of sm_{arch}, counted in the code and not as they are executed."
    yield "Occupancy is the share of a multiprocessor's threads that fit at once. Two blocks of every launch stand"
    yield "for all of them. Bytes are those of device memory, each touched address once for a kernel: exact for"
    yield "decode; for prompts and the screenshot what several blocks read of the same rows counts for each of them,"
    yield "an upper bound, and so are their times."
    yield ""
    yield from kernel_table(kernels, {(w, s): k for w, scenarios in counts.items() for s, k in scenarios.items()}, code)
    rows = []
    for w, scenarios in counts.items():
        for s, k in scenarios.items():
            total = {what: sum(x[what] for x in k.values()) for what in ("launches", "unique", "loads", "tensor")}
            rows.append([s, w, f"{total['launches']:,}", f"{total['unique'] / 1e9:.2f}", f"{total['loads'] / 1e9:.1f}",
                         f"{total['tensor'] / 1e12:.2f}"])
    yield from table(["step", "weights", "launches", "GB", "GB loaded, also from caches", "tensor-core TFLOP"], rows)
    layer, more = (sum(k["launches"] - count(1, 1, "bf16")[s].get(key, {"launches": 0})["launches"]
                       for key, k in count(2, 2, "bf16")[s].items()) for s in ("decode, 1 request",
                                                                               "decode, 16 requests"))
    yield f"A decoder layer is {layer} launches in a decode step of one or two requests (with the merge of split"
    yield f"attention), {more} of more. That the last block of a linear norms the rows by itself takes no time here;"
    yield "on a GPU it takes some microseconds."
    used = ", sm_".join(a for a in PROCESSOR if any(a in k for k in kernels.values()))
    yield f"Everything is of the sources compiled for sm_{used}."
    yield ""
    yield "Decode multiplies 8 or 16 rows whatever the batch, and every product is made twice where activations are"
    yield "split into two bfloat16: tensor-core work is what is executed, not what the model needs. *int8 rounded*:"
    yield "`--activations int8`; no screenshot was counted with quantised weights."
    yield ""
    yield "The roofline: every kernel takes its bytes at full bandwidth or its operations at full peak, whichever is"
    yield "longer, and one microsecond more (assumed; steps are replayed as graphs). `mma.sync` does not reach the"
    yield "peak of an H100 or H200; caches that miss, float32 arithmetic outside tensor cores (patch embedding,"
    yield "downsampling, norms), tails of waves and low occupancy are not in it. *of the roof*: the time of the bytes"
    yield "alone, as a share."
    yield ""
    rows = []
    for (w, g), plan in plans(counts).items():
        bandwidth = GPUS[g][0]
        c = counts[w]
        if not plan["fits"]:
            rows.append([g, w, f"does not fit ({plan['weights_bytes'] / 2**30:.1f} GiB of weights)", "", "", "", ""])
            continue
        one, many = (seconds(c[f"decode, {n}"], g) for n in ("1 request", "16 requests"))
        roof = sum(k["unique"] for k in c["decode, 1 request"].values()) / (bandwidth * 1e9)
        rows.append([g, w, f"{1e3 * one:.1f}", f"{100 * roof / one:.0f} %", f"{16 / many:.0f}",
                     f"{512 / seconds(c['prompt, 512 rows'], g):,.0f}",
                     f"{seconds(c['screenshot'], g):.2f}" if "screenshot" in c else "-"])
    yield from table(["GPU", "weights", "ms a token, 1 request", "of the roof", "tokens/s, 16 requests",
                      "prompt tokens/s", "s a 1080x2400 screenshot"], rows)


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--print", action="store_true")
    a = a.parse_args()
    text = "\n".join(section()).rstrip() + "\n"
    if a.print:
        print(text)
        return
    old = DOC.read_text()
    start = old.index(HEADING)
    rest = re.search(r"^## ", old[start + 3:], re.M)
    DOC.write_text(old[:start] + text + ("\n" + old[start + 3 + rest.start():] if rest else ""))


if __name__ == "__main__":
    main()
