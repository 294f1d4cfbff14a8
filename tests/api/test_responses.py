"""/v1/responses as the openai client reads it: whole and as events, each of them validated strictly."""

import json

import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

import parrot
from conftest import ROOT, Server, ask, data_url, png

TOOL = {"type": "function", "name": "look", "description": "looks", "strict": False,
        "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}}
CALL = '<tool_call>\n{"name": "look", "arguments": {"at": "sea"}}\n</tool_call>'
EVENT = TypeAdapter(ResponseStreamEvent)


def events_of(data):
    out = []
    for block in data.decode().split("\n\n"):
        lines = [line for line in block.splitlines() if not line.startswith(":")]
        if lines:
            out.append(json.loads(lines[1].removeprefix("data: ")))
            assert lines[0] == "event: " + out[-1]["type"]
            EVENT.validate_python(out[-1], strict=True)
    return out


def check_events(events):
    """Their order and what they say of one another; returns the last one's response."""
    kinds = [e["type"] for e in events]
    assert [e["sequence_number"] for e in events] == list(range(len(events)))
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] in ("response.completed", "response.incomplete")
    items, text = [], ""
    for e in events[2:-1]:
        kind = e["type"].removeprefix("response.")
        if kind == "output_item.added":
            assert e["output_index"] == len(items) and e["item"]["status"] == "in_progress"
            first, text = e["item"], ""
            continue
        assert e["output_index"] == len(items) and e.get("item_id", first["id"]) == first["id"]
        if kind.endswith(".delta"):
            text += e["delta"]
        elif kind == "content_part.done":
            assert e["part"]["text"] == text
        elif kind == "output_item.done":
            items.append(e["item"])
            assert e["item"]["id"] == first["id"]
        elif kind.endswith(".done"):
            assert e.get("text", e.get("arguments")) == text
    assert events[-1]["response"]["output"] == items
    return events[-1]["response"]


