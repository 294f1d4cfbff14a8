"""Runs the conversations of tests/api/agents.py through LangChain's, LiteLLM's, LlamaIndex's and Anthropic's clients,
whole and streamed, against a server whose model is a parrot (tests/api/parrot.py): the grammar of forced calls makes it
play its part. What Anthropic's client is sent is validated strictly by its own types.

    python3 -m venv V && V/bin/pip install langchain-openai litellm llama-index-llms-openai-like anthropic numpy
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


def llamaindex(url, bias, streamed):
    from llama_index.llms.openai.utils import from_openai_message_dicts
    from llama_index.llms.openai_like import OpenAILike

    def call(messages, tools, choice, seed):
        model = OpenAILike(model="m", api_base=url, api_key="EMPTY", is_chat_model=True, is_function_calling_model=True,
                           max_tokens=SETTINGS["max_tokens"], temperature=SETTINGS["temperature"],
                           additional_kwargs={"seed": seed, "logit_bias": bias})
        ask = model.stream_chat if streamed else model.chat
        answer = ask(from_openai_message_dicts(messages), tools=tools, tool_choice=choice)
        if streamed:
            *_, answer = answer
        return {"content": answer.message.content, "tool_calls": [
            {"id": c.tool_id, "type": "function",
             "function": {"name": c.tool_name, "arguments": json.dumps(c.tool_kwargs)}}
            for c in model.get_tool_calls_from_response(answer)]}

    return call


def in_anthropics_form(message):
    if message["role"] == "tool":
        return {"role": "user", "content": [{"type": "tool_result", "tool_use_id": message["tool_call_id"],
                                             "content": message["content"]}]}
    if message["role"] == "user":
        return message
    return {"role": "assistant", "content": [
        {"type": "tool_use", "id": c["id"], "name": c["function"]["name"],
         "input": json.loads(c["function"]["arguments"])} for c in message["tool_calls"]]}


def anthropic(url, bias, streamed):
    import anthropic as library
    from pydantic import TypeAdapter
    client = library.Anthropic(base_url=url.removesuffix("/v1"), api_key="EMPTY")
    kinds = {"whole": TypeAdapter(library.types.Message), "event": TypeAdapter(library.types.RawMessageStreamEvent)}

    def call(messages, tools, choice, seed):
        body = {"model": "m", "max_tokens": SETTINGS["max_tokens"],
                "messages": [in_anthropics_form(m) for m in messages],
                "tools": [{"name": t["function"]["name"], "description": t["function"]["description"],
                           "input_schema": t["function"]["parameters"]} for t in tools],
                "tool_choice": {"type": "any"} if choice == "required" else
                               {"type": "tool", "name": choice["function"]["name"]}}
        more = {"seed": seed, "logit_bias": bias, "temperature": SETTINGS["temperature"]}
        if streamed:
            raw = client.messages.with_raw_response.create(**body, stream=True, extra_body=more).text()
            for line in raw.splitlines():
                if line.startswith("data: "):
                    kinds["event"].validate_json(line[6:], strict=True)
            with client.messages.stream(**body, extra_body=more) as stream:
                message = stream.get_final_message()
        else:
            raw = client.messages.with_raw_response.create(**body, extra_body=more)
            kinds["whole"].validate_json(raw.text(), strict=True)
            message = raw.parse()
        assert message.stop_reason == "tool_use"
        return {"content": "".join(b.text for b in message.content if b.type == "text"), "tool_calls": [
            {"id": b.id, "type": "function", "function": {"name": b.name, "arguments": json.dumps(b.input)}}
            for b in message.content if b.type == "tool_use"]}

    return call


CLIENTS = {"langchain-openai": langchain, "litellm": litellm, "llama-index-llms-openai-like": llamaindex,
           "anthropic": anthropic}


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
                for name, client in CLIENTS.items():
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
