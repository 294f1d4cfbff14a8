"""Calls of tools that have to be made, and calls that have to keep to a strict schema: in every format that is known,
whole and streamed. A parrot (parrot.py) that wants to say something else, or nothing, is led by the grammar."""

import json
from typing import Literal, Optional

import pytest
from pydantic import BaseModel, ConfigDict, Field

import agents
import parrot
from conftest import Server
from test_tools import SCRIPTS, TOOLS, WANTED, ask, body, calls_of, joined, stream

FORMS = list(SCRIPTS)
NAMED = {"type": "function", "function": {"name": "get_time"}}
ENDS = ['"', "}", "]", *parrot.MARKS]


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    x: int = Field(ge=0, le=99)


class Arguments(BaseModel):
    """All that the formats write in different ways: texts, numbers, lists, objects behind a $ref, alternatives."""
    model_config = ConfigDict(extra="forbid", strict=True)
    label: str = Field(max_length=10)
    at: str = Field(pattern="^[a-c<]{2,4}$")
    kind: Literal["on", "off </arg"]
    note: Optional[str] = Field(default=None, max_length=5)
    places: list[Inner] = Field(max_length=2)
    count: int = Field(ge=1, le=12)


WIDE = [{"type": "function", "function": {"name": "wide", "parameters": Arguments.model_json_schema()}}]


@pytest.fixture(scope="module", params=FORMS)
def speaker(request, tmp_path_factory):
    folder = parrot.write(tmp_path_factory.mktemp("parrot") / request.param, SCRIPTS[request.param], request.param,
                          hint=parrot.HINTS[request.param] + "<think></think>")
    s = Server("--model", str(folder), "--max-num-seqs", "4", "--served-model-name", "m")
    s.form = request.param
    yield s
    assert s.stop() == 0, "".join(s.lines[-50:])


def hot(server, **more):
    """A draw from all that the grammar allows, in which what ends a value or a call is likely."""
    if not hasattr(server, "ends"):
        tokens = [server.post("/tokenize", {"prompt": s, "add_special_tokens": False})[1]["tokens"] for s in ENDS]
        server.ends = {str(t[0]): 6 for t in tokens if len(t) == 1}
    return {"temperature": 1, "logit_bias": server.ends, "max_tokens": 900} | more


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
def test_what_the_model_means_anyway(speaker, choice):
    why = "tool_calls" if choice == "required" else "stop"
    got = ask(speaker, "one", tool_choice=choice)
    assert calls_of(got["message"]) == WANTED["one"] and got["message"]["content"] is None
    assert got["finish_reason"] == why
    text, _, calls, ended = joined(stream(speaker, "one", tool_choice=choice))
    assert (text, [(n, json.loads(a)) for _, n, a in calls], ended) == ("", WANTED["one"], why)


def test_the_named_one_against_its_will(speaker):
    for cue in ("one", "tool", "spoilt"):
        got = ask(speaker, cue, **hot(speaker, tool_choice=NAMED, seed=1))
        assert (calls_of(got["message"]), got["finish_reason"]) == ([("get_time", {})], "stop")
    older = {"tools": None, "functions": [t["function"] for t in TOOLS], "function_call": {"name": "get_time"}}
    message = ask(speaker, "one", **hot(speaker, seed=1, **older))["message"]
    assert message["function_call"] == {"name": "get_time", "arguments": "{}"}


@pytest.mark.parametrize("seed", range(3))
def test_arguments_keep_to_the_schema(speaker, seed):
    more = hot(speaker, tools=WIDE, tool_choice="required", parallel_tool_calls=False, seed=seed)
    got = ask(speaker, "nothing", **more)
    assert got["finish_reason"] == "tool_calls", got
    (name, arguments), = calls_of(got["message"])
    assert name == "wide" and Arguments.model_validate(arguments)
    text, _, calls, why = joined(stream(speaker, "nothing", **more))
    assert (text, [(n, json.loads(a)) for _, n, a in calls], why) == ("", [(name, arguments)], "tool_calls")


def test_several_calls(speaker):
    end = speaker.post("/tokenize", {"prompt": parrot.END, "add_special_tokens": False})[1]["tokens"][0]
    more = hot(speaker, tools=TOOLS[1:], tool_choice="required", seed=1)
    more["logit_bias"] = more["logit_bias"] | {str(end): -22}
    calls = calls_of(ask(speaker, "nothing", **more)["message"])
    assert len(calls) > 1 and set(map(repr, calls)) == {repr(("get_time", {}))}
    assert len(calls_of(ask(speaker, "nothing", **more | {"parallel_tool_calls": False})["message"])) == 1


