"""Sends generated and damaged requests to a running server and holds every answer against openapi.yaml.

    python3 -m venv V && V/bin/pip install schemathesis pillow
    build/openautoglm serve --port 8000 --max-model-len 512
    V/bin/python python/fuzz_api.py --url http://127.0.0.1:8000 --seed 1

First --chats valid chats with images are damaged: members of their JSON, bytes of their images, bytes of the whole
body. Then schemathesis makes requests from the schemas, valid and invalid ones, in as many rounds as --generated needs.
An answer of 5xx, one whose status, type or content openapi.yaml does not describe, and an invalid request that is
accepted are faults; each is printed with its request. Not a fault: 400 for what only the server can know to be wrong,
such as a regular expression or a picture. The same seed makes the same requests. Ends with a summary, and with 1 if
there was a fault or the server is gone.
"""

import argparse
import base64
import collections
import copy
import datetime
import importlib.metadata
import io
import json
import random
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

import jsonschema_rs
import yaml
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parents[1]
SPEC = yaml.safe_load((ROOT / "openapi.yaml").read_text())
PATIENCE = 120
WORDS = ["", "x", "\u0000", "\ud83d\ude00", "<|image|>", "{{ x }}", "a" * 5000, "null", "-1", "data:", "%00"]
NUMBERS = [0, -1, 1, 2, 0.5, -0.0, 1e308, 10**30, 2**31, 2**63, -2**63, 1e-320]
FIELDS = sorted({name for part in ("Sampling", "Ignored", "NotSupported") for name in
                 SPEC["components"]["schemas"][part]["properties"]}
                | set(SPEC["components"]["schemas"]["ChatRequest"]["allOf"][3]["properties"]))
IMAGES = [(32, 64, "PNG"), (90, 40, "JPEG"), (64, 64, "WEBP"), (50, 70, "GIF"), (144, 288, "PNG")]


def picture(rng, width, height, kind):
    im = Image.new("RGB", (width, height), tuple(rng.randrange(256) for _ in range(3)))
    draw = ImageDraw.Draw(im)
    for _ in range(3):
        x, y = rng.randrange(width), rng.randrange(height)
        draw.rectangle([x, y, x + 9, y + 9], fill=tuple(rng.randrange(256) for _ in range(3)))
    out = io.BytesIO()
    im.save(out, kind)
    return out.getvalue()


def chats(url_of):
    """Valid bodies by path; url_of() is a data: URL of a picture, each time another one."""
    def ask(**more):
        return {"messages": [{"role": "system", "content": "Answer with one action."},
                             {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url_of()}},
                                                          {"type": "text", "text": "What is here?"}]}],
                "max_tokens": 6} | more
    schema = {"type": "object", "properties": {"x": {"type": "integer", "minimum": 0, "maximum": 99},
                                               "at": {"enum": ["sea", "land"]}}, "required": ["x"]}
    form = {"type": "json_schema", "json_schema": {"name": "p", "schema": schema}}
    told = {"stream": True, "stream_options": {"include_usage": True}, "logprobs": True, "top_logprobs": 3}
    held = {"structured_outputs": {"regex": "[a-c]{1,9}(d|e)*"}, "logit_bias": {"5": 3}, "stop": ["q"]}
    tool = {"type": "function", "function": {"name": "look", "parameters": schema}}
    url = url_of()
    media, data = re.match("data:(.*?);base64,(.*)", url).groups()
    source = {"type": "base64", "media_type": media, "data": data}
    return [
        ("/v1/chat/completions", ask()),
        ("/v1/chat/completions", ask(**told)),
        ("/v1/chat/completions", ask(response_format=form)),
        ("/v1/chat/completions", ask(tools=[tool], tool_choice="required", n=2, temperature=1, seed=5)),
        ("/v1/chat/completions", ask(**held)),
        ("/v1/chat/completions/render", ask()),
        ("/tokenize", ask()),
        ("/v1/responses", {"input": [
            {"role": "user", "content": [{"type": "input_image", "image_url": url, "detail": "auto"},
                                         {"type": "input_text", "text": "And here?"}]},
            {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{\"x\": 1}"},
            {"type": "function_call_output", "call_id": "c", "output": "calm"}],
            "tools": [{"type": "function", "name": "look", "parameters": schema}], "max_output_tokens": 6}),
        ("/v1/messages", {"max_tokens": 6, "system": [{"type": "text", "text": "Be brief."}], "messages": [
            {"role": "user", "content": [{"type": "image", "source": source},
                                         {"type": "text", "text": "And here?"}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "look", "input": {"x": 1}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "calm"}]}],
            "tools": [{"name": "look", "input_schema": schema}]}),
    ]


