"""What was measured, as a table, a table of ratios, and a chart."""
import os
import platform
import statistics
import subprocess
import time
from xml.sax.saxutils import escape

import peers
import rows
import servers

# Instructions that the kernels of these projects ask for.
FLAGS = ("avx2 fma f16c avx_vnni avx512f avx512bw avx512_vnni avx512_bf16 avx512_fp16 amx_tile amx_bf16 amx_int8 "
         "asimd asimddp i8mm bf16 sve").split()
# Of the chart: colours of a project on light and on dark ground, and sizes in units of the picture.
COLOURS = {"ours": ("#0969da", "#4493f8"), "llama.cpp": ("#bc4c00", "#f0883e"), "openvino": ("#8250df", "#a371f7"),
           "vllm": ("#1a7f37", "#3fb950"), "own": ("#57606a", "#8b949e")}
COLUMNS, PANEL, BAR, GAP, LABEL, VALUE = 2, 440, 16, 5, 150, 60


def output(*command):
    """What a program prints, or nothing if there is no such program."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def cpuinfo():
    """Fields of the first processor."""
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        first = f.read().split("\n\n")[0]
    return {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in first.splitlines())}


def machine():
    """Date, processor, its instructions and peaks, and the versions of what was measured."""
    cpu = cpuinfo()
    have = (cpu.get("flags") or cpu.get("Features") or "").split()
    with open("/proc/meminfo", encoding="ascii") as f:
        memory = int(f.readline().split()[1]) >> 20
    bench = os.path.join(peers.ROOT, "build", "tests", "bench", "ops_bench")
    with open(os.path.join(peers.ROOT, "VERSION"), encoding="ascii") as f:
        version = f.read().strip()
    commit = output("git", "-C", peers.ROOT, "rev-parse", "--short", "HEAD")
    return {"date": time.strftime("%Y-%m-%d"), "processor": cpu.get("model name", platform.machine()),
            "cores": os.cpu_count(), "memory_gib": memory, "instructions": [f for f in FLAGS if f in have],
            "peaks": output(bench, "--only", "peaks alone"), "kernel": platform.release(),
            "compiler": output("cc", "--version").split("\n")[0],
            "versions": {"openautoglm": f"{version} ({commit})", **peers.VERSIONS}}


def figure(results, server, row):
    """The median of what was measured, or with results["best"] the best of it; None where nothing was."""
    numbers = results["values"].get(server, {}).get(row)
    if not numbers:
        return None
    if not results.get("best"):
        return statistics.median(numbers)
    return max(numbers) if row in rows.ROWS and rows.ROWS[row][2] else min(numbers)


def all_rows():
    """(key, name, unit, whether more is better) of the rows in the order of the table."""
    start = [(key, *row) for key, row in rows.START.items()]
    return start[:2] + [(key, *row[:3]) for key, row in rows.ROWS.items()] + start[2:]


def written(x):
    """Three digits that count."""
    if x is None:
        return "–"
    digits = 0 if x >= 99.95 else 1 if x >= 9.995 else 2
    return f"{x:.{digits}f}"


def table(results):
    """Both tables in Markdown: the figures with the best of a row in bold, and ours against the best of the others."""
    used = [s for s in servers.SERVERS if s in results["values"]]
    lines = ["| | " + " | ".join(servers.SERVERS[s].title for s in used) + " |", "|---" * (len(used) + 1) + "|"]
    for key, name, unit, more in all_rows():
        values = [figure(results, s, key) for s in used]
        known = [v for v in values if v is not None]
        if known:
            best = max(known) if more else min(known)
            cells = [f"**{written(v)}**" if v == best else written(v) for v in values]
            lines.append(f"| {name} ({unit}) | " + " | ".join(cells) + " |")
    ratios = list(compared(results, used))
    if ratios:
        lines += ["", "| | best of the others | ours, at no more bits | ours ÷ best |", "|---|---|---|---|"]
        lines += [f"| {name} ({unit}) | {written(theirs)}, {servers.SERVERS[a].title} | "
                  f"{written(mine)}, {servers.SERVERS[b].title} | {mine / theirs:.2f} |"
                  for name, unit, a, theirs, b, mine in ratios]
    return "\n".join(lines)


def compared(results, used):
    """For each row the best of the others, and our best with weights of no more bits than that one's."""
    for key, name, unit, more in all_rows():
        values = {s: figure(results, s, key) for s in used if figure(results, s, key) is not None}
        choose = max if more else min
        others = [s for s in values if servers.SERVERS[s].project not in ("ours", "own")]
        if not others:
            continue
        theirs = choose(others, key=values.get)
        mine = [s for s in values if servers.SERVERS[s].project == "ours" and
                servers.SERVERS[s].bits <= servers.SERVERS[theirs].bits]
        if mine:
            ours = choose(mine, key=values.get)
            yield name, unit, theirs, values[theirs], ours, values[ours]


def chart(results):
    """An SVG of one panel of bars for each row. It has no ground of its own and follows the reader's choice of light
    or dark."""
    used = [s for s in servers.SERVERS if s in results["values"]]
    shown = [row for row in all_rows() if any(figure(results, s, row[0]) is not None for s in used)]
    high = len(used) * (BAR + GAP) + 52
    width, height = COLUMNS * PANEL, (len(shown) + COLUMNS - 1) // COLUMNS * high + 8
    light = "".join(f".{k.replace('.', '')}{{fill:{v[0]}}}" for k, v in COLOURS.items())
    dark = "".join(f".{k.replace('.', '')}{{fill:{v[1]}}}" for k, v in COLOURS.items())
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
             f'height="{height}" role="img" aria-label="Servers compared, one panel for each row of the table">',
             f"<style>text{{font:12px sans-serif;fill:#1f2328}}.title{{font-weight:bold}}{light}"
             f"@media (prefers-color-scheme:dark){{text{{fill:#e6edf3}}{dark}}}</style>"]
    for i, row in enumerate(shown):
        parts += panel(results, used, row, i % COLUMNS * PANEL, i // COLUMNS * high)
    return "\n".join(parts + ["</svg>\n"])


def panel(results, used, row, x, y):
    """The elements of one panel whose corner is at (x, y)."""
    key, name, unit, more = row
    values = {s: figure(results, s, key) for s in used}
    largest = max(v for v in values.values() if v is not None) or 1
    yield (f'<text class="title" x="{x + 8}" y="{y + 24}">{escape(name)}</text><text x="{x + 8}" y="{y + 40}">'
           f'{unit}, {"more" if more else "less"} is better</text>')
    for i, (s, v) in enumerate(values.items()):
        top = y + 48 + i * (BAR + GAP)
        long = 0 if v is None else max(1, round(v / largest * (PANEL - LABEL - VALUE)))
        yield (f'<text x="{x + LABEL - 6}" y="{top + 12}" text-anchor="end">{escape(servers.SERVERS[s].title)}</text>'
               f'<rect class="{servers.SERVERS[s].project.replace(".", "")}" x="{x + LABEL}" y="{top}" width="{long}" '
               f'height="{BAR}" rx="2"/><text x="{x + LABEL + long + 6}" y="{top + 12}">{written(v)}</text>')


def save_chart(results, path):
    with open(path, "w", encoding="utf-8") as f:
        f.write(chart(results))
