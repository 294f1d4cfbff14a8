"""One file per case in cases/: a request, the status of its answer, and for
errors the field and the code that the answer must name. Where the answer is no
completion, "answer" holds members of it.

"@png" and its relatives stand for images, "@long" for a text beyond the context.
"""

import base64
import io
import json
from pathlib import Path
from urllib.parse import quote

import pytest
from PIL import Image

from conftest import data_url, png

CASES = sorted((Path(__file__).parent / "cases").glob("*.json"))


def as_gif(data):
    out = io.BytesIO()
    Image.open(io.BytesIO(data)).save(out, "GIF")
    return out.getvalue()


BASE64 = base64.b64encode(png(1)).decode()
STANDS_FOR = {
    "@png": data_url(png(1)),
    "@octet-png": data_url(png(1), "application/octet-stream"),
    "@wrapped-png": "DATA:image/png;base64," + "\r\n".join(BASE64[i:i + 76] for i in range(0, len(BASE64), 76)),
    "@gif": data_url(as_gif(png(1)), "image/gif"),
    "@percent-png": "data:image/png," + quote(png(1)),
    "@unpadded-png": " data:image/png; base64," + BASE64.rstrip("=") + "#screen",
    "@cut-png": data_url(png(1)[:200]),
    "@long": [{"role": "user", "content": "word " * 60000}],
}


def fill(v):
    if isinstance(v, dict):
        return {k: fill(x) for k, x in v.items()}
    if isinstance(v, list):
        return [fill(x) for x in v]
    return STANDS_FOR.get(v, v) if isinstance(v, str) else v


def body_of(case):
    if "raw_latin1" in case:
        return case["raw_latin1"].encode("latin-1")
    if "raw_repeat" in case:
        a, b, n, c, m, d = case["raw_repeat"]
        return (a + b * n + c * m + d).encode()
    return case["raw"].encode() if "raw" in case else json.dumps(fill(case["body"])).encode()


@pytest.mark.parametrize("path", CASES, ids=lambda p: p.stem)
def test_case(server, path):
    case = json.loads(path.read_text())
    status, headers, data = server.request("POST", case.get("path", "/v1/chat/completions"), body_of(case))
    answer = json.loads(data)
    assert status == case["status"], answer
    assert headers["content-type"] == "application/json"
    if "answer" in case:
        assert answer | case["answer"] == answer, answer
        return
    if status == 200:
        assert answer["choices"][0]["finish_reason"] in ("stop", "length")
        return
    error = answer["error"]
    assert set(error) >= {"message", "type", "param", "code"}
    assert error["param"] == case["error"]["param"], error
    assert isinstance(error["code"], str) and error["code"] == case["error"].get("code", error["code"]), error
    assert case.get("message", "") in error["message"]
    if error["param"]:
        assert error["param"] in error["message"] or error["code"] in ("model_not_found",
                                                                       "context_length_exceeded"), error
