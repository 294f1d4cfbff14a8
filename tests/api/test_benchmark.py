"""The benchmark beside other servers, on a tiny model and with our server alone: every row gives a number, the prompts
have the length that the rows' names promise, and the table and the chart show them. Speeds are not looked at."""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path

import pytest

from conftest import BIN, PATIENCE, ROOT

SCRIPT = ROOT / "python" / "benchmark" / "run.py"
BENCH = Path(BIN).parent / "tests" / "bench" / "ops_bench"
ROWS = "text,448,same,turn,decode,streams4,pause448"


def run(*options):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENAUTOGLM_")} | {"OPENAUTOGLM_BIN": BIN}
    return subprocess.run([sys.executable, SCRIPT, *map(str, options)], env=environment, capture_output=True, text=True,
                          timeout=PATIENCE)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """(output, results, chart) of one round with two types of weights."""
    out = tmp_path_factory.mktemp("benchmark")
    r = run("--size", "tiny", "--servers", "ours-bf16,ours-int4", "--rows", ROWS, "--rounds", 1, "--results",
            out / "results.json", "--chart", out / "chart.svg")
    assert r.returncode == 0, r.stderr
    return r, json.loads((out / "results.json").read_text()), (out / "chart.svg").read_text(), out


def test_every_row_gives_a_number(done):
    r, results, _, _ = done
    for server in "ours-bf16", "ours-int4":
        values = results["values"][server]
        assert set(values) == {"ready", "resident", *ROWS.split(",")}, r.stderr
        assert all(len(v) == 1 and v[0] > 0 for v in values.values())
        prompts = results["prompts"][server]
        assert prompts["text"] == 531
        assert prompts["448x448"] == 16 + 39 + 256          # the words, the template, the picture


def test_the_table_and_the_chart_show_it(done):
    r, _, chart, _ = done
    lines = r.stdout.splitlines()
    assert lines[0] == "| | ours bf16 | ours int4 |"
    assert sum(line.startswith("| first token, 531-token prompt (s) |") for line in lines) == 1
    root = xml.etree.ElementTree.fromstring(chart)
    texts = [e.text for e in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts.count("ours int4") == 9 and "decode, 1 stream" in texts


def test_more_is_added_to_what_was_measured(done):
    _, _, _, out = done
    r = run("--size", "tiny", "--servers", "ours-bf16", "--rows", "text", "--rounds", 1, "--add", "--results",
            out / "results.json")
    assert r.returncode == 0, r.stderr
    values = json.loads((out / "results.json").read_text())["values"]
    assert len(values["ours-bf16"]["text"]) == 2 and len(values["ours-int4"]["text"]) == 1


def test_ratios_are_against_the_best_of_others_at_equal_or_more_bits(tmp_path):
    values = {"ours-bf16": {"text": [1.0]}, "ours-int8": {"text": [3.0, 2.0, 9.0]}, "ours-int4": {"text": [4.0]},
              "llama-q8": {"text": [6.0]}, "llama-q4": {"text": [8.0]}}
    (tmp_path / "r.json").write_text(json.dumps({"size": "tiny", "values": values, "prompts": {}}))
    r = run("--report", "--results", tmp_path / "r.json")
    assert "| 6.00, llama.cpp Q8_0 | 3.00, ours int8 | 0.50 |" in r.stdout, r.stdout + r.stderr
    r = run("--report", "--best", "--results", tmp_path / "r.json")
    assert "| 6.00, llama.cpp Q8_0 | 2.00, ours int8 | 0.33 |" in r.stdout, r.stdout + r.stderr


def test_an_unknown_row_is_named():
    r = run("--rows", "text,lunch")
    assert r.returncode == 1 and "there is no lunch" in r.stderr


@pytest.mark.skipif(not BENCH.exists(), reason="is not built with a sanitizer, nor by `make` alone")
def test_operations():
    """`make bench` goes through its products and an attention; the figures are not looked at."""
    for only, names in (("1024 -> 1024, 4 rows", ["linear bf16", "linear int8", "linear int4"]),
                        ("attend 1 rows", ["attend"])):
        r = subprocess.run([BENCH, "--json", "--threads", "2", "--cold", "8", "--only", only], capture_output=True,
                           text=True, timeout=PATIENCE)
        assert r.returncode == 0, r.stderr
        rows = json.loads(r.stdout)["operations"]
        for name in names:
            assert any(row["name"].startswith(name) for row in rows), rows
