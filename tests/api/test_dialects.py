"""Chats as clients of other services write them: each gives the prompt of the chat in this server's own words. The
model is a parrot (parrot.py) whose template shows what reaches it."""

import json

import pytest

import parrot
from conftest import Server

TOOL = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {"x": {"type": "string"}}}}
TOOLS = [{"type": "function", "function": TOOL}]
CALL = {"role": "assistant", "content": "", "tool_calls": [
    {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    shows = "|{% if enable_thinking is defined %}[{{ enable_thinking }}]{% endif %}"
    s = Server(model=parrot.write(tmp_path_factory.mktemp("parrot") / "m", {}, opening=shows))
    yield s
    assert s.stop() == 0, "".join(s.lines[-50:])


def prompt(server, body):
    status, answer = server.post("/v1/chat/completions/render", {"messages": [{"role": "user", "content": "A"}]} | body)
    assert status == 200, answer
    return answer["text"]


def chat(*more):
    return {"messages": [{"role": "user", "content": "A"}, *more]}


def result(**content):
    return chat(CALL, {"role": "tool", "tool_call_id": "c"} | content)


def said(content, **more):
    return chat({"role": "assistant", "content": content} | more, {"role": "user", "content": "B"})


THOUGHT, TEXT = {"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "x"}
THINKS, THINKS_NOT = ({"chat_template_kwargs": {"enable_thinking": on}} for on in (True, False))
SAME = {
    "tool-null": (result(content=None), result(content="")),
    "tool-absent": (result(), result(content="")),
    "tool-empty-list": (result(content=[]), result(content="")),
    "observation-null": (chat({"role": "observation", "content": None}), chat({"role": "observation", "content": ""})),
    "thinking-part": (said([THOUGHT, TEXT]), said([TEXT], reasoning="hm")),
    "reasoning-part": (said([{"type": "reasoning", "reasoning": "hm"}, TEXT]), said([TEXT], reasoning="hm")),
    "thinking-parts": (said([THOUGHT, TEXT, THOUGHT]), said([TEXT], reasoning="hm\nhm")),
    "thinking-part-alone": (said([THOUGHT]), said("", reasoning="hm")),
    "thinking-part-told-twice": (said([THOUGHT, TEXT], reasoning_content="hm"), said([TEXT], reasoning="hm")),
    "prefix": (chat({"role": "assistant", "content": "The", "prefix": True}),
               chat({"role": "assistant", "content": "The"}) | {"continue_final_message": True}),
    "partial": (chat({"role": "assistant", "content": "The", "partial": True}),
                chat({"role": "assistant", "content": "The"}) | {"continue_final_message": True}),
    "prefix-false": (chat({"role": "assistant", "content": "The", "prefix": False}),
                     chat({"role": "assistant", "content": "The"})),
    "prefix-earlier": (said("The", prefix=True), said("The")),
    "enable_thinking": ({"enable_thinking": False}, THINKS_NOT),
    "thinking-disabled": ({"thinking": {"type": "disabled"}}, THINKS_NOT),
    "thinking-enabled": ({"thinking": {"type": "enabled", "budget_tokens": 9}}, THINKS),
    "thinking-auto": ({"thinking": {"type": "auto"}}, {}),
    "thinking-null": ({"thinking": None, "enable_thinking": None}, {}),
    "enable_thinking-wins": ({"enable_thinking": True, "thinking": {"type": "disabled"}, "reasoning_effort": "none"},
                             THINKS),
    "kwargs-win": ({"enable_thinking": True} | THINKS_NOT, THINKS_NOT),
    "flat-tool": ({"tools": [{"type": "function"} | TOOL]}, {"tools": TOOLS}),
    "choice-auto": ({"tools": TOOLS, "tool_choice": {"type": "auto"}}, {"tools": TOOLS}),
    "choice-none": ({"tools": TOOLS, "tool_choice": {"type": "none"}}, {}),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_prompt(server, name):
    one, other = SAME[name]
    assert prompt(server, one) == prompt(server, other)


def test_the_template_shows_what_matters(server):
    """Else the prompts above would be equal for nothing."""
    differ = [{}, THINKS, THINKS_NOT, {"tools": TOOLS}, said("x"), said("x", reasoning="hm"), SAME["prefix"][1],
              SAME["prefix-false"][1]]
    assert len({prompt(server, body) for body in differ}) == len(differ)


@pytest.mark.parametrize("choice", [{"type": "required"}, {"type": "function", "name": "f"}])
def test_choices_that_force_a_call(server, choice):
    body = chat() | {"tools": [{"type": "function"} | TOOL], "tool_choice": choice, "max_tokens": 300, "temperature": 0,
                     "logit_bias": {str(server.post("/tokenize", {"prompt": '"'})[1]["tokens"][0]): 100}}
    status, answer = server.post("/v1/chat/completions", body)
    assert status == 200 and answer["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "f", answer


@pytest.mark.parametrize("body,field", [
    (chat({"role": "assistant", "content": "The", "prefix": "x"}), "messages[1].prefix"),
    (chat({"role": "assistant", "content": "The", "partial": 1}), "messages[1].partial"),
    ({"thinking": {"type": "off"}}, "thinking.type"),
    (said([{"type": "thinking"}]), "messages[1].content[0].thinking"),
    (chat({"role": "user", "content": [THOUGHT]}), "messages[1].content[0].type"),
    ({"tools": TOOLS, "tool_choice": {"type": "function", "name": "g"}}, "tool_choice.name"),
    ({"tool_choice": {"type": "required"}}, "tool_choice"),
])
def test_what_is_refused(server, body, field):
    status, answer = server.post("/v1/chat/completions/render", chat() | body)
    assert status == 400 and answer["error"]["param"] == field, answer


STRICT = ("{% for m in messages %}{% if m.role == 'system' and not loop.first %}"
          "{{ raise_exception('System message must be at the beginning.') }}{% endif %}"
          "{{ m.role }}:{{ m.content }}|{% endfor %}")


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    """Its template allows one message of instructions, as those of Gemma and Mistral do."""
    folder = parrot.write(tmp_path_factory.mktemp("parrot") / "m", {}, opening="|")
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": parrot.END, "chat_template": STRICT}))
    s = Server(model=folder)
    yield s
    assert s.stop() == 0, "".join(s.lines[-50:])


def test_several_instructions_at_the_beginning(server, strict):
    """They are told as one only where the template would refuse them."""
    said = [{"role": "system", "content": "a"}, {"role": "developer", "content": [{"type": "text", "text": "b"}, "c"]},
            {"role": "user", "content": "d"}]
    assert prompt(strict, {"messages": said}) == "system:a\n\nb\nc|user:d|"
    assert prompt(strict, {"messages": said[1:]}) == "system:b\nc|user:d|"
    assert prompt(server, {"messages": said}).startswith("system:a")
    assert "\n\n" not in prompt(server, {"messages": said})
    body = {"input": said[1:], "instructions": "a", "max_output_tokens": 1}
    assert strict.post("/v1/responses", body)[0] == 200
    for later in ([*said, said[0]], [said[2], said[0]]):
        status, answer = strict.post("/v1/chat/completions/render", {"messages": later})
        assert status == 400 and "must be at the beginning" in answer["error"]["message"], answer
