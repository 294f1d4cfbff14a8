"""Every field of every request, from data: wrong types, wrong values, and both sides of each bound.

bounds.json is a list of groups: the paths, each with the body of a good request; and their fields, each with rows of a
value and what becomes of it: [value] is answered with 200, [value, code] with 400 (404 for model_not_found), and the
error names the field, or what the row has as its third element. {"repeat": [x, n]} stands for a list of n times x.
"without" names members that the body loses for the field's rows. What fields do is in fields.json."""

import http.client
import json
from pathlib import Path

import pytest

from conftest import PATIENCE

GROUPS = json.loads((Path(__file__).parent / "bounds.json").read_text())
CASES = [(path, body, field, rows) for g in GROUPS for path, body in g["paths"].items()
         for field, rows in g["fields"].items()]


@pytest.fixture(scope="module")
def post(server):
    """One connection for all of it."""
    c = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)

    def send(path, body):
        c.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        r = c.getresponse()
        return r.status, json.loads(r.read() or b"null") if "json" in r.getheader("Content-Type", "") else r.read()

    yield send
    c.close()


def value_of(v):
    return [v["repeat"][0]] * v["repeat"][1] if isinstance(v, dict) and v.keys() == {"repeat"} else v


@pytest.mark.parametrize("path,body,field,rows", CASES, ids=[f"{c[0]}-{c[2]}" for c in CASES])
def test_bounds(post, path, body, field, rows):
    if isinstance(rows, dict):
        body = {k: v for k, v in body.items() if k not in rows["without"]}
        rows = rows["rows"]
    for value, *refused in rows:
        status, answer = post(path, body | {field: value_of(value)})
        if not refused:
            assert status == 200, (value, answer)
            continue
        code, param = refused[0], refused[1] if len(refused) > 1 else field
        assert status == (404 if code == "model_not_found" else 400), (value, answer)
        error = answer["error"]
        assert (error["code"], error["param"]) == (code, param), (value, error)
        assert isinstance(error["message"], str) and error["message"] and isinstance(error["type"], str)


def resolved(api, schema):
    while "$ref" in schema:
        place = api
        for part in schema["$ref"].split("/")[1:]:
            place = place[part]
        schema = place
    return schema


def properties(api, schema):
    schema = resolved(api, schema)
    out = dict(schema.get("properties", {}))
    for one in schema.get("allOf", []):
        out |= properties(api, one)
    return out


def test_no_field_is_left_out(server):
    """What openapi.yaml describes has a row that is refused, unless nothing of it ever is."""
    api = json.loads(server.get("/openapi.json")[2])
    refused = {(path, field) for path, _, field, rows in CASES
               if any(len(r) > 1 for r in (rows["rows"] if isinstance(rows, dict) else rows))}
    for path, operations in api["paths"].items():
        body = operations.get("post", {}).get("requestBody")
        if not body:
            continue
        fields = properties(api, body["content"]["application/json"]["schema"])
        assert {f for f in fields if (path, f) not in refused} == set(), path
