"""Calls of tools and thoughts, in every format that is known, as the openai client reads them: whole and streamed. The
model is a parrot (parrot.py) that says what a family's model would. Every answer is validated strictly."""

import json

import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel

import parrot
from conftest import Server

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "Weather", "parameters": PARAMETERS}},
         {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}}]

# For each format: one call, two calls after a text, and one that is spoilt. Then all speak of the result.
SCRIPTS = {
    "hermes": {
        "one": '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Köln", "days": 3}}\n</tool_call>',
        "two": 'Let me look.\n<tool_call>\n{"arguments": {"city": "Bonn"}, "name": "get_weather"}\n</tool_call>\n'
               '<tool_call>\n{"name": "get_time"}\n</tool_call>',
        "spoilt": '<tool_call>\n{"name": "get_weather", "arguments": [3]}\n</tool_call>',
        "tool": "It rains in Bonn.", "think": "<think>\nHm, easy.\n</think>\n\nForty-two."},
    "glm": {
        "one": "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Köln</arg_value>\n<arg_key>days</arg_key>\n"
               "<arg_value>3</arg_value>\n</tool_call>",
        "two": "Let me look.\n<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Bonn</arg_value>\n"
               "</tool_call>\n<tool_call>get_time\n</tool_call>",
        "spoilt": '<tool_call>{"name": 3}</tool_call>',
        "tool": "It rains in Bonn.", "think": "<think>\nHm, easy.\n</think>\n\nForty-two."},
    "llama3_json": {
        "one": '<|python_tag|>{"name": "get_weather", "parameters": {"city": "Köln", "days": 3}}',
        "two": '{"type": "function", "name": "get_weather", "parameters": {"city": "Bonn"}}; {"name": "get_time", '
               '"parameters": {}}',
        "spoilt": '{"name": "nobody", "parameters": {}} !',
        "tool": "It rains in Bonn.", "think": "<think>\nHm, easy.\n</think>\n\nForty-two."},
}


@pytest.fixture(scope="module", params=SCRIPTS)
def speaker(request, tmp_path_factory):
    """A server whose model writes calls in one of the formats."""
    hint = parrot.HINTS[request.param] + "<think></think>"
    folder = parrot.write(tmp_path_factory.mktemp("parrot") / request.param, SCRIPTS[request.param], request.param,
                          hint=hint)
    s = Server("--model", str(folder), "--max-num-seqs", "4", "--served-model-name", "m")
    s.form = request.param
    yield s
    assert s.stop() == 0, "".join(s.lines[-50:])


def body(cue, **more):
    return {"model": None, "messages": [{"role": "user", "content": cue}], "temperature": 0, "tools": TOOLS} | more


def ask(server, cue, **more):
    status, answer = server.post("/v1/chat/completions", body(cue, **more))
    assert status == 200, answer
    ChatCompletion.model_validate(answer, strict=True)
    return answer["choices"][0]


def stream(server, cue, **more):
    """The chunks, each validated."""
    data = server.request("POST", "/v1/chat/completions", json.dumps(body(cue, stream=True, **more)))[2].decode()
    assert data.endswith("data: [DONE]\n\n"), data
    chunks = [json.loads(line[6:]) for line in data.splitlines() if line.startswith("data: {")]
    for c in chunks:
        ChatCompletionChunk.model_validate(c, strict=True)
    return chunks


def joined(chunks, index=0):
    """What a client makes of the deltas of one choice."""
    text, thoughts, calls, why = "", "", [], None
    for c in [c for chunk in chunks for c in chunk["choices"] if c["index"] == index]:
        assert why is None, "a chunk after the last one"
        text += c["delta"].get("content") or ""
        thoughts += c["delta"].get("reasoning_content", "")
        assert c["delta"].get("reasoning_content") == c["delta"].get("reasoning")
        for d in c["delta"].get("tool_calls", []):
            if d["index"] == len(calls):
                assert d["id"] and d["type"] == "function" and d["function"]["name"]
                calls.append([d["id"], d["function"]["name"], d["function"]["arguments"]])
            else:
                assert d["index"] == len(calls) - 1 and "id" not in d and "name" not in d["function"]
                calls[-1][2] += d["function"]["arguments"]
        why = c["finish_reason"]
    return text, thoughts, calls, why


def calls_of(message):
    return [(c["function"]["name"], json.loads(c["function"]["arguments"])) for c in message.get("tool_calls", [])]


WANTED = {"one": [("get_weather", {"city": "Köln", "days": 3})],
          "two": [("get_weather", {"city": "Bonn"}), ("get_time", {})]}