def test_strict_functions(speaker):
    """The model may write what it wants, but where it calls, the arguments are the schema's and not its own."""
    def tools(strict):
        schema = {"type": "object", "properties": {"city": {"enum": [5]}}, "required": ["city"]}
        function = {"name": "get_weather", "parameters": schema, "strict": strict}
        return [{"type": "function", "function": function}, TOOLS[1]]

    assert calls_of(ask(speaker, "one", tools=tools(True))["message"]) == [("get_weather", {"city": 5})]
    assert calls_of(ask(speaker, "one", tools=tools(False))["message"]) == WANTED["one"]
    (_, name, arguments), = joined(stream(speaker, "one", tools=tools(True)))[2]
    assert (name, json.loads(arguments)) == ("get_weather", {"city": 5})
    assert ask(speaker, "tool", tools=tools(True))["message"]["content"] == "It rains in Bonn."


POINT = {"type": "json_schema", "json_schema": {"name": "p", "schema": {
    "type": "object", "properties": {"x": {"type": "integer", "minimum": 0, "maximum": 9}}, "required": ["x"],
    "additionalProperties": False}}}


def test_calls_or_the_text_that_was_asked_for(speaker):
    """With `auto` the answer is calls, as whole as if they were forced, or a text that fits; never anything else."""
    got = ask(speaker, "one", response_format=POINT)
    assert calls_of(got["message"]) == WANTED["one"] and got["message"]["content"] is None
    assert got["finish_reason"] == "tool_calls"
    text, _, calls, why = joined(stream(speaker, "one", response_format=POINT))
    assert (text, [(n, json.loads(a)) for _, n, a in calls], why) == ("", WANTED["one"], "tool_calls")
    names = {t["function"]["name"] for t in TOOLS}
    for seed in range(8):                  # what the model would say fits neither
        got = ask(speaker, ("tool", "nothing")[seed % 2], **hot(speaker, response_format=POINT, seed=seed))
        called = calls_of(got["message"])
        assert (got["message"]["content"] is None) == bool(called) and {n for n, _ in called} <= names
        if not called:
            point = json.loads(got["message"]["content"])
            assert point.keys() == {"x"} and point["x"] in range(10)
    for cue, kept in (("tool", "It rains in Bonn."), ("one", None)):
        got = ask(speaker, cue, guided_choice=["It rains in Bonn.", "No."])
        assert got["message"]["content"] == kept
        assert calls_of(got["message"]) == (WANTED["one"] if cue == "one" else [])
    assert ask(speaker, "one", tool_choice="none", guided_choice=["No."])["message"]["content"] == "No."
    wrong = tools_of(parameters={"type": "object", "properties": {"a": {"contentSchema": {}}}}, strict=True)
    assert refused(speaker, tools=wrong, response_format=POINT).startswith("tools[1].function.parameters")


def allowed(*names, mode="auto"):
    return {"type": "allowed_tools", "allowed_tools": {
        "mode": mode, "tools": [{"type": "function", "function": {"name": n}} for n in names]}}


def test_allowed_tools(speaker):
    """Only those that are allowed may be called, and the model is not told of the others."""
    assert calls_of(ask(speaker, "one", tool_choice=allowed("get_weather"))["message"]) == WANTED["one"]
    got = ask(speaker, "one", **hot(speaker, tool_choice=allowed("get_time", mode="required"), seed=1,
                                    parallel_tool_calls=False))
    assert (calls_of(got["message"]), got["finish_reason"]) == ([("get_time", {})], "tool_calls")
    both = ask(speaker, "two", tool_choice=allowed("get_time", "get_weather"))["message"]
    assert calls_of(both) == WANTED["two"]

    def prompt(choice):
        return speaker.post("/v1/chat/completions/render", body("one", tool_choice=choice))[1]["text"]

    assert "get_weather" in prompt("auto") and "get_weather" not in prompt(allowed("get_time"))
    for choice, field in [
            ({"type": "allowed_tools"}, "allowed_tools"),
            ({"type": "allowed_tools", "allowed_tools": []}, "allowed_tools"),
            (allowed("get_time", mode="maybe"), "allowed_tools.mode"), (allowed(), "allowed_tools.tools"),
            ({"type": "allowed_tools", "allowed_tools": {"mode": "auto"}}, "allowed_tools.tools"),
            (allowed("get_time", "nobody"), "allowed_tools.tools[1].function.name"),
            ({"type": "allowed_tools", "allowed_tools": {"tools": [{}]}}, "allowed_tools.tools[0].function.name"),
            ({"type": "allowed_tools", "allowed_tools": {"tools": [5]}}, "allowed_tools.tools[0]")]:
        assert refused(speaker, tool_choice=choice) == "tool_choice." + field
    assert refused(speaker, tools=None, tool_choice=allowed("a")) == "tool_choice.allowed_tools.tools[0].function.name"