def places(value, at=()):
    """The paths of all values within."""
    yield at
    for key, v in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(v, (*at, key))


def some_value(rng):
    kind = rng.randrange(7)
    if kind < 2:
        return rng.choice(NUMBERS)
    if kind < 4:
        return rng.choice(WORDS)
    return rng.choice([None, True, False, [], {}, [[]], [None], {"": None}, [0] * 300, {"type": "text"}])


def damage_json(rng, body):
    """Replaces, removes, adds, wraps or repeats a value somewhere within, or gives the request one more field."""
    body = copy.deepcopy(body)
    if not body or rng.randrange(3) == 0:
        return body | {rng.choice(FIELDS): some_value(rng)}
    path = rng.choice([p for p in places(body) if p])
    parent = body
    for key in path[:-1]:
        parent = parent[key]
    key = path[-1]
    how = rng.randrange(6)
    if how == 0:
        del parent[key]
    elif how == 1 and isinstance(parent, list):
        parent[key:key] = [copy.deepcopy(parent[key])] * rng.choice([1, 2, 40])
    elif how == 2:
        parent[key] = [parent[key]] if rng.randrange(2) else {"type": parent[key]}
    elif how == 3 and isinstance(parent, dict):
        parent[rng.choice(WORDS) + str(key)] = parent.pop(key)
    elif how == 4 and isinstance(parent[key], str):
        text = parent[key]
        i = rng.randrange(len(text) + 1)
        parent[key] = text[:i] + rng.choice(WORDS) + text[i + rng.randrange(3):]
    else:
        parent[key] = some_value(rng)
    return body


def damage_bytes(rng, data):
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        i = rng.randrange(len(data)) if data else 0
        how = rng.randrange(4)
        if how == 0 and data:
            data[i] ^= 1 << rng.randrange(8)
        elif how == 1:
            data[i:i] = bytes(rng.randrange(256) for _ in range(rng.choice([1, 4])))
        elif how == 2:
            del data[i:i + rng.choice([1, 4, 40])]
        else:
            data[i:] = data[i:i + 1] * len(data[i:]) if rng.randrange(2) else b""
    return bytes(data)


def damaged_chats(rng, n):
    """(path, body as bytes): n of them, a fifth with damaged images, a tenth with a damaged body."""
    for _ in range(n):
        how = rng.randrange(10)

        def url_of():
            data = picture(rng, *(spec := rng.choice(IMAGES)))
            if how in (0, 1):
                data = damage_bytes(rng, data)
            return f"data:image/{spec[2].lower()};base64," + base64.b64encode(data).decode()
        path, body = rng.choice(chats(url_of))
        for _ in range(0 if how < 3 else rng.choice([1, 1, 1, 2, 4])):
            body = damage_json(rng, body)
        raw = json.dumps(body).encode()
        yield path, damage_bytes(rng, raw) if how == 2 else raw


def resolve(x):
    while "$ref" in x:
        at = SPEC
        for name in x["$ref"].removeprefix("#/").split("/"):
            at = at[name]
        x = at
    return x


VALIDATORS = {}


def validator(path, status, kind):
    """Of an answer, or None where openapi.yaml does not know it. Of a stream: of the JSON in its events."""
    key = path, status, kind
    if key not in VALIDATORS:
        response = resolve(SPEC["paths"][path]["post"]["responses"].get(str(status), {}))
        schema = response.get("content", {}).get(kind, {}).get("schema")
        if schema and kind == "text/event-stream":
            data = schema["properties"]["data"]
            schema = data.get("anyOf", [data])[-1]["contentSchema"]
        VALIDATORS[key] = schema and jsonschema_rs.Draft202012Validator(schema | {"components": SPEC["components"]})
    return VALIDATORS[key]


