"""What ends an answer: the model's own tokens, also those that its configuration does not list, and those of a
request."""

import json
import shutil

import numpy as np
import pytest

import spellings
from conftest import ROOT, Server
from test_families import tensors, token_bytes

LONG = 12


def that_says(end, case, folder, listed=None):
    """The case's model, which now says the token `end` where it said its first greedy token."""
    config, stored = json.loads((case / "config.json").read_text()), spellings.read_tensors(case / "model.safetensors")
    said = int(np.argmax(tensors(case / "golden.safetensors")["logits"][-1]))
    head = stored.get("lm_head.weight", stored["model.embed_tokens.weight"]).copy()
    head[[said, end]] = head[[end, said]]
    stored["lm_head.weight"] = head
    shutil.copytree(case, folder)
    if listed is not None:
        config["eos_token_id"] = listed
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": listed}))
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
    spellings.write_tensors(folder / "model.safetensors", stored, "BF16")
    return folder


def id_of(case, token):
    return next(a["id"] for a in json.loads((case / "tokenizer.json").read_text())["added_tokens"]
                if a["content"] == token)


def ask(server, case, **more):
    messages = json.loads((case / "golden.json").read_text())["messages"]
    body = {"messages": messages, "temperature": 0, "max_tokens": LONG, "logprobs": True} | more
    status, answer = server.post("/v1/chat/completions", body)
    assert status == 200, answer
    return answer["choices"][0], answer["usage"]["completion_tokens"]


@pytest.mark.parametrize("family, token, listed", [
    ("qwen2/grouped", "<|im_end|>", None), ("qwen3/grouped", "<|im_end|>", 256), ("llama/linear", "<|eot_id|>", None),
    ("glm4/plain", "<|user|>", None), ("qwen2/grouped", "<|endoftext|>", 259)])
def test_ends_that_are_not_listed(family, token, listed, tmp_path):
    case = ROOT / "tests/model" / family
    server = Server("--model", str(that_says(id_of(case, token), case, tmp_path / "m", listed)))
    try:
        choice, n = ask(server, case)
        assert (n, choice["finish_reason"], choice["message"]["content"]) == (1, "stop",
                                                                              "") and "stop_reason" not in choice
        assert ask(server, case, ignore_eos=True)[1] == LONG
        choice, n = ask(server, case, min_tokens=5)
        assert n > 5 and len(choice["logprobs"]["content"]) >= 5
        assert token not in [t["token"] for t in choice["logprobs"]["content"][:5]]
        choice, n = ask(server, case, include_stop_str_in_output=True, skip_special_tokens=False)
        assert (n, choice["message"]["content"]) == (1, token)
    finally:
        server.stop()


def test_ends_of_a_request():
    case = ROOT / "tests/model/qwen3/grouped"
    greedy = [int(i) for i in tensors(case / "golden.safetensors")["greedy"]]
    text = [bytes(token_bytes(case).get(i, [])) for i in greedy]
    at = next(i for i in range(3, LONG) if text[i].isascii() and text[i].strip() and greedy[i] not in greedy[:i])
    stop = text[at].decode()
    server = Server("--model", str(case))
    try:
        free = ask(server, case, ignore_eos=True)[0]["message"]["content"]
        def ended(**more):
            choice, n = ask(server, case, ignore_eos=True, **more)
            return n, choice["finish_reason"], choice.get("stop_reason"), choice["message"]["content"]
        whole = lambda n: b"".join(text[:n]).decode(errors="replace")
        assert free.startswith(whole(at)[:-1])
        assert ended(stop_token_ids=[3_000_000, greedy[at]]) == (at + 1, "stop", greedy[at], whole(at))
        assert ended(stop_token_ids=[greedy[at]], include_stop_str_in_output=True) == (at + 1, "stop", greedy[at],
                                                                                       whole(at + 1))
        assert ended(stop_token_ids=[greedy[at]], no_stop_trim=True)[3] == whole(at + 1)
        n, why, by, content = ended(stop=[stop])
        assert (why, by) == ("stop", stop) and n <= at + 1 and not content.endswith(stop)
        assert ended(stop=[stop], include_stop_str_in_output=True) == (n, "stop", stop, content + stop)
        n, _, _, content = ended(stop=[stop], min_tokens=at + 1)
        assert n > at + 1 and stop in content
        kept = ask(server, case, stop_token_ids=[greedy[at]], min_tokens=at + 2)[0]["logprobs"]["content"]
        assert len(kept) >= at + 2 and [bytes(t["bytes"]) for t in kept[:at]] == text[:at]
        assert bytes(kept[at]["bytes"]) != text[at]
    finally:
        server.stop()
