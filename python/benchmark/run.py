"""Our server and others beside it, asked the same things in turn.

    python/benchmark/run.py [--servers KEY,...] [--rows KEY,...] [--rounds 3] [--size 647m|3b] [--add]

`make bench-peers` calls it; ARGS="..." passes options on.  Each round starts
one server after the other, asks it the chosen rows, and stops it, so that all
have the whole machine and meet the same disturbances.  What was measured goes
to build/peers/results-SIZE.json, and a table and a chart are made of the
medians (--best: of the best).  --add keeps what the file has, so that a run may be done in pieces.
"""
import argparse
import json
import os
import random
import signal
import sys

import peers
import report
import rows
import servers


def options():
    a = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    a.add_argument("--servers", default=",".join(servers.COMPARED), help="of " + ", ".join(servers.SERVERS))
    a.add_argument("--rows", default=",".join(rows.DEFAULT_ROWS), help="of " + ", ".join(rows.ROWS))
    a.add_argument("--rounds", type=int, default=3)
    a.add_argument("--size", choices=peers.model.SIZES, default="647m")
    a.add_argument("--add", action="store_true", help="to what was measured before")
    a.add_argument("--install", action="store_true", help="install and convert, and measure nothing")
    a.add_argument("--report", action="store_true", help="print what was measured before, and do nothing else")
    a.add_argument("--best", action="store_true",
                   help="show the best of all rounds, not the median: where other work disturbs, which only slows down")
    a.add_argument("--results", help="another file than build/peers/results-SIZE.json")
    a.add_argument("--chart", help="write a chart to this file (SVG)")
    a = a.parse_args()
    for name, known in ("servers", servers.SERVERS), ("rows", rows.ROWS):
        chosen = [key for key in getattr(a, name).split(",") if key]
        for key in chosen:
            if key not in known:
                sys.exit(f"bench-peers: --{name}: there is no {key}; there are {', '.join(known)}")
        setattr(a, name, chosen)
    a.results = a.results or os.path.join(peers.PEERS, f"results-{a.size}.json")
    return a


def load(path, size):
    """What was measured: {"size", "machine", "values": {server: {row: list of numbers}}, "prompts"}."""
    if os.path.exists(path):
        with open(path, encoding="utf-8") as f:
            return json.load(f)
    return {"size": size, "values": {}, "prompts": {}}


def save(path, results):
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path + ".new", "w", encoding="utf-8") as f:
        json.dump(results, f, indent=1)
    os.replace(path + ".new", path)


def measure(key, chosen, size, seed, keep, results):
    """One server, all rows once. keep: called with (row, number) as each is known."""
    log = os.path.join(peers.PEERS, f"{key}.log")
    streams = max([rows.ROWS[row][4].get("streams", 1) for row in chosen] + [16])
    with servers.running(key, size, streams, log) as (port, pid, seconds):
        keep("ready", seconds)
        keep("resident", servers.resident(pid))
        lab = rows.Lab(port, random.Random(seed))
        rows.warm_up(lab)
        results["prompts"].setdefault(key, {})
        for row in chosen:
            _, _, _, function, fields = rows.ROWS[row]
            lab.streams, lab.pixels = fields.get("streams", 1), fields.get("pixels", ())
            try:
                number = function(lab)
                results["prompts"][key].update(lab.prompts)
                keep(row, number)
            except (RuntimeError, OSError) as e:
                peers.say(f"{key}, {row}: {e}")
        if set(chosen) >= set(rows.DEFAULT_ROWS):
            keep("later", servers.resident(pid))


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))          # and the server that runs is stopped
    a = options()
    if not a.report:
        for key in a.servers:
            servers.installed(key, a.size)
    if a.install:
        return
    results = load(a.results, a.size) if a.add or a.report else load("", a.size)
    if not a.report:
        results["machine"] = report.machine()
    for n in range(0 if a.report else a.rounds):
        for key in a.servers:
            def keep(row, number):
                results["values"].setdefault(key, {}).setdefault(row, []).append(number)
                peers.say(f"round {n + 1}, {key}, {row}: {number:.3f}")
                save(a.results, results)
            try:
                measure(key, a.rows, a.size, f"{n} {len(results['values'].get(key, {}).get('ready', []))}", keep,
                        results)
            except RuntimeError as e:
                peers.say(e)
    results["best"] = a.best
    print(report.table(results))
    if a.chart:
        report.save_chart(results, a.chart)


if __name__ == "__main__":
    main()
