"""Answers that are held to something: every name that clients have for it, and that what comes out is what was asked
for, whatever the model would rather say."""
import json
import re
from typing import Literal, Optional

import pytest
from conftest import ask
from pydantic import BaseModel, ConfigDict, Field


class Point(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    x: int = Field(ge=0, le=999)
    label: Literal["on", "off"]
    note: Optional[str] = Field(max_length=12)
    tags: list[str] = Field(max_length=2)


SCHEMA = Point.model_json_schema()
HOT = {"temperature": 1.6, "max_tokens": 300}


def likely_ends(server):
    """A bias for what ends strings and objects, so that random answers come to an end."""
    ids = [server.post("/tokenize", {"prompt": s, "add_special_tokens": False})[1]["tokens"][0] for s in '"}])']
    return {str(i): 9 for i in ids}


def answer(server, seed=1, **body):
    ends = likely_ends(server)
    body = {"messages": ask("Tap \"Wi-Fi\""), **HOT, "seed": seed, "logit_bias": ends, **body}
    status, reply = server.post("/v1/chat/completions", body)
    assert status == 200, reply
    return reply["choices"][0]["message"]["content"], reply["choices"][0]["finish_reason"]


def is_json_object(text):
    return isinstance(json.loads(text), dict)


def is_point(text):
    return Point.model_validate_json(text)


LIST = 'root ::= "[" item ("," item)* "]"\nitem ::= [0-9]{1,2}'
LARK = "start: \"a\" NUMBER\nNUMBER: /[0-9]{2}/"
WAYS = [
    ({"response_format": {"type": "json_object"}}, is_json_object),
    ({"response_format": {"type": "json_object", "schema": SCHEMA}}, is_point),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "p", "strict": True, "schema": SCHEMA}}},
     is_point),
    ({"structured_outputs": {"json": SCHEMA}}, is_point),
    ({"structured_outputs": {"json": json.dumps(SCHEMA)}}, is_point),
    ({"structured_outputs": {"json_object": True}}, is_json_object),
    ({"structured_outputs": {"regex": "(ab|cd){3}!"}}, re.compile("(ab|cd){3}!").fullmatch),
    ({"structured_outputs": {"choice": ["yes", "no", "perhaps"]}}, ["yes", "no", "perhaps"].__contains__),
    ({"structured_outputs": {"grammar": LIST}}, re.compile(r"\[\d{1,2}(,\d{1,2})*\]").fullmatch),
    ({"structured_outputs": {"grammar": LARK}}, re.compile(r"a\d\d").fullmatch),
    ({"guided_json": SCHEMA}, is_point),
    ({"guided_regex": "[0-9]{4}"}, re.compile("[0-9]{4}").fullmatch),
    ({"guided_choice": ["left", "right"]}, ["left", "right"].__contains__),
    ({"guided_grammar": LIST}, re.compile(r"\[\d{1,2}(,\d{1,2})*\]").fullmatch),
    ({"regex": "x+y"}, re.compile("x+y").fullmatch),
    ({"ebnf": LIST}, re.compile(r"\[\d{1,2}(,\d{1,2})*\]").fullmatch),
    ({"json_schema": json.dumps(SCHEMA)}, is_point),
    ({"json_schema": SCHEMA}, is_point),
    ({"grammar": LIST}, re.compile(r"\[\d{1,2}(,\d{1,2})*\]").fullmatch),
    ({"action_grammar": "autoglm", "temperature": 0},
     re.compile(r'(?s).*(do\(action=|finish\(message=).*"?\]?\)').fullmatch),
]


@pytest.mark.parametrize("way", WAYS, ids=lambda w: json.dumps(w[0])[:60])
def test_ways_to_ask(server, way):
    body, holds = way
    complete = 0
    for seed in range(3):
        text, why = answer(server, seed, **body)
        if why == "stop":
            complete += 1
            assert holds(text), text
        else:
            assert why == "length"          # a long string, say
    assert complete > 0


def test_completions_take_them_too(server):
    status, reply = server.post("/v1/completions", {"prompt": "x", "regex": "[ab]{2}", "temperature": 1.5})
    assert status == 200 and re.fullmatch("[ab]{2}", reply["choices"][0]["text"])
    assert reply["choices"][0]["finish_reason"] == "stop"


def test_parse_of_the_client(server):
    reply = server.client().chat.completions.parse(model="open-autoglm-v1", messages=ask("x"), response_format=Point,
                                                   temperature=1.5, seed=3, max_tokens=400,
                                                   logit_bias=likely_ends(server))
    assert isinstance(reply.choices[0].message.parsed, Point)


def test_streamed_is_the_same(server):
    body = {"guided_json": SCHEMA, "seed": 5, "logit_bias": {}}
    whole = answer(server, **body)
    chunks = server.client().chat.completions.create(model="open-autoglm-v1", messages=ask("Tap \"Wi-Fi\""),
                                                     stream=True, seed=5, logit_bias={}, **HOT,
                                                     extra_body={"guided_json": SCHEMA})
    parts = [c.choices[0] for c in chunks if c.choices]
    assert ("".join(p.delta.content or "" for p in parts), parts[-1].finish_reason) == whole


