"""Runs the conversations of tests/api/agents.py through LangChain's and LiteLLM's clients, whole and streamed, against
a server whose model is a parrot (tests/api/parrot.py): the grammar of forced calls makes it play its part.

    python3 -m venv V && V/bin/pip install langchain-openai litellm numpy
    make && V/bin/python python/agent_clients.py

Prints a line for each client and way, with its version; the last one names the date. An error ends it with a traceback.
"""

import datetime
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "api"))
import agents  # noqa: E402
import parrot  # noqa: E402

os.environ |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LANGSMITH_TRACING": "false"}
SETTINGS = {"max_tokens": 900, "temperature": 1}


def langchain(url, bias, streamed):
    from langchain_openai import ChatOpenAI

    def call(messages, tools, choice, seed):
        name = choice if choice == "required" else choice["function"]["name"]
        model = ChatOpenAI(base_url=url, api_key="EMPTY", model="m", seed=seed, logit_bias=bias, **SETTINGS)
        bound = model.bind_tools(tools, tool_choice=name)
        if streamed:
            message = None
            for piece in bound.stream(messages):
                message = piece if message is None else message + piece
        else:
            message = bound.invoke(messages)
        assert not message.invalid_tool_calls, message
        return {"content": message.content, "tool_calls": [
            {"id": c["id"], "type": "function", "function": {"name": c["name"], "arguments": json.dumps(c["args"])}}
            for c in message.tool_calls]}

    return call


def litellm(url, bias, streamed):
    import litellm as library
    library.suppress_debug_info = True

    def call(messages, tools, choice, seed):
        answer = library.completion(model="openai/m", api_base=url, api_key="EMPTY", messages=messages, tools=tools,
                                    tool_choice=choice, seed=seed, logit_bias=bias, stream=streamed, **SETTINGS)
        if streamed:
            answer = library.stream_chunk_builder(list(answer), messages=messages)
        message = answer.choices[0].message
        return {"content": message.content, "tool_calls": [
            {"id": c.id, "type": "function", "function": {"name": c.function.name, "arguments": c.function.arguments}}
            for c in message.tool_calls]}

    return call


def serve(folder):
    """A server on a free port; its address. The process is to be ended by the caller."""
    process = subprocess.Popen([str(ROOT / "build" / "openautoglm"), "serve", "--model", str(folder), "--port", "0",
                                "--served-model-name", "m"], stderr=subprocess.PIPE, text=True)
    url = None
    for line in process.stderr:
        if m := re.search(r"listening on (http://[^\s\"]+)", line):
            url = m[1] + "/v1"
        if url and "ready" in line:
            break
    return process, url


def biases(tokenizer):
    """Makes what ends a value or a call likely, so that random answers come to an end."""
    data = json.loads(tokenizer.read_text())
    ids = data["model"]["vocab"] | {t["content"]: t["id"] for t in data["added_tokens"]}
    return {str(ids[s]): 6 for s in ['"', "}", "]", *parrot.MARKS]}


def main():
    for form in ("hermes", "glm", "llama3_json"):
        with tempfile.TemporaryDirectory() as room:
            folder = parrot.write(Path(room) / "m", {"nothing": "Nothing at all."}, form)
            process, url = serve(folder)
            try:
                for name, client in (("langchain-openai", langchain), ("litellm", litellm)):
                    for streamed in (False, True):
                        call = client(url, biases(folder / "tokenizer.json"), streamed)
                        calls = [agents.run(call, steps, 10 * i) for i, steps in enumerate(agents.CONVERSATIONS)]
                        print(f"{form}, {name} {importlib.metadata.version(name)}, "
                              f"{'streamed' if streamed else 'whole'}: {len(calls)} conversations, {sum(calls)} calls",
                              flush=True)
            finally:
                process.terminate()
                process.wait()
    print(datetime.date.today().isoformat())


if __name__ == "__main__":
    main()