@pytest.mark.parametrize("cue", WANTED)
def test_calls(speaker, cue):
    choice = ask(speaker, cue)
    assert calls_of(choice["message"]) == WANTED[cue]
    assert choice["finish_reason"] == "tool_calls" and len({c["id"] for c in choice["message"]["tool_calls"]}) == len(
        WANTED[cue])
    text = "Let me look." if cue == "two" and speaker.form != "llama3_json" else None
    assert choice["message"]["content"] == text
    chunks = stream(speaker, cue)
    have, _, calls, why = joined(chunks)
    assert (have or None) == text and why == "tool_calls"
    assert [(name, json.loads(arguments)) for _, name, arguments in calls] == WANTED[cue]


def test_spoilt_calls_are_text(speaker):
    text = SCRIPTS[speaker.form]["spoilt"]
    choice = ask(speaker, "spoilt")
    assert (choice["message"]["content"], choice["finish_reason"]) == (text, "stop")
    assert "tool_calls" not in choice["message"]
    assert joined(stream(speaker, "spoilt")) == (text, "", [], "stop")


def test_text_without_tools_stays_text(speaker):
    for more in ({"tools": None}, {"tool_choice": "none"}):
        message = ask(speaker, "two", skip_special_tokens=False, **more)["message"]
        assert message["content"] == SCRIPTS[speaker.form]["two"] and "tool_calls" not in message


def test_only_one_call(speaker):
    choice = ask(speaker, "two", parallel_tool_calls=False)
    assert calls_of(choice["message"]) == WANTED["two"][:1]
    assert [c[1] for c in joined(stream(speaker, "two", parallel_tool_calls=False))[2]] == ["get_weather"]


def test_cut_calls(speaker):
    """The limit comes in the middle of a call: whole, it is text; streamed, its beginning is out."""
    choice = ask(speaker, "one", max_tokens=10)
    assert choice["finish_reason"] == "length" and "tool_calls" not in choice["message"]
    assert SCRIPTS[speaker.form]["one"].startswith(choice["message"]["content"])
    assert joined(stream(speaker, "one", max_tokens=10))[3] == "length"


def test_older_form(speaker):
    more = {"tools": None, "functions": [t["function"] for t in TOOLS], "function_call": "auto"}
    choice = ask(speaker, "one", **more)
    call = choice["message"]["function_call"]
    assert (call["name"], json.loads(call["arguments"])) == WANTED["one"][0]
    assert choice["finish_reason"] == "function_call" and choice["message"]["content"] is None
    name = arguments = ""
    for c in stream(speaker, "one", **more):
        for x in c["choices"]:
            name += x["delta"].get("function_call", {}).get("name", "")
            arguments += x["delta"].get("function_call", {}).get("arguments", "")
    assert (name, json.loads(arguments)) == WANTED["one"][0] and x["finish_reason"] == "function_call"
    history = [{"role": "user", "content": "one"}, {"role": "assistant", "content": None, "function_call": call},
               {"role": "function", "name": call["name"], "content": "rain"}]
    assert ask(speaker, "", **more | {"messages": history})["message"]["content"] == "It rains in Bonn."


def test_thoughts(speaker):
    message = ask(speaker, "think", tools=None)["message"]
    assert (message["content"], message["reasoning"], message["reasoning_content"]) == ("Forty-two.", "Hm, easy.",
                                                                                       "Hm, easy.")
    assert joined(stream(speaker, "think"))[:2] == ("Forty-two.", "Hm, easy.")
    for more in ({"separate_reasoning": False}, {"reasoning_format": "none"}):
        message = ask(speaker, "think", skip_special_tokens=False, **more)["message"]
        assert message["content"] == SCRIPTS[speaker.form]["think"] and "reasoning" not in message
    message = ask(speaker, "think", include_reasoning=False)["message"]
    assert message["content"] == "Forty-two." and "reasoning" not in message
    # both names are accepted in the history, and are the same to the template
    prompts = [speaker.post("/v1/chat/completions", body("", messages=[
        {"role": "user", "content": "a"}, {"role": "assistant", "content": "b", name: "because"},
        {"role": "user", "content": "tool"}]))[1]["usage"]["prompt_tokens"] for name in
        ("reasoning", "reasoning_content", "other")]
    assert prompts[0] == prompts[1] > prompts[2]


def conversation(create):
    """An agent's loop: calls are carried out until there is none. `create` answers a list of messages."""
    messages = [{"role": "user", "content": "two"}]
    for _ in range(3):
        message = create(messages)
        if not message.tool_calls:
            return message.content, messages
        messages.append({"role": "assistant", "content": message.content,
                         "tool_calls": [c.model_dump(include={"id", "type", "function"}) for c in message.tool_calls]})
        messages += [{"role": "tool", "tool_call_id": c.id, "content": f"{c.function.name} says rain"}
                     for c in message.tool_calls]
    raise AssertionError("no end")


