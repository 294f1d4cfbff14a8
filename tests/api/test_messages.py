"""/v1/messages: Anthropic's form of chats, whole and as events, and its errors."""

import base64
import json

import pytest

import parrot
from conftest import ROOT, Server, ask, png

IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png",
                                     "data": base64.b64encode(png(3)).decode()}}
TOOL = {"name": "look", "description": "looks", "input_schema": {"type": "object", "properties": {"at": {}}}}
CALL = '<tool_call>\n{"name": "look", "arguments": {"at": "sea", "n": 3}}\n</tool_call>'


def body(text="hi", **more):
    return {"max_tokens": 8, "temperature": 0, "messages": [{"role": "user", "content": text}]} | more


def events_of(data):
    out = []
    for block in data.decode().split("\n\n"):
        lines = [line for line in block.splitlines() if not line.startswith(":")]
        if lines:
            assert lines[0].startswith("event: ") and lines[1].startswith("data: ") and len(lines) == 2
            out.append(json.loads(lines[1][6:]))
            assert out[-1]["type"] == lines[0][7:]
    return out


def collect(events):
    """The message that the events make, as Anthropic's clients put it together; their order is checked."""
    assert events[0]["type"] == "message_start" and events[-1]["type"] == "message_stop"
    message, is_open, inputs = events[0]["message"], None, {}
    for e in events[1:-1]:
        if e["type"] == "content_block_start":
            assert is_open is None and e["index"] == len(message["content"])
            is_open = e["index"]
            message["content"].append(e["content_block"])
        elif e["type"] == "content_block_delta":
            assert e["index"] == is_open
            block, delta = message["content"][is_open], e["delta"]
            if delta["type"] == "input_json_delta":
                inputs[is_open] = inputs.get(is_open, "") + delta["partial_json"]
            else:
                name = {"text_delta": "text", "thinking_delta": "thinking"}[delta["type"]]
                block[name] += delta[name]
        elif e["type"] == "content_block_stop":
            assert e["index"] == is_open
            if is_open in inputs:
                message["content"][is_open]["input"] = json.loads(inputs[is_open])
            is_open = None
        else:
            assert e["type"] == "message_delta" and is_open is None
            message |= e["delta"]
            message["usage"] |= e["usage"]
    return message


def without_ids(message):
    """Ids differ from answer to answer, and what was cached does."""
    usage = message["usage"]
    return {k: v for k, v in message.items() if k not in ("id", "usage")} | {
        "content": [{k: v for k, v in b.items() if k != "id"} for b in message["content"]],
        "tokens": (usage["input_tokens"] + usage["cache_read_input_tokens"], usage["output_tokens"])}


def both(server, request):
    """The answer, which is the same when it comes as events."""
    status, whole = server.post("/v1/messages", request)
    assert status == 200, whole
    status, headers, data = server.request("POST", "/v1/messages", json.dumps(request | {"stream": True}))
    assert status == 200 and headers["content-type"].startswith("text/event-stream")
    assert without_ids(collect(events_of(data))) == without_ids(whole)
    return whole


def test_it_is_the_chat_of_the_same_messages(server):
    request = body([IMAGE, {"type": "text", "text": "What is this?", "cache_control": {"type": "ephemeral"}}],
                   system=[{"type": "text", "text": "Be brief."}], max_tokens=12)
    have = both(server, request)
    chat = server.post("/v1/chat/completions", {
        "messages": [{"role": "system", "content": [{"type": "text", "text": "Be brief."}]}, *ask("What is this?", 3)],
        "max_tokens": 12, "temperature": 0})[1]
    assert have["content"] == [{"type": "text", "text": chat["choices"][0]["message"]["content"]}]
    assert have["type"] == "message" and have["role"] == "assistant" and have["id"].startswith("msg_")
    assert have["stop_reason"] == {"length": "max_tokens", "stop": "end_turn"}[chat["choices"][0]["finish_reason"]]
    assert without_ids(have)["tokens"] == (chat["usage"]["prompt_tokens"], chat["usage"]["completion_tokens"])
    status, count = server.post("/v1/messages/count_tokens", {k: request[k] for k in ("messages", "system")})
    assert status == 200 and count == {"input_tokens": chat["usage"]["prompt_tokens"]}


def test_what_claude_code_sends(server):
    """Instructions among the messages, and an edit of the context that takes nothing away from this model."""
    request = body() | {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"},
                                     {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
                                     {"role": "user", "content": "Go on."}]}
    have = both(server, request | {"context_management": {"edits": [{"type": "clear_thinking_20251015",
                                                                     "keep": "all"}]}})
    chat = {"messages": request["messages"], "max_tokens": 8, "temperature": 0}
    want = server.post("/v1/chat/completions", chat)[1]
    assert have["content"][0]["text"] == want["choices"][0]["message"]["content"]
    assert without_ids(have)["tokens"][0] == want["usage"]["prompt_tokens"]


def test_the_older_name_of_the_output_s_format(server):
    schema = {"type": "json_schema", "schema": {"const": "x"}}
    have = both(server, body(output_format=schema))
    assert have["content"] == both(server, body(output_config={"format": schema}))["content"]
    assert have["content"][0]["text"] == '"x"'
    status, answer = server.post("/v1/messages", body(output_format={"type": "json_schema", "schema": {"enum": 5}}))
    assert status == 400 and answer["error"]["param"] == "output_format.schema", answer


