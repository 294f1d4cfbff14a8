"""What each field of a request does, from data: fields.json is a list of requests, with the status and the body of
their answers. An expected body is a part of the real one: members and elements that it does not name may be anything,
"*" stands for any value. "stream": true in a case asks for the chunks, and "answer" is then their list.

"@name" in a request stands for the token id of NAMES below."""

import json
from pathlib import Path

import pytest

CASES = json.loads((Path(__file__).parent / "fields.json").read_text())
BODIES = {"/v1/chat/completions": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4, "temperature": 0},
          "/v1/completions": {"prompt": "hi", "max_tokens": 4, "temperature": 0}}


@pytest.fixture(scope="module")
def ids(server):
    """Token ids of short texts: "@a" is that of "a"."""
    return {"@" + text: server.post("/tokenize", {"prompt": text, "add_special_tokens": False})[1]["tokens"][0]
            for text in ("a", "b", "c")}


def fill(v, ids):
    if isinstance(v, dict):
        return {str(ids.get(k, k)): fill(x, ids) for k, x in v.items()}
    if isinstance(v, list):
        return [fill(x, ids) for x in v]
    return ids.get(v, v) if isinstance(v, str) else v


def holds(have, want, at="answer"):
    if want == "*":
        return
    if isinstance(want, dict):
        assert isinstance(have, dict) and have.keys() >= want.keys(), (at, have)
        for k, v in want.items():
            holds(have[k], v, f"{at}.{k}")
    elif isinstance(want, list):
        assert isinstance(have, list) and len(have) == len(want), (at, have)
        for i, v in enumerate(want):
            holds(have[i], v, f"{at}[{i}]")
    else:
        assert have == want and isinstance(have, bool) == isinstance(want, bool), (at, have)


def chunks(data):
    return [json.loads(line[6:]) for line in data.decode().splitlines() if line.startswith("data: {")]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c["name"])
def test_field(server, ids, case):
    path = case.get("path", "/v1/chat/completions")
    body = fill(BODIES[path] | case["body"], ids)
    status, _, data = server.request("POST", path, json.dumps(body))
    have = chunks(data) if status == 200 and body.get("stream") else json.loads(data)
    assert status == case["status"], have
    if status == 200:
        holds(have, fill(case["answer"], ids))
    else:
        holds(have["error"], case["error"])
        assert case["error"].get("param") is None or case["error"]["param"] in have["error"]["message"], have