def fault_of(path, status, kind, data):
    """What is wrong with an answer, or None."""
    if status >= 500:
        return "5xx"
    v = validator(path, status, kind)
    if not v:
        return f"{status} {kind} is not described"
    try:
        if kind == "text/event-stream":
            values = [json.loads(line[6:]) for line in data.decode().splitlines()
                      if line.startswith("data: ") and line != "data: [DONE]"]
        else:
            values = [json.loads(data)]
        for value in values:
            v.validate(value)
    except (ValueError, jsonschema_rs.ValidationError) as e:
        return f"not as described: {str(e)[:300]}"
    return None


def post(url, path, body):
    """status, media type, body"""
    request = urllib.request.Request(url + path, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as r:
            return r.status, r.headers.get_content_type(), r.read()
    except urllib.error.HTTPError as e:
        with e:
            return e.code, e.headers.get_content_type(), e.read()


def run_chats(url, seed, n):
    """How often each status came, and the faults."""
    counts, faults = collections.Counter(), []
    for i, (path, body) in enumerate(damaged_chats(random.Random(seed), n)):
        try:
            status, kind, data = post(url, path, body)
            fault = fault_of(path, status, kind, data)
        except OSError as e:
            status, fault, data = 0, f"no answer: {e}", b""
        counts[status] += 1
        if fault:
            faults.append(f"chat {i}, POST {path}: {fault}\n  {body[:1500]!r}\n  {status} {data[:500]!r}")
            print(faults[-1], flush=True)
            if status == 0 and not alive(url):
                break
    return counts, faults


def run_generated(url, seed, n, each):
    """Rounds of schemathesis until there were n requests: how many there were, and what it says of faults."""
    made, faults, i = 0, [], 0
    while made < n:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "schemathesis.cli", "run", str(ROOT / "openapi.yaml"), "--url", url,
                       "--seed", str(seed + i), "-n", str(each), "--phases", "examples,fuzzing",
                       "--exclude-checks", "positive_data_acceptance", "--generation-database", "none",
                       "--continue-on-failure", "--no-color"]
            out = subprocess.run(command, capture_output=True, text=True, cwd=folder)
        found = re.search(r"(\d+) generated", out.stdout)
        if not found:
            faults.append(out.stdout + out.stderr)
            break
        made += int(found[1])
        i += 1
        if out.returncode != 0:
            faults.append(out.stdout)
            print(out.stdout, flush=True)
        print(f"generated: {made} requests in {i} rounds", flush=True)
        if not alive(url):
            break
    return made, faults


def alive(url):
    try:
        with urllib.request.urlopen(url + "/health", timeout=PATIENCE) as r:
            return r.status == 200
    except OSError:
        return False


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--url", default="http://127.0.0.1:8000")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--generated", type=int, default=20000)
    p.add_argument("--each", type=int, default=100, help="requests to each operation in a round")
    p.add_argument("--chats", type=int, default=6000)
    a = p.parse_args()
    counts, faults = run_chats(a.url, a.seed, a.chats)
    print("damaged chats:", sum(counts.values()), dict(sorted(counts.items())), flush=True)
    made, more = run_generated(a.url, a.seed, a.generated, a.each)
    up = alive(a.url)
    print(f"{datetime.date.today()}, schemathesis {importlib.metadata.version('schemathesis')}, seed {a.seed}: {made} "
          f"generated requests, {len(more)} rounds with faults; {sum(counts.values())} damaged chats "
          f"({', '.join(f'{n} answered {s}' for s, n in sorted(counts.items()))}), {len(faults)} faults; the server is "
          + ("up" if up else "gone"))
    return 0 if up and not faults and not more else 1


if __name__ == "__main__":
    sys.exit(main())
