"""Answers that are held to something, many at once: masks, biases, n, tools and grammars give every request the very
tokens and log probabilities that it gets alone. On the CPU, and on the CUDA backend's sources with the emulator in the
GPU's place. Some grammars are drawn at random, the same ones each time."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from conftest import ROOT

SCHEMA = {"type": "object", "properties": {"x": {"type": "integer", "minimum": 0, "maximum": 999},
                                           "at": {"enum": ["sea", "land"]}}, "required": ["x", "at"]}
TOOL = {"type": "function", "function": {"name": "look", "parameters": SCHEMA}}


def random_grammar(rng):
    """GBNF of a few rules, each of which may use those behind it, and itself at its end."""
    def item(rule, n):
        kind = rng.randrange(4 if rule + 1 < n else 3)
        if kind == 0:
            return '"' + "".join(rng.choice("abcxyz 019(){}") for _ in range(rng.randrange(1, 5))) + '"'
        if kind == 1:
            low = rng.randrange(ord("a"), ord("w"))
            return f"[{chr(low)}-{chr(low + 3)}0-{rng.randrange(10)}]" + rng.choice(["", "*", "+", "?", "{2,4}"])
        if kind == 2:
            return rng.choice(['("do" | "finish")', '[^"\\n]{1,6}', '"é"', '("," " "?)*'])
        return f"r{rng.randrange(rule + 1, n)}"

    n = rng.randrange(2, 5)
    rules = []
    for rule in range(n):
        options = [" ".join(item(rule, n) for _ in range(rng.randrange(1, 4))) for _ in range(rng.randrange(1, 4))]
        if rng.randrange(2):
            options.append(f'{options[0]} "-" {"root" if rule == 0 else f"r{rule}"}')
        rules.append(f"{'root' if rule == 0 else f'r{rule}'} ::= " + " | ".join(options))
    return "\n".join(rules)


def requests(max_tokens):
    rng = random.Random(17)
    held = [{"allowed_token_ids": list(range(5, 400, 3)), "logit_bias": {"8": 4.5, "11": -3}},
            {"bad_words": ["do", "e"], "min_tokens": 4, "repetition_penalty": 1.3},
            {"n": 3, "temperature": 1, "seed": 5, "allowed_token_ids": list(range(100, 300))},
            {"tools": [TOOL], "tool_choice": "required", "temperature": 1, "seed": 2},
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "look"}}, "n": 2, "seed": 3},
            {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA, "strict": True}}},
            {"structured_outputs": {"regex": "[a-f]{3,9}(x|yz)+"}, "temperature": 1.5, "seed": 9},
            {"structured_outputs": {"choice": ["finish", "finally", "do"]}, "frequency_penalty": 0.5},
            {"action_grammar": "autoglm"},
            {}]
    held += [{"grammar": random_grammar(rng), "temperature": rng.choice([0, 1]), "seed": i, "n": 1 + i % 2}
             for i in range(6)]
    return [{"messages": [{"role": "user", "content": f"Tap {i}"}], "max_tokens": max_tokens, "temperature": 0,
             "logprobs": True, "top_logprobs": 3, "return_token_ids": True} | more for i, more in enumerate(held)]


def answers(server, body):
    status, answer = server.post("/v1/chat/completions", body)
    assert status == 200, answer
    return [(c["token_ids"], c["message"], c["finish_reason"], c["logprobs"]) for c in answer["choices"]]


def without_ids(choices):
    """Calls have ids of their own."""
    return [(tokens, message | {"tool_calls": [c["function"] for c in message.get("tool_calls", [])]}, *rest)
            for tokens, message, *rest in choices]


@pytest.mark.parametrize("device, max_tokens, every", [("cpu", 10, 1), ("cusim", 5, 2)])
def test_the_same_as_alone(start, device, max_tokens, every):
    """The emulator is slow: every second request, and fewer tokens."""
    if device == "cusim" and not (ROOT / "build" / "libopenautoglm_cusim.so").exists():
        pytest.skip("`make cusim` was not run")
    s = start("--device", device, "--max-num-seqs", "8", "--max-model-len", "256", "--no-prefix-cache")
    bodies = requests(max_tokens)[::every]
    alone = [without_ids(answers(s, b)) for b in bodies]
    assert len({str(c[0]) for a in alone for c in a}) > 12 // every
    with ThreadPoolExecutor(len(bodies)) as pool:
        together = list(pool.map(lambda b: without_ids(answers(s, b)), bodies))
    assert together == alone
    assert not [x for x in s.lines if "cusim" in x and '"error"' in x], s.lines
