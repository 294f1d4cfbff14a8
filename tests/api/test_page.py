"""The page for people at /: the bytes that are served, what a browser may do with them, and that they fit together."""

import json
import re

import pytest

from conftest import ROOT

WEB = ROOT / "web"
FILES = {("/" if p.name == "index.html" else f"/ui/{p.name}"): p for p in sorted(WEB.iterdir())}
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
INDEX = (WEB / "index.html").read_text()
SCRIPTS = {p.name: p.read_text() for p in WEB.glob("*.js")}


@pytest.mark.parametrize("path", FILES)
def test_bytes_are_those_of_the_folder(server, path):
    status, headers, body = server.get(path)
    assert status == 200 and body == FILES[path].read_bytes()
    assert headers["content-type"] == TYPES[FILES[path].suffix] + "; charset=utf-8"
    assert headers["x-content-type-options"] == "nosniff" and headers["cache-control"] == "no-cache"
    policy = dict(rule.strip().split(" ", 1) for rule in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'" and policy["script-src"] == "'self'" == policy["style-src"]
    assert policy["connect-src"] == "'self'" and policy["img-src"] == "'self' data: blob:"
    assert policy["frame-ancestors"] == "'none'" and policy["require-trusted-types-for"] == "'script'"


def test_a_browser_that_has_it_is_told_so(server):
    tag = server.get("/")[1]["etag"]
    assert re.fullmatch('"[0-9a-f]{16}"', tag) and tag != server.get("/ui/main.js")[1]["etag"]
    for known in (tag, f'"other", W/{tag}', "*"):
        status, headers, body = server.get("/", **{"If-None-Match": known})
        assert status == 304 and body == b"" and headers["etag"] == tag and "content-length" not in headers
    assert server.get("/", **{"If-None-Match": '"other"'})[0] == 200
    status, headers, body = server.request("HEAD", "/")
    assert status == 200 and body == b"" and int(headers["content-length"]) == len(FILES["/"].read_bytes())


def test_no_other_files(server):
    for path in ("/ui", "/ui/", "/ui/index.html", "/ui/../README.md", "/ui/%2e%2e/README.md", "/ui/main.js/"):
        status, _, body = server.get(path)
        assert status == 404 and json.loads(body)["error"]["code"] == "not_found", path
    assert server.request("POST", "/", "{}")[0] == 405


def test_while_loading_and_without_a_key(loading):
    held = loading("--api-key", "secret")
    for path in FILES:
        assert held.server.get(path)[0] == 200
    assert json.loads(held.server.get("/live")[2])["state"] == "loading"
    assert held.server.get("/v1/models")[0] == 401
    assert json.loads(held.server.get("/v1/models", Authorization="Bearer secret")[2])["data"][0]["id"]
    held.let()


def test_turned_off(start):
    s = start("--no-ui", ready=False)
    for path in FILES:
        assert s.get(path)[0] == 404 and s.request("POST", path, "{}")[0] == 404
    assert s.get("/live")[0] == 200


def test_small_and_self_contained():
    assert sum(p.stat().st_size for p in WEB.iterdir()) < 40_000
    for p in WEB.iterdir():
        text = p.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://(?!127\.0\.0\.1)", text), p.name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function", text), p.name
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?! type=\"module\" src=)", INDEX)


def test_every_id_and_word_is_there():
    ids = re.findall(r'\bid="([^"]+)"', INDEX)
    assert len(ids) == len(set(ids))
    used = set(re.findall(r'\$\("([^"]+)"\)', SCRIPTS["main.js"])) | {"temperature", "top_p", "max_tokens", "seed"}
    assert len(used) > 20 and used <= set(ids)
    assert set(re.findall(r'(?:\bfor|aria-labelledby|aria-describedby)="([^"]+)"', INDEX)) <= set(ids)
    english, chinese = SCRIPTS["words.js"].split("  zh: {")
    keys = [set(re.findall(r'(?:^|[{,])\s*(\w+): "', part, re.M)) for part in (english, chinese)]
    assert keys[0] == keys[1] and len(keys[0]) > 50
    named = set(re.findall(r'data-(?:word|label|alt|hint)="([^"]+)"', INDEX))
    for text in SCRIPTS.values():
        named |= set(re.findall(r'\bword\("(\w+)"', text)) | set(re.findall(r'\brow\("(\w+)"', text))
    assert named <= keys[0]


def test_imports_name_what_is_exported():
    for name, text in SCRIPTS.items():
        for names, other in re.findall(r'^import \{ ([^}]+) \} from "\./([^"]+)";$', text, re.M):
            for one in names.split(", "):
                exported = rf"^export (?:async )?(?:function\*?|class|const) {one}\b"
                assert re.search(exported, SCRIPTS[other], re.M), (name, one)