def test_stop_sequences(server):
    ids = server.post("/tokenize", {"prompt": "a", "add_special_tokens": False})[1]["tokens"]
    have = both(server, body(stop_sequences=["aaa"], logit_bias={str(ids[0]): 100}))
    assert have["stop_reason"] == "stop_sequence" and have["stop_sequence"] == "aaa"
    have = both(server, body(logit_bias={str(ids[0]): 100}))
    assert have["stop_reason"] == "max_tokens" and have["stop_sequence"] is None
    assert have["content"] == [{"type": "text", "text": "a" * 8}]


@pytest.fixture(scope="module")
def talker(tmp_path_factory):
    s = Server("--model", str(parrot.write_talker(tmp_path_factory.mktemp("messages") / "model", CALL)))
    yield s
    assert s.stop() == 0


def test_a_conversation_with_a_tool(talker):
    request = body("the weather?", tools=[TOOL], max_tokens=200, tool_choice={"type": "auto"})
    have = both(talker, request)
    assert [b["type"] for b in have["content"]] == ["thinking", "text", "tool_use"] and have["content"][0]["thinking"]
    assert have["stop_reason"] == "tool_use" and have["content"][1]["text"].strip() == "I look."
    call = have["content"][-1]
    assert call["name"] == "look" and call["input"] == {"at": "sea", "n": 3} and call["id"].startswith("toolu_")
    request["messages"] += [
        {"role": "assistant", "content": have["content"]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call["id"],
                                      "content": [{"type": "text", "text": "sun"}]}]}]
    have = both(talker, request)
    assert have["content"] == [{"type": "text", "text": "It is fine."}] and have["stop_reason"] == "end_turn"


def test_pictures_beside_forced_calls_and_in_their_results(start):
    s = start(model=ROOT / "tests" / "model" / "qwen3_vl" / "published")
    tool = TOOL | {"input_schema": {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"],
                                    "additionalProperties": False}}
    request = body([IMAGE, {"type": "text", "text": "Tap."}], tools=[tool], max_tokens=200,
                   tool_choice={"type": "any", "disable_parallel_tool_use": True})
    have = both(s, request)
    [call] = have["content"]
    assert call["type"] == "tool_use" and call["input"]["n"] in (1, 2) and have["stop_reason"] == "tool_use"
    request["messages"] += [
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call["id"],
                                      "content": [{"type": "text", "text": "See."}, IMAGE]}]}]
    again = both(s, request)
    assert again["content"][0]["input"]["n"] in (1, 2)
    assert without_ids(again)["tokens"][0] > without_ids(have)["tokens"][0] + 20   # the second picture is there


@pytest.mark.parametrize("change, field", [
    ({"max_tokens": None}, "max_tokens"),
    ({"max_tokens": "x"}, "max_tokens"),
    ({"messages": []}, "messages"),
    ({"messages": "x"}, "messages"),
    ({"messages": [5]}, "messages[0]"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [{"type": "audio"}]}]}, "messages[0].content[0].type"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
    ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "messages[0].content[0].source.type"),
    ({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "base64"}}]}]},
     "messages[0].content[0].source.data"),
    ({"messages": [{"role": "user", "content": [{"type": "tool_use", "id": "a", "name": "b", "input": {}}]}]},
     "messages[0].content"),
    ({"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}, "messages[0].content[0].tool_use_id"),
    ({"system": 5}, "system"),
    ({"system": [{"type": "text", "text": 5}]}, "system[0].text"),
    ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools[0].type"),
    ({"tools": [{"name": "x"}]}, "tools[0].input_schema"),
    ({"tool_choice": {"type": "x"}}, "tool_choice.type"),
    ({"stop_sequences": [""]}, "stop_sequences"),
    ({"stop_sequences": [5]}, "stop_sequences"),
    ({"thinking": {"type": "x"}}, "thinking.type"),
    ({"output_config": {"format": {"type": "x"}}}, "output_config.format.type"),
    ({"container": "x"}, "container"),
    ({"mcp_servers": [{}]}, "mcp_servers"),
    ({"n": 2}, "n"),
    ({"temperature": 9}, "temperature"),
])
def test_what_is_refused(server, change, field):
    status, answer = server.post("/v1/messages", body() | change)
    assert status == 400 and answer["type"] == "error", answer
    assert answer["error"]["type"] == "invalid_request_error" and answer["error"]["param"] == field
    assert field in answer["error"]["message"]


def test_errors_have_their_form(server, start):
    status, answer = server.post("/v1/messages", body(model="no such model"))
    assert status == 404 and answer["type"] == "error" and answer["error"]["type"] == "not_found_error"
    assert json.loads(server.get("/v1/messages")[2])["error"]["type"] == "invalid_request_error"
    locked = start("--api-key", "secret")
    status, answer = locked.post("/v1/messages", body())
    assert status == 401 and answer["error"]["type"] == "authentication_error"
    for header in ({"x-api-key": "secret"}, {"Authorization": "Bearer secret"}):
        assert locked.request("POST", "/v1/messages", json.dumps(body()), header)[0] == 200
    assert locked.request("POST", "/v1/messages", json.dumps(body()), {"x-api-key": "secre"})[0] == 401
