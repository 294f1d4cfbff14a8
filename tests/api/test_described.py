"""What openapi.yaml describes of a request is what the server takes, at every depth: each member that it names gets
values of wrong kinds, one at a time, in an object that is otherwise as small as its schema allows, and each object
loses each member that it has to have. Where the schema says that this is wrong, the answer has to be 400 and name the
field.

The good requests are those of bounds.json, which also tries what only the server can know to be wrong."""

import functools
import json

import pytest

from test_bounds import CASES, post
from test_openapi import SPEC, media_of, resolve, validator

__all__ = ["post"]                                  # a fixture

WRONG = [None, True, 0, -1, 1.5, 7, "", "x", [], [1], ["x"], [None], {}, {"x": 1}]
PICTURE = media_of(SPEC["paths"]["/v1/chat/completions"]["post"])["examples"]["screenshot"]["value"]
URL = PICTURE["messages"][1]["content"][0]["image_url"]["url"]
TEXTS = {"url": URL, "image_url": URL, "image": URL, "data": URL.partition(",")[2], "arguments": "{}"}
DEPTH = 9


def joined(a, b):
    """A schema that says what both say, as far as objects go."""
    out = a | b
    if "properties" in a and "properties" in b:
        out["properties"] = a["properties"] | {
            name: a["properties"][name] | s if name in a["properties"] and "$ref" not in s else s
            for name, s in b["properties"].items()}
    if "required" in a and "required" in b:
        out["required"] = list(dict.fromkeys(a["required"] + b["required"]))
    return out


def branches(schema):
    """The schemas without combinations that it may come down to: one for each choice of its oneOf, anyOf and if."""
    schema = resolve(schema)
    combined = ("allOf", "oneOf", "anyOf", "if", "then", "else")
    found = [{k: v for k, v in schema.items() if k not in combined}]
    for part in schema.get("allOf", []):
        found = [joined(a, b) for a in found for b in branches(part)]
    for key in ("oneOf", "anyOf"):
        if key in schema:
            found = [joined(a, b) for a in found for part in schema[key] for b in branches(part)]
    if "if" in schema:
        ways = [joined(a, b) for a in branches(schema["if"]) for b in branches(schema.get("then", {}))]
        found = [joined(a, b) for a in found for b in ways + branches(schema.get("else", {}))]
    return found


def small(branch, name, depth):
    """A value of a schema without combinations that has nothing that it need not have."""
    kind = branch.get("type")
    kind = kind[0] if isinstance(kind, list) else kind
    if "const" in branch or "enum" in branch:
        return branch["const"] if "const" in branch else branch["enum"][0]
    if kind == "array":
        items = branch.get("items")
        return [small(branches(items)[0], name, depth + 1)] if items and depth < DEPTH else []
    if kind == "object" or "properties" in branch:
        inner = branch.get("properties", {})
        return {r: small(branches(inner.get(r, {}))[0], r, depth + 1) for r in branch.get("required", [])}
    number = max(branch.get("minimum", 1), 1)
    return {"string": TEXTS.get(name, "a"), "integer": number, "number": number, "boolean": False}.get(kind)


def beside_types(branch, value):
    """(where, value) with each word of `type` that the object may have and need not, and another member changed."""
    properties = branch.get("properties", {})
    words = [] if "type" in value else properties.get("type", {}).get("enum", [])
    for word in filter(None, words):
        yield from ((f".{p} of type {word}", {"type": word} | value | {p: w})
                    for p in properties if p != "type" for w in (True, "x", [], {}))


def changed(schema, name, depth=1):
    """(where, value): values of the schema with one change somewhere within. Not every change is wrong."""
    yield from (("", w) for w in WRONG)
    if depth == DEPTH:
        return
    for branch in branches(schema):
        value = small(branch, name, depth)
        if isinstance(value, list) and "items" in branch:
            yield from (("[0]" + where, [v]) for where, v in changed(branch["items"], name, depth + 1))
        elif isinstance(value, dict):
            for r in branch.get("required", []):
                yield f" without {r}", {k: v for k, v in value.items() if k != r}
            for p, inner in branch.get("properties", {}).items():
                yield from ((f".{p}{where}", value | {p: v}) for where, v in changed(inner, p, depth + 1))
            yield from beside_types(branch, value)


def fields_of(path):
    """The schemas of the request's members; where several name one, all of them hold."""
    found = {}
    for branch in branches(media_of(SPEC["paths"][path]["post"])["schema"]):
        for name, schema in branch.get("properties", {}).items():
            if schema not in found.setdefault(name, []):
                found[name].append(schema)
    return found


@functools.lru_cache(maxsize=None)
def validator_of(schema):
    return validator(json.loads(schema))


@functools.lru_cache(maxsize=None)
def allows(schema, value):
    """Both as JSON. Many fields have the same schema, and validating takes longer than asking the server."""
    return validator_of(schema).is_valid(json.loads(value))


PATHS = {path for path, *_ in CASES}
ALIASES = {path for path in PATHS if "/v1" + path.removeprefix("/v2") in PATHS}


@pytest.mark.parametrize("path", sorted(PATHS - ALIASES))
def test_wrong_values_are_refused(post, path):
    described, tried, faults = fields_of(path), 0, []
    for _, body, field, rows in (case for case in CASES if case[0] == path):
        without = rows["without"] if isinstance(rows, dict) else []
        base = {k: v for k, v in body.items() if k not in without}
        schemas = [json.dumps(schema) for schema in described.get(field, [])]
        seen = set()
        for where, value in (one for schema in described.get(field, []) for one in changed(schema, field)):
            key = json.dumps(value)
            if key in seen or any(allows(schema, key) for schema in schemas):
                continue
            seen.add(key)
            tried += 1
            status, answer = post(path, base | {field: value})
            if status != 400 or not answer["error"]["param"].startswith(field):
                faults.append(f"{field}{where}: {key} {status} {json.dumps(answer)[:200]}")
    assert tried > 0 and not faults, f"{len(faults)} of {tried}:\n" + "\n".join(faults[:40])