def test_answers_do_not_depend_on_the_others(server):
    from concurrent.futures import ThreadPoolExecutor
    bodies = [{"seed": i, **WAYS[i % len(WAYS)][0]} for i in range(12)] + [{"seed": i} for i in range(4)]
    alone = [answer(server, **b) for b in bodies]
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(lambda b: answer(server, **b), bodies)) == alone


def test_ends_come_only_where_the_grammar_ends(server):
    text, why = answer(server, regex="a{5}b{5}", max_tokens=50)
    assert (text, why) == ("aaaaabbbbb", "stop")
    text, why = answer(server, regex="a{5}b{5}", ignore_eos=True, max_tokens=50)
    assert (text, why) == ("aaaaabbbbb", "stop")            # nothing else may follow
    text, why = answer(server, regex="(ab)*", min_tokens=6, max_tokens=50)
    assert why == "length" or len(text) >= 6


def test_what_the_vocabulary_cannot_spell(server):
    """The shipped model has no token with the end of a line in it."""
    status, reply = server.post("/v1/chat/completions", {"messages": ask("Tap \"Wi-Fi\""), "regex": "\n"})
    assert status == 400 and "no token of the model's vocabulary" in reply["error"]["message"]


def test_logprobs_are_those_without_the_grammar(server):
    """As vLLM has it: what the model thinks of the tokens that it was made to say."""
    body = {"messages": ask("Tap \"Wi-Fi\""), "logprobs": True, "top_logprobs": 3, "temperature": 0, "max_tokens": 4}
    free = server.post("/v1/chat/completions", body)[1]["choices"][0]["logprobs"]["content"]
    held = server.post("/v1/chat/completions", {**body, "regex": "zzzz"})[1]["choices"][0]["logprobs"]["content"]
    assert held[0]["top_logprobs"] == free[0]["top_logprobs"]
    assert held[0]["logprob"] < free[0]["logprob"]


def test_tags_in_free_text(server):
    tag = {"type": "structural_tag", "triggers": ["<f="],
           "structures": [{"begin": "<f=a>", "schema": {"type": "integer", "maximum": 9, "minimum": 0}, "end": "</f>"}]}
    for body in ({"response_format": tag}, {"structured_outputs": {"structural_tag": json.dumps(tag)}}):
        text, _ = answer(server, **body, max_tokens=30)
        assert "<f=" not in text or re.search(r"<f=(a(>(\d(</f>)?)?)?)?", text)


WRONG = [
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "is missing"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, "response_format.json_schema.schema",
     "is missing"),
    ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"contentSchema": {}}}}},
     "response_format.json_schema.schema", '"contentSchema"'),
    ({"response_format": {"type": "xml"}}, "response_format.type", "must be text"),
    ({"guided_json": 1}, "guided_json", "JSON Schema"),
    ({"guided_json": "{"}, "guided_json", ""),
    ({"guided_json": {"type": "strin"}}, "guided_json", "unknown"),
    ({"guided_regex": "(a"}, "guided_regex", "has no )"),
    ({"guided_regex": 1}, "guided_regex", "string"),
    ({"guided_choice": []  , "regex": 3}, "regex", "string"),
    ({"guided_choice": ["a", 1]}, "guided_choice", "strings"),
    ({"guided_choice": "a"}, "guided_choice", "array"),
    ({"structured_outputs": {"regex": "(?=a)"}}, "structured_outputs.regex", "lookaround"),
    ({"structured_outputs": {"regex": "a", "choice": ["a"]}}, "structured_outputs", "excludes"),
    ({"structured_outputs": {"json_object": 1}}, "structured_outputs.json_object", "boolean"),
    ({"structured_outputs": {"whitespace_pattern": "x"}}, "structured_outputs.whitespace_pattern", "not supported"),
    ({"structured_outputs": 1}, "structured_outputs", "object"),
    ({"grammar": "root ::= x"}, "grammar", "does not define"),
    ({"ebnf": "start: x"}, "ebnf", "does not define"),
    ({"regex": "a", "ebnf": "root ::= \"a\""}, "ebnf", "excludes regex"),
    ({"json_schema": "[]"}, "json_schema", "JSON Schema"),
    ({"action_grammar": "other"}, "action_grammar", "autoglm"),
    ({"action_grammar": 1}, "action_grammar", "string"),
    ({"structural_tag": "{}"}, "structural_tag", "structures"),
    ({"regex": "(a|b)*a(a|b){40}"}, "regex", "too"),
    ({"ebnf": "root ::= " + "(" * 5000}, "ebnf", "nested"),
    ({"guided_choice": ["x" * 9] * 30000}, "guided_choice", "at most 20000"),
]


@pytest.mark.parametrize("case", WRONG, ids=lambda c: json.dumps(c[0])[:60])
def test_what_is_wrong_is_named(server, case):
    body, field, words = case
    status, reply = server.post("/v1/chat/completions", {"messages": ask("x"), **body})
    assert status == 400, reply
    assert reply["error"]["param"] == field and words in reply["error"]["message"], reply


def test_empty_ones_count_as_none(server):
    body = {"guided_json": "", "guided_choice": [], "regex": "", "json_schema": {}, "structured_outputs": {},
            "grammar": None, "response_format": {"type": "text"}, "action_grammar": "none"}
    assert answer(server, **body) == answer(server)
