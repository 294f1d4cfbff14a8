"""Errors name the fields of the request's own form. /v1/responses and /v1/messages are translated into chats, so most
of what can be wrong is found in a field that the client did not write; the rows say what it is called in each form.

A row: what is wrong, and for each form the change of the request and the field that the error has to name."""

import base64
import json

import pytest

from conftest import data_url, png

CUT = png(1)[:200]
CUT64, LONG = base64.b64encode(CUT).decode(), "word " * 60000
NO_BASE64 = "data:image/png;base64,@@@@"
SCHEMA = {"type": "object", "properties": {"x": {"type": "string", "pattern": "("}}, "required": ["x"]}
BODIES = {"/v1/responses": {"input": "hi", "max_output_tokens": 4}, "/v1/messages": {
    "max_tokens": 4, "messages": [{"role": "user", "content": "hi"}]}}
FOREIGN = {"/v1/responses": ("messages[", "messages must", "response_format", "image_url.url", ".function",
                             "max_completion_tokens"),
           "/v1/messages": ("image_url", "response_format", "parameters", ".function", "continue_final")}
TEXT, THOUGHT = {"type": "text", "text": "x"}, {"type": "thinking", "thinking": "x"}


def image(source):
    return {"type": "image", "source": source}


def b64(data):
    return image({"type": "base64", "media_type": "image/png", "data": data})


def said(*parts, role="user"):
    return {"role": role, "content": parts[0] if parts == ("hi",) else list(parts)}


def asks(*content):
    return {"messages": [said(*content)]}


def picture(url):
    return {"type": "input_image", "image_url": url}


CALL = {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]}
FUNCTION = {"type": "function_call", "call_id": "c", "name": "f"}
OUTPUT = {"type": "function_call_output", "call_id": "c"}
TOOL = {"type": "function", "name": "f", "parameters": SCHEMA}
OWN_TOOL = {"name": "f", "input_schema": SCHEMA}

