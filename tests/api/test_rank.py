"""/v1/rerank and /v1/score: the cosines of embeddings, in Jina's, Cohere's and vLLM's forms."""
import json

import pytest

from conftest import ROOT, Server, data_url, png
from test_embeddings import cosine, embed, refuse

TEXT = ROOT / "tests/model/qwen3/grouped"
WORDS = ["a red button", "settings", "the weather tomorrow", "a red button", "Wi-Fi"]


@pytest.fixture(scope="module")
def text():
    s = Server(model=TEXT)
    yield s
    assert s.stop() == 0, "".join(s.lines[-50:])


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/rerank"])
def test_rerank(text, path):
    query, *documents = embed(text, ["a button", *WORDS])
    status, body = text.post(path, {"model": "grouped", "query": "a button", "documents": WORDS})
    assert status == 200 and body["object"] == "list" and body["model"] == "grouped"
    assert body["id"].startswith("rerank-")
    results = body["results"]
    assert sorted(r["index"] for r in results) == list(range(5))
    order = [(-r["relevance_score"], r["index"]) for r in results]
    assert order == sorted(order)
    for r in results:
        assert r["relevance_score"] == pytest.approx(cosine(query, documents[r["index"]]), abs=1e-6)
        assert r["document"] == {"text": WORDS[r["index"]]}
    same = [r["relevance_score"] for r in results if r["index"] in (0, 3)]
    assert same[0] == same[1]
    tokens = len("a button") + sum(map(len, WORDS))
    assert body["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}


def test_rerank_fields(text):
    body = text.post("/v1/rerank", {"query": "a", "documents": ["b", {"text": "a"}, "c"], "top_n": 1,
                                    "return_documents": False})[1]
    assert [sorted(r) for r in body["results"]] == [["index", "relevance_score"]]
    assert body["results"][0]["index"] == 1 and body["results"][0]["relevance_score"] == pytest.approx(1, abs=1e-6)
    body = text.post("/v1/rerank", {"query": {"text": "a"}, "documents": ["b", {"text": "a"}], "top_n": 99})[1]
    assert [r["document"]["text"] for r in body["results"]] == ["a", "b"]


@pytest.mark.parametrize("one,two", [("text_1", "text_2"), ("queries", "documents"), ("data_1", "data_2")])
def test_score(text, one, two):
    a, b, c = embed(text, ["first", "second", "third"])

    def scores(x, y):
        status, body = text.post("/v1/score", {one: x, two: y})
        assert status == 200, body
        assert [d["object"] for d in body["data"]] == ["score"] * len(body["data"])
        assert [d["index"] for d in body["data"]] == list(range(len(body["data"])))
        assert body["usage"]["total_tokens"] > 0
        return pytest.approx([d["score"] for d in body["data"]], abs=1e-6)

    assert scores("first", "second") == [cosine(a, b)]
    assert scores("first", ["second", "third", "first"]) == [cosine(a, b), cosine(a, c), 1]
    assert scores(["first", "second"], ["third", "second"]) == [cosine(a, c), 1]
    assert text.post("/score", {one: "first", two: "second"})[0] == 200


def test_images_and_texts(server):
    """In the shipped model's space of both."""
    image = {"image": data_url(png(5))}
    status, body = server.post("/v1/rerank", {"query": "Wi-Fi", "documents": [image, "Wi-Fi", {"text": "mail"}]})
    assert status == 200 and {r["index"] for r in body["results"]} == {0, 1, 2}
    assert next(r for r in body["results"] if r["index"] == 0).keys() == {"index", "relevance_score"}
    status, body = server.post("/v1/score", {"data_1": image, "data_2": [image, "a"]})
    assert status == 200 and body["data"][0]["score"] == pytest.approx(1, abs=1e-6)


WRONG = [
    ("/v1/rerank", {}, "query", "missing_field"),
    ("/v1/rerank", {"query": "a"}, "documents", "missing_field"),
    ("/v1/rerank", {"documents": ["a"]}, "query", "missing_field"),
    ("/v1/rerank", {"query": "", "documents": ["a"]}, "query", "invalid_value"),
    ("/v1/rerank", {"query": ["a"], "documents": ["a"]}, "query", "invalid_type"),
    ("/v1/rerank", {"query": 5, "documents": ["a"]}, "query", "invalid_type"),
    ("/v1/rerank", {"query": "a", "documents": "a"}, "documents", "invalid_type"),
    ("/v1/rerank", {"query": "a", "documents": []}, "documents", "invalid_value"),
    ("/v1/rerank", {"query": "a", "documents": [1, 2]}, "documents[0]", "invalid_type"),
    ("/v1/rerank", {"query": "a", "documents": ["a", None]}, "documents[1]", "invalid_type"),
    ("/v1/rerank", {"query": "a", "documents": ["a", {"title": "x"}]}, "documents[1]", "invalid_value"),
    ("/v1/rerank", {"query": "a", "documents": ["a"] * 2049}, "documents", "invalid_value"),
    ("/v1/rerank", {"query": "a", "documents": ["a", "x" * 600]}, "documents[1]", "context_length_exceeded"),
    ("/v1/rerank", {"query": "a", "documents": ["a"], "top_n": 0}, "top_n", "invalid_value"),
    ("/v1/rerank", {"query": "a", "documents": ["a"], "top_n": "1"}, "top_n", "invalid_type"),
    ("/v1/rerank", {"query": "a", "documents": ["a"], "return_documents": 1}, "return_documents", "invalid_type"),
    ("/v1/rerank", {"query": "a", "documents": ["a"], "max_tokens_per_doc": 9}, "max_tokens_per_doc",
     "unsupported_parameter"),
    ("/v1/rerank", {"query": "a", "documents": ["a"], "rank_fields": ["title"]}, "rank_fields",
     "unsupported_parameter"),
    ("/v1/score", {}, "text_1", "missing_field"),
    ("/v1/score", {"text_1": "a"}, "text_2", "missing_field"),
    ("/v1/score", {"queries": "a"}, "text_2", "missing_field"),
    ("/v1/score", {"text_1": ["a", "b"], "text_2": ["a", "b", "c"]}, "text_1", "invalid_value"),
    ("/v1/score", {"text_1": ["a", "b"], "text_2": "a"}, "text_1", "invalid_value"),
    ("/v1/score", {"text_1": [], "text_2": "a"}, "text_1", "invalid_value"),
    ("/v1/score", {"text_1": "a", "text_2": [True]}, "text_2[0]", "invalid_type"),
]


@pytest.mark.parametrize("path,body,field,code", WRONG, ids=[json.dumps(b)[:60] for _, b, _, _ in WRONG])
def test_wrong(text, path, body, field, code):
    refuse(text, body, field, code, path)


def test_without_embeddings(start):
    s = start("--pooling", "none", model=TEXT)
    for path, body in [("/v1/rerank", {"query": "a", "documents": ["b"]}),
                       ("/v1/score", {"text_1": "a", "text_2": "b"})]:
        status, answer = s.post(path, body)
        assert status == 400 and "--pooling none" in answer["error"]["message"]