def test_agents(speaker):
    client = speaker.client()

    def whole(messages):
        done = client.chat.completions.create(model="m", messages=messages, tools=TOOLS, temperature=0)
        return done.choices[0].message

    def streamed(messages):
        kinds = set()
        with client.chat.completions.stream(model="m", messages=messages, tools=TOOLS, temperature=0) as s:
            for event in s:
                kinds.add(event.type)
            message = s.get_final_completion().choices[0].message
        assert not message.tool_calls or "tool_calls.function.arguments.done" in kinds
        return message

    for create in (whole, streamed):
        text, messages = conversation(create)
        assert text == "It rains in Bonn." and [m["role"] for m in messages] == ["user", "assistant", "tool", "tool"]


def test_parse(speaker):
    class get_weather(BaseModel):
        city: str
        days: int

    client = speaker.client()
    tools = [openai.pydantic_function_tool(get_weather)]
    done = client.chat.completions.parse(model="m", messages=[{"role": "user", "content": "one"}], tools=tools,
                                         temperature=0)
    assert done.choices[0].message.tool_calls[0].function.parsed_arguments == get_weather(city="Köln", days=3)


def test_several_answers_with_calls(speaker):
    status, answer = speaker.post("/v1/chat/completions", body("one", n=3))
    assert status == 200 and [c["index"] for c in answer["choices"]] == [0, 1, 2]
    ids = [c["message"]["tool_calls"][0]["id"] for c in answer["choices"]]
    assert len(set(ids)) == 3
    chunks = stream(speaker, "one", n=3)
    assert [[(n, json.loads(a)) for _, n, a in joined(chunks, i)[2]] for i in range(3)] == [WANTED["one"]] * 3


def thought_tokens(server, cue, begun=False, **more):
    """Those that are wholly between the marks, by the texts of the answer's tokens; and what the usage says."""
    status, answer = server.post("/v1/chat/completions", body(cue, logprobs=True, **more))
    assert status == 200, answer
    ChatCompletion.model_validate(answer, strict=True)
    text, n = "<think>" if begun else "", 0
    for token in answer["choices"][0]["logprobs"]["content"]:
        n += "<think>" in text and "</think>" not in text + token["token"]
        text += token["token"]
    return n, answer["usage"].get("completion_tokens_details")


def test_thoughts_are_counted(speaker):
    n, details = thought_tokens(speaker, "think")
    assert n > 2 and details == {"reasoning_tokens": n}
    cut, details = thought_tokens(speaker, "think", max_tokens=4)
    assert 0 < cut < n and details == {"reasoning_tokens": cut}
    assert thought_tokens(speaker, "think", include_reasoning=False)[1] == {"reasoning_tokens": n}
    assert thought_tokens(speaker, "tool")[1] == {"reasoning_tokens": 0}
    assert thought_tokens(speaker, "think", separate_reasoning=False)[1] is None
    assert thought_tokens(speaker, "think", n=3)[1] == {"reasoning_tokens": 3 * n}
    last = stream(speaker, "think", stream_options={"include_usage": True})[-1]
    assert last["usage"]["completion_tokens_details"] == {"reasoning_tokens": n}
    status, answer = speaker.post("/v1/responses", {"input": "think", "temperature": 0})
    assert status == 200 and answer["usage"]["output_tokens_details"] == {"reasoning_tokens": n}


def test_thoughts_that_the_prompt_opens(tmp_path):
    """Templates that end with <think>: the model writes only the end of its thoughts."""
    folder = parrot.write(tmp_path / "m", {"q": "Well.\n</think>\n\nYes."}, "none", opening="<think>",
                          hint="</think>")
    s = Server("--model", str(folder))
    try:
        message = ask(s, "q", tools=None)["message"]
        assert (message["content"], message["reasoning"]) == ("Yes.", "Well.")
        assert joined(stream(s, "q", tools=None))[:2] == ("Yes.", "Well.")
        n, details = thought_tokens(s, "q", begun=True, tools=None)
        assert n > 0 and details == {"reasoning_tokens": n}
    finally:
        assert s.stop() == 0


def test_parsers_by_option(tmp_path):
    folder = parrot.write(tmp_path / "m", SCRIPTS["hermes"], "none")
    for options, calls in (((), False), (("--tool-call-parser", "hermes"), True)):
        s = Server("--model", str(folder), *options)
        try:
            assert ("tool_calls" in ask(s, "one")["message"]) == calls
        finally:
            assert s.stop() == 0