def test_allowed_tools_of_responses(speaker):
    tools = [{"type": "function", **t["function"]} for t in TOOLS]
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "get_time"}]}
    status, answer = speaker.post("/v1/responses", {
        "input": "one", "tools": tools, "tool_choice": choice, "parallel_tool_calls": False, "max_output_tokens": 300})
    assert status == 200, answer
    assert [(o["type"], o.get("name")) for o in answer["output"]] == [("function_call", "get_time")]
    for wrong, field in [(choice | {"mode": 5}, "tool_choice.mode"),
                         (choice | {"tools": 5}, "tool_choice.tools"),
                         (choice | {"tools": [{"type": "function"}]}, "tool_choice.tools[0].name"),
                         (choice | {"tools": [{"type": "function", "name": "no"}]}, "tool_choice.tools[0].name")]:
        status, answer = speaker.post("/v1/responses", {"input": "one", "tools": tools, "tool_choice": wrong})
        assert (status, answer["error"]["param"]) == (400, field)


def tools_of(**function):
    return [TOOLS[1], {"type": "function", "function": {"name": "f"} | function}]


def refused(server, code=None, **more):
    status, answer = server.post("/v1/chat/completions", body("one", **more))
    assert status == 400 and (code is None or answer["error"]["code"] == code), answer
    return answer["error"]["param"]


def test_refusals(speaker):
    tools = tools_of
    no = {"type": "object", "properties": {"a": {"contentSchema": {}}}}
    at = "tools[1].function.parameters"
    for more in ({"tool_choice": "required"}, {"tool_choice": {"type": "function", "function": {"name": "f"}}}):
        assert refused(speaker, tools=tools(parameters=no), **more).startswith(at)
        assert refused(speaker, tools=tools(parameters=[]), **more) == at
        assert refused(speaker, tools=tools(parameters={"type": "array"}), **more) == at + ".type"
    assert refused(speaker, tools=tools(parameters=no, strict=True)).startswith(at)
    assert refused(speaker, tools=tools(strict="yes")) == "tools[1].function.strict"
    assert refused(speaker, tools=tools(name="a\"b"), tool_choice="required") == "tools[1].function.name"
    assert refused(speaker, tools=None, tool_choice="required") == "tool_choice"
    assert refused(speaker, tool_choice="required", guided_regex="a") == "guided_regex"
    older = {"tools": None, "functions": [{"name": "f", "parameters": no}], "function_call": {"name": "f"}}
    assert refused(speaker, **older).startswith("functions[0].parameters")
    # a schema that nothing has to keep to is the template's alone; the form of a text is no matter of a call's
    assert ask(speaker, "tool", tools=tools(parameters=no))["message"]["content"]
    assert calls_of(ask(speaker, "one", tool_choice=NAMED, response_format={"type": "json_object"})["message"])


def test_thoughts_come_first(tmp_path):
    folder = parrot.write(tmp_path / "m", {"q": "Well.\n</think>\n\nYes."}, "none", opening="<think>", hint="</think>")
    s = Server("--model", str(folder))
    try:
        message = ask(s, "q", tool_choice=NAMED)["message"]
        assert message["reasoning"] == "Well." and calls_of(message) == [("get_time", {})]
        assert message["content"] is None
    finally:
        assert s.stop() == 0


def dumped(message):
    return {"content": message.content,
            "tool_calls": [c.model_dump(include={"id", "type", "function"}) for c in message.tool_calls]}


@pytest.mark.parametrize("streamed", [False, True])
def test_ten_conversations(speaker, streamed):
    client = speaker.client()

    def call(messages, tools, choice, seed):
        more = hot(speaker, model="m", messages=messages, tools=tools, tool_choice=choice, seed=seed)
        if not streamed:
            return dumped(client.chat.completions.create(**more).choices[0].message)
        with client.chat.completions.stream(**more) as events:
            return dumped(events.get_final_completion().choices[0].message)

    assert len(agents.CONVERSATIONS) == 10
    for i, steps in enumerate(agents.CONVERSATIONS):
        assert agents.run(call, steps, 10 * i) >= len(steps)


def test_the_shipped_model_plays_along(server):
    """It knows nothing of tools; its calls are read all the same."""
    def call(messages, tools, choice, seed):
        status, answer = server.post("/v1/chat/completions", hot(
            server, messages=messages, tools=tools, tool_choice=choice, seed=seed, max_tokens=200))
        assert status == 200, answer
        return answer["choices"][0]["message"]

    assert agents.run(call, ["tap", "swipe", "note"]) == 3