def without_ids(r):
    usage = r["usage"]
    return {k: v for k, v in r.items() if k not in ("id", "created_at", "usage")} | {
        "output": [{k: v for k, v in i.items() if k not in ("id", "call_id")} for i in r["output"]],
        "tokens": (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"])}


def both(server, **body):
    """The response, which is the same when it comes as events."""
    body = {"temperature": 0, "max_output_tokens": 12} | body
    status, whole = server.post("/v1/responses", body)
    assert status == 200, whole
    Response.model_validate(whole, strict=True)
    data = server.request("POST", "/v1/responses", json.dumps(body | {"stream": True}))[2]
    assert without_ids(check_events(events_of(data))) == without_ids(whole)
    return whole


def test_it_is_the_chat_of_the_same_messages(server):
    have = both(server, instructions="Be brief.", input=[{"role": "user", "content": [
        {"type": "input_image", "image_url": data_url(png(3)), "detail": "auto"},
        {"type": "input_text", "text": "What is this?"}]}])
    chat = server.post("/v1/chat/completions", {
        "messages": [{"role": "system", "content": "Be brief."}, *ask("What is this?", 3)],
        "max_tokens": 12, "temperature": 0})[1]
    assert have["output"][0]["content"][0]["text"] == chat["choices"][0]["message"]["content"]
    assert have["usage"]["input_tokens"] == chat["usage"]["prompt_tokens"]
    assert have["instructions"] == "Be brief." and have["max_output_tokens"] == 12 and have["temperature"] == 0
    assert have["tools"] == [] and have["tool_choice"] == "auto"
    with_string = both(server, input="hi", ignore_eos=True)
    assert with_string["status"] == "incomplete" and with_string["usage"]["output_tokens"] == 12
    assert with_string["incomplete_details"] == {"reason": "max_output_tokens"}


def test_the_clients_own_helpers(server):
    class Answer(BaseModel):
        ok: bool
    client = server.client()
    parsed = client.responses.parse(model="", input="hi", temperature=0, text_format=Answer, max_output_tokens=60)
    assert isinstance(parsed.output_parsed, Answer)
    with client.responses.stream(model="", input="hi", temperature=0, max_output_tokens=8) as s:
        texts = [e.delta for e in s if e.type == "response.output_text.delta"]
        assert s.get_final_response().output_text == "".join(texts)


def test_the_request_is_told_again_as_it_was(server):
    tool = TOOL | {"parameters": {"type": "object", "properties": {"ü\u0000\n": {
        "maximum": 10**30, "minimum": -1.5, "enum": [1, None, True, "x"], "multipleOf": 0.1, "const": 2**62}}}}
    metadata = {"a": "b"}
    have = server.post("/v1/responses", {"input": "hi", "tools": [tool], "metadata": metadata, "max_output_tokens": 1})
    assert have[0] == 200 and have[1]["tools"] == [tool] and have[1]["metadata"] == metadata


@pytest.fixture(scope="module")
def talker(tmp_path_factory):
    s = Server("--model", str(parrot.write_talker(tmp_path_factory.mktemp("responses") / "model", CALL)))
    yield s
    assert s.stop() == 0


def test_a_conversation_with_a_tool(talker):
    items = [{"role": "user", "content": "the weather?"}]
    have = both(talker, input=items, tools=[TOOL], max_output_tokens=200)
    assert [i["type"] for i in have["output"]] == ["reasoning", "message", "function_call"]
    call = have["output"][2]
    assert json.loads(call["arguments"]) == {"at": "sea"} and call["name"] == "look" and have["tools"] == [TOOL]
    items += [*have["output"], {"type": "function_call_output", "call_id": call["call_id"], "output": "sun"}]
    have = both(talker, input=items, tools=[TOOL], max_output_tokens=200)
    assert [i["type"] for i in have["output"]] == ["message"] and have["status"] == "completed"
    assert have["output"][0]["content"][0]["text"] == "It is fine."


def test_pictures_beside_forced_calls_and_in_their_results(start):
    """A family whose template has places for pictures in every message, held to a strict tool and to a schema."""
    s = start(model=ROOT / "tests" / "model" / "qwen3_vl" / "published")
    picture = {"type": "input_image", "image_url": data_url(png(3)), "detail": "auto"}
    schema = {"type": "object", "properties": {"at": {"type": "string", "maxLength": 6}, "n": {"enum": [1, 2]}},
              "required": ["at", "n"], "additionalProperties": False}
    tool = TOOL | {"strict": True, "parameters": schema}
    items = [{"role": "user", "content": [picture, {"type": "input_text", "text": "Tap."}]}]
    have = both(s, input=items, tools=[tool], tool_choice="required", parallel_tool_calls=False, max_output_tokens=300)
    [call] = have["output"]
    assert call["type"] == "function_call" and json.loads(call["arguments"])["n"] in (1, 2)
    tokens = []
    for result in ([], [picture]):
        output = [{"type": "input_text", "text": "See."}, *result]
        have = both(s, input=[*items, call, {"type": "function_call_output", "call_id": call["call_id"],
                                             "output": output}],
                    max_output_tokens=300, text={"format": {"type": "json_schema", "name": "x", "strict": True,
                                                            "schema": schema}})
        assert json.loads(have["output"][0]["content"][0]["text"])["n"] in (1, 2)
        tokens.append(have["usage"]["input_tokens"])
    assert tokens[1] > tokens[0] + 20              # those of the second picture


def test_tools_that_the_model_is_not_told_of(talker):
    """Codex lists tools of OpenAI's beside its functions, and more tools among the items."""
    function = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}
    others = [{"type": "web_search"}, {"type": "custom", "name": "apply_patch"}, {"type": "local_shell"},
              {"type": "namespace", "name": "n", "tools": [function]}]

    def tokens(**more):
        status, answer = talker.post("/v1/responses", {"input": "hi", "max_output_tokens": 1} | more)
        assert status == 200, answer
        return answer["usage"]["input_tokens"]

    assert tokens(tools=others) == tokens() < tokens(tools=[function])
    assert tokens(tools=[others[0], function, *others[1:]]) == tokens(tools=[function])
    item = {"type": "additional_tools", "role": "developer", "tools": [*others, function]}
    assert tokens(input=[item, {"role": "user", "content": "hi"}]) == tokens(tools=[function])
    both_lists = tokens(input=[item, {"role": "user", "content": "hi"}], tools=[function | {"name": "g"}])
    assert both_lists == tokens(tools=[function, function | {"name": "g"}])
    assert tokens(tools=[function], tool_choice={"type": "none"}) == tokens()


def test_errors_of_a_later_tool_name_it(talker):
    wrong = {"type": "function", "name": "f", "strict": True, "parameters": {"type": "object", "properties": {
        "a": {"type": "string", "format": "no such"}}}}
    hi = {"role": "user", "content": "hi"}
    for body, field in (({"input": "a", "tools": [{"type": "web_search"}, wrong]}, "tools[1].parameters"),
                        ({"input": [{"type": "additional_tools", "tools": [{"type": "custom"}, wrong]}, hi]},
                         "input[0].tools[1].parameters")):
        status, answer = talker.post("/v1/responses", body)
        assert status == 400 and answer["error"]["param"] == field, answer


@pytest.mark.parametrize("body, field", [
    ({}, "input"), ({"input": 5}, "input"), ({"input": []}, "input"), ({"input": [5]}, "input[0]"),
    ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
    ({"input": [{"content": "x"}]}, "input[0].role"),
    ({"input": [{"role": "user"}]}, "input[0].content"),
    ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0].type"),
    ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "x"}]}]},
     "input[0].content[0].image_url"),
    ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
    ({"input": [{"type": "function_call", "name": "x"}]}, "input[0].call_id"),
    ({"input": [{"type": "function_call_output", "call_id": "x"}]}, "input[0].output"),
    ({"input": "a", "instructions": 5}, "instructions"),
    ({"input": "a", "max_output_tokens": 0}, "max_output_tokens"),
    ({"input": "a", "previous_response_id": "resp_1"}, "previous_response_id"),
    ({"input": "a", "conversation": "c"}, "conversation"),
    ({"input": "a", "background": True}, "background"),
    ({"input": "a", "prompt": {"id": "x"}}, "prompt"),
    ({"input": "a", "truncation": "auto"}, "truncation"),
    ({"input": "a", "include": "x"}, "include"),
    ({"input": "a", "tools": [{"type": "weather"}]}, "tools[0].type"),
    ({"input": "a", "tools": [{"type": "web_search"}], "tool_choice": {"type": "web_search"}}, "tool_choice.type"),
    ({"input": "a", "tools": [{"type": "web_search"}], "tool_choice": "required"}, "tool_choice"),
    ({"input": [{"type": "additional_tools", "tools": [{"type": "function"}]}]}, "input[0].tools[0].name"),
    ({"input": [{"type": "additional_tools", "tools": 5}]}, "input[0].tools"),
    ({"input": "a", "tools": [{"type": "function"}]}, "tools[0].name"),
    ({"input": "a", "tools": [{"type": "function", "name": "f", "parameters": [1]}]}, "tools[0].parameters"),
    ({"input": "a", "tool_choice": {"type": "file_search"}}, "tool_choice.type"),
    ({"input": "a", "text": {"format": {"type": "x"}}}, "text.format.type"),
    ({"input": "a", "text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
    ({"input": "a", "reasoning": {"effort": 5}}, "reasoning.effort"),
    ({"input": "a", "n": 2}, "n"),
])
def test_what_is_refused(server, body, field):
    status, answer = server.post("/v1/responses", body)
    assert status == 400 and answer["error"]["param"] == field and field in answer["error"]["message"], answer