ROWS = {
    "a damaged picture": [
        ("/v1/messages", asks(b64(CUT64)), "messages[0].content[0].source.data"),
        ("/v1/messages", asks(TEXT, b64(CUT64)), "messages[0].content[1].source.data"),
        ("/v1/responses", {"input": [said(picture(data_url(CUT)))]}, "input[0].content[0].image_url")],
    "the second picture, behind what chats have no part for": [
        ("/v1/messages", asks(THOUGHT, TEXT, b64(CUT64)), "messages[0].content[2].source.data"),
        ("/v1/messages", {"messages": [said(TEXT), CALL, said({"type": "tool_result", "tool_use_id": "t"}, TEXT,
                                                              b64(CUT64))]}, "messages[2].content[2].source.data")],
    "a picture that a tool has made": [
        ("/v1/messages", {"messages": [said(TEXT), CALL, said({"type": "tool_result", "tool_use_id": "t",
                                                               "content": [TEXT, b64("@@@@")]})]},
         "messages[2].content[0].content[1].source.data"),
        ("/v1/responses", {"input": [said("hi"), FUNCTION, OUTPUT | {"output": [picture(NO_BASE64)]}]},
         "input[2].output[0].image_url")],
    "no base64": [
        ("/v1/messages", asks(b64("@@@@")), "messages[0].content[0].source.data"),
        ("/v1/responses", {"input": [said(picture(NO_BASE64))]}, "input[0].content[0].image_url")],
    "no data": [("/v1/messages", asks(b64("")), "messages[0].content[0].source.data")],
    "a media type that is none": [
        ("/v1/messages", asks(image({"type": "base64", "media_type": "image/png,", "data": CUT64})),
         "messages[0].content[0].source.media_type")],
    "a picture elsewhere": [
        ("/v1/messages", asks(image({"type": "url", "url": "https://example.com/a.png"})),
         "messages[0].content[0].source.url"),
        ("/v1/messages", asks(image({"type": "url", "url": "x"})), "messages[0].content[0].source.url"),
        ("/v1/responses", {"input": [said(picture("https://example.com/a.png"))]}, "input[0].content[0].image_url")],
    "a part of a wrong type": [
        ("/v1/responses", {"input": [said({"type": "input_text", "text": 5})]}, "input[0].content[0].text"),
        ("/v1/responses", {"input": [said("hi"), FUNCTION, OUTPUT | {"output": [5]}]}, "input[2].output[0]"),
        ("/v1/messages", asks({"type": "text", "text": 5}), "messages[0].content[0].text")],
    "content that is missing": [
        ("/v1/responses", {"instructions": "x", "input": [{"role": "user"}]}, "input[0].content"),
        ("/v1/responses", {"input": [said("hi"), OUTPUT | {"output": None}]}, "input[1].output"),
        ("/v1/messages", {"system": "x", "messages": [{"role": "user"}]}, "messages[0].content")],
    "arguments that are too deep": [
        ("/v1/responses", {"input": [said("hi"), FUNCTION | {"arguments": "[" * 500}]}, "input[1].arguments")],
    "a prompt that is too long": [
        ("/v1/responses", {"input": LONG}, "input"),
        ("/v1/messages", asks({"type": "text", "text": LONG}), "messages")],
    "too many stops": [("/v1/messages", {"stop_sequences": ["x"] * 17}, "stop_sequences")],
    "a stop that is too long": [("/v1/messages", {"stop_sequences": ["x" * 5000]}, "stop_sequences")],
    "a stop with U+0000": [("/v1/messages", {"stop_sequences": ["\0"]}, "stop_sequences")],
    "a schema that cannot be kept to": [
        ("/v1/responses", {"text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}}},
         "text.format.schema"),
        ("/v1/responses", {"text": {"format": {"type": "json_schema", "name": "n", "schema": {}, "strict": 5}}},
         "text.format.strict"),
        ("/v1/messages", {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
         "output_config.format.schema")],
    "the schema of a tool that is forced": [
        ("/v1/responses", {"tools": [TOOL], "tool_choice": "required"}, "tools[0].parameters"),
        ("/v1/messages", {"tools": [OWN_TOOL], "tool_choice": {"type": "any"}}, "tools[0].input_schema")],
    "a tool that is none": [
        ("/v1/responses", {"tools": [TOOL], "tool_choice": {"type": "function", "name": "g"}}, "tool_choice.name"),
        ("/v1/messages", {"tools": [OWN_TOOL], "tool_choice": {"type": "tool", "name": "g"}}, "tool_choice.name")],
    "pictures that the template has no place for": [
        ("/v1/responses", {"input": [said("hi"), FUNCTION, OUTPUT | {"output": [picture(data_url(png(1)))]}]}, "input"),
        ("/v1/messages", {"messages": [said(TEXT), said(b64(base64.b64encode(png(1)).decode()), role="assistant")]},
         "messages")],
    "a limit that is too large": [
        ("/v1/responses", {"max_output_tokens": 2**40}, "max_output_tokens"),
        ("/v1/messages", {"max_tokens": 2**40}, "max_tokens")],
    "what a chat has, too": [
        ("/v1/responses", {"logit_bias": []}, "logit_bias"),
        ("/v1/messages", {"mm_processor_kwargs": {"do_resize": False}}, "mm_processor_kwargs.do_resize"),
        ("/v1/messages", {"response_format": {"type": "x"}}, "response_format.type")],
}


@pytest.mark.parametrize("path, change, field", [
    pytest.param(*row, id=f"{what}-{row[2]}") for what, rows in ROWS.items() for row in rows])
def test_the_field_has_its_own_name(server, path, change, field):
    status, answer = server.post(path, BODIES[path] | change)
    error = answer["error"]
    assert status == 400 and error["param"] == field, answer
    assert field in error["message"] or field in ("input", "messages"), answer
    if field.split(".")[0] not in FOREIGN[path]:
        assert not [name for name in FOREIGN[path] if name in error["message"]], answer


def test_counting_names_them_alike(server):
    status, answer = server.post("/v1/messages/count_tokens", asks(TEXT, b64(CUT64)))
    assert status == 400 and answer["error"]["param"] == "messages[0].content[1].source.data"
    assert "messages[0].content[1].source.data" in answer["error"]["message"]
    assert "image_url" not in json.dumps(answer)
