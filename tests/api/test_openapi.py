"""openapi.yaml is held against the server: its operations against the table of routes, its schemas against the rules of
JSON Schema, and every example against the schema of its request; then the example is sent, and the answer, or each
event of it, has to be what the schema of the answer says and nothing more."""

import copy
import json
import re

import jsonschema
import pytest
import yaml

from conftest import ROOT

SPEC = yaml.load((ROOT / "openapi.yaml").read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
OPERATIONS = [(method, path, operation) for path, item in SPEC["paths"].items() for method, operation in item.items()]


def closed(schema):
    """The schema, with all objects whose members it names closed, so that a member that it forgot is found."""
    if isinstance(schema, list):
        return [closed(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    out = {k: closed(v) for k, v in schema.items()}
    if isinstance(schema.get("properties"), dict) and "type" in schema:
        out.setdefault("additionalProperties", False)
    return out


def check_content(validator, schema, text, parent):
    """The keyword contentSchema: what the text holds as JSON."""
    if validator.is_type(text, "string"):
        yield from validator.descend(json.loads(text), schema)


Validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"contentSchema": check_content})


def validator(schema, components=SPEC["components"]):
    """Of a schema within the document, whose references it may use."""
    return Validator(schema | {"components": components})


CLOSED = closed(SPEC["components"])


def check_answer(schema, answer):
    """Raises ValidationError unless it is what the schema says and holds no member that the schema does not name."""
    validator(closed(schema), CLOSED).validate(answer)


def resolve(x):
    """What a reference of one step names."""
    while "$ref" in x:
        at = SPEC
        for name in x["$ref"].removeprefix("#/").split("/"):
            at = at[name]
        x = at
    return x


def media_of(operation):
    return operation["requestBody"]["content"]["application/json"]


def examples_of(operation):
    """(name, request) of every example; a request without a body is None."""
    if "requestBody" not in operation:
        return [("only", None)]
    media = media_of(operation)
    found = [(name, e["value"]) for name, e in media.get("examples", {}).items()]
    return found + ([("only", media["example"])] if "example" in media else [])


def path_of(path, operation):
    """The path with the examples of its parameters."""
    for p in operation.get("parameters", []):
        path = path.replace("{" + p["name"] + "}", p["example"])
    return path


def events_of(data):
    """The events of a stream, each with the members that its lines have."""
    blocks = [[line for line in block.splitlines() if line and not line.startswith(":")]
              for block in data.decode().split("\n\n")]
    return [dict(line.split(": ", 1) for line in block) for block in blocks if block]


def test_operations_are_the_routes():
    code = (ROOT / "server" / "routes.c").read_text()
    routes = {(m, p + "{}" if p.endswith("/") and len(p) > 1 else p)
              for m, p in re.findall(r'^    \{ "([A-Z]+)", "([^"]+)"', code, re.M)}
    assert {(m.upper(), re.sub(r"\{\w+\}$", "{}", p)) for m, p, _ in OPERATIONS} == routes and len(routes) > 10


def test_openapi_json_is_openapi_yaml(server):
    status, headers, data = server.get("/openapi.json")
    assert status == 200 and headers["content-type"].startswith("application/json") and json.loads(data) == SPEC


def test_ids_are_unique_and_statuses_are_described():
    ids = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(ids) == len(set(ids))
    for _, path, operation in OPERATIONS:
        statuses = set(operation["responses"])
        assert "200" in statuses and operation.get("summary"), path
        if operation.get("security") is None:
            assert "401" in statuses, path
        if "requestBody" in operation:
            assert statuses >= {"400", "404", "413", "415", "503"}, path


def members(x, name, kind):
    """Every member of this name and kind, at whatever depth."""
    if isinstance(x, dict):
        if isinstance(x.get(name), kind):
            yield x[name]
        for v in x.values():
            yield from members(v, name, kind)
    elif isinstance(x, list):
        for v in x:
            yield from members(v, name, kind)


def test_schemas_are_schemas():
    for name, schema in SPEC["components"]["schemas"].items():
        jsonschema.Draft202012Validator.check_schema(schema)
    for operation in (o for _, _, o in OPERATIONS):
        for schema in members({k: operation.get(k) for k in ("parameters", "responses")}, "schema", dict):
            jsonschema.Draft202012Validator.check_schema(schema)
    for ref in members(SPEC, "$ref", str):
        assert resolve({"$ref": ref})
    used = {r.split("/")[-1] for r in members(SPEC, "$ref", str)}
    assert used >= set(SPEC["components"]["schemas"]), "a schema that nothing uses"


def test_descriptions_are_whole():
    """Where a text stands between braces, a comma ends it, and what follows is a member without a value."""
    schemas = {"paths": SPEC["paths"], "components": SPEC["components"]}
    for text in [*members(schemas, "description", str), *members(schemas, "summary", str)]:
        assert text.rstrip().endswith("."), text


# Examples that this model answers and the shipped one does not.
OF_OTHERS = {"chatCompletions-places": "kosmos-2/published"}
CASES = [pytest.param(m, p, o, body, id=f"{o['operationId']}-{name}")
         for m, p, o in OPERATIONS for name, body in examples_of(o)]


def test_every_operation_has_an_example():
    assert {o["operationId"] for _, _, o in OPERATIONS} == {c.values[2]["operationId"] for c in CASES}


@pytest.mark.parametrize("method, path, operation, body", CASES)
def test_example(server, start, request, method, path, operation, body):
    if body is not None:
        validator(media_of(operation)["schema"]).validate(body)
    if request.node.callspec.id in OF_OTHERS:
        server = start("--model", str(ROOT / "tests/model" / OF_OTHERS[request.node.callspec.id]))
    status, headers, data = server.request(method.upper(), path_of(path, operation),
                                           None if body is None else json.dumps(body))
    assert status == 200, data
    response = resolve(operation["responses"]["200"])
    kind = headers["content-type"].split(";")[0]
    schema = response["content"][kind]["schema"]
    for name in response.get("headers", {}):
        assert name.lower() in headers
    if kind == "application/json":
        check_answer(schema, json.loads(data))
    elif kind == "text/event-stream":
        events = events_of(data)
        assert events and body["stream"]
        for e in events:
            check_answer(schema, e)
            assert "event" not in e or e["event"] == json.loads(e["data"])["type"]
    else:
        assert schema == {"type": "string"} and data.decode()


@pytest.mark.parametrize("method, path, operation", [
    pytest.param(*c, id=c[2]["operationId"]) for c in OPERATIONS if "requestBody" in c[2]])
def test_errors_have_their_schema(server, method, path, operation):
    for body, want in (("{", 400), ('{"model": "no such model"}', None)):
        status, headers, data = server.request(method.upper(), path, body)
        assert status == want or (want is None and status in (400, 404))
        schema = resolve(operation["responses"][str(status)])["content"]["application/json"]["schema"]
        check_answer(schema, json.loads(data))


@pytest.mark.parametrize("role, content, right", [
    ("user", "x", True), ("user", None, False), ("user", [], False), ("assistant", None, True), ("assistant", [], True),
    ("assistant", 5, False), ("tool", [{"type": "text", "text": "x"}], True), ("tool", None, True),
    ("tool", [], True), ("tool", 5, False), ("system", [{"type": "audio"}], False),
    ("user", ["x", {"image_url": {"url": "x"}}], True)])
def test_content_goes_by_role(server, role, content, right):
    """The schema and the server say the same; that a picture is none, the schema cannot know."""
    message, first = {"role": role, "content": content}, {"role": "user", "content": "hi"}
    for schema, path, body in (("ChatRequest", "/v1/chat/completions", {"messages": [first, message], "max_tokens": 1}),
                               ("ResponsesRequest", "/v1/responses", {"input": [first, message],
                                                                      "max_output_tokens": 1})):
        if role == "tool" and schema == "ResponsesRequest":
            continue
        said = validator({"$ref": "#/components/schemas/" + schema}).is_valid(body)
        assert said == right
        status, answer = server.post(path, body)
        assert (status == 200) == right or (status == 400 and "image_url" in answer["error"]["param"]), answer
    without = copy.copy(message)
    del without["content"]
    assert validator({"$ref": "#/components/schemas/Message"}).is_valid(without) == (role in ("assistant", "tool"))
