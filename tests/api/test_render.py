"""A chat's prompt without an answer: /v1/chat/completions/render and /tokenize with messages; and /version."""

import json

from conftest import ROOT, ask


def test_render_and_tokenize_show_the_prompt_of_the_chat(server):
    chat = {"messages": ask("Compare.", 1, 2), "max_tokens": 1, "return_token_ids": True}
    answer = server.post("/v1/chat/completions", chat)[1]
    status, have = server.post("/v1/chat/completions/render", chat)
    assert status == 200 and have["token_ids"] == answer["prompt_token_ids"]
    assert have["count"] == len(have["token_ids"]) == answer["usage"]["prompt_tokens"]
    assert "Compare." in have["text"]
    places = sum(i["tokens"] for i in have["images"])
    assert len(have["images"]) == 2 and places == answer["usage"]["prompt_tokens_details"]["image_tokens"]
    first = have["images"][0]
    place = have["token_ids"][first["start"]]
    for i in have["images"]:
        assert set(have["token_ids"][i["start"]:i["start"] + i["tokens"]]) == {place} and i["width"] > 0 < i["height"]
    assert have["token_ids"].count(place) == places
    status, tokens = server.post("/tokenize", {"messages": chat["messages"], "return_token_strs": True})
    assert status == 200 and tokens["tokens"] == have["token_ids"] and len(tokens["token_strs"]) == have["count"]


def test_what_is_refused(server):
    for path in ("/v1/chat/completions/render", "/tokenize"):
        for body, field in (({"messages": []}, "messages"), ({"messages": [{"role": "x"}]}, "messages[0].role")):
            status, answer = server.post(path, body)
            assert status == 400 and answer["error"]["param"] == field
    status, answer = server.post("/tokenize", {"messages": ask("hi"), "return_token_strs": 5})
    assert status == 400 and answer["error"]["param"] == "return_token_strs"


def test_version(server):
    assert json.loads(server.get("/version")[2]) == {"version": (ROOT / "VERSION").read_text().strip()}
