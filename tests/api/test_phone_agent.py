"""Phone agents and their models: the name that they ask for, and what the shipped model's chat template makes of their
conversations."""

import json
import shutil
import sys

import openai
import pytest

from conftest import MODEL, ROOT, image_part

sys.path.insert(0, str(ROOT / "python"))
from openautoglm.chat_template import TEMPLATE  # noqa: E402

SYSTEM = {"role": "system", "content": "今天的日期是: 2026年11月29日\n" + "你是一个智能体分析专家。" * 100}
TITLE, TITLE_ZH = "What is the title?", "标题是什么？"


def conversation(task, turn, keep_images=False):
    """The messages of an agent's request: the task is in the first turn, the screenshot in the last one alone."""
    messages = [SYSTEM]
    for i in range(1, turn + 1):
        info = json.dumps({"current_app": "System Home"})
        text = f"{task}\n\n{info}" if i == 1 else f"** Screen Info **\n\n{info}"
        image = [image_part(i)] if i == turn or keep_images else []
        messages.append({"role": "user", "content": [*image, {"type": "text", "text": text}]})
        if i < turn:
            answer = '<think></think><answer>do(action="Tap", element=[500,500])</answer>'
            messages.append({"role": "assistant", "content": answer})
    return messages


def rendered(server, messages, **more):
    status, have = server.post("/v1/chat/completions/render", {"messages": messages, **more})
    assert status == 200, have
    return have["text"]


@pytest.mark.parametrize("task, clauses", [
    ("Open Settings", ["Open Settings", TITLE, TITLE]),
    ("Open Settings, then turn on Wi-Fi, then go back", ["Open Settings", "Turn on Wi-Fi", "Go back", TITLE]),
    ("First, open Settings. Then switch NFC on and go back.", ["Open Settings", "Switch NFC on", "Go back", TITLE]),
    ("please open Camera; Tap \"About\"\r\nRead the title of this screen",
     ["Open Camera", "Tap \"About\"", "Read the title of this screen", TITLE]),
    ("Tap \"Save, then close\" and then type \"a. b; c\"", ["Tap \"Save, then close\"", "Type \"a. b; c\"", TITLE]),
    ("Tap 5\" screen, then go back", ["Tap 5\" screen", "Go back", TITLE]),
    ("打开设置，然后打开蓝牙开关，再返回上一页。", ["打开设置", "打开蓝牙开关", "返回上一页", TITLE_ZH]),
    ("首先点击“好，然后”接着输入“请。先”；最后向下滑动", ["点击“好，然后”", "输入“请。先”", "向下滑动", TITLE_ZH]),
    ("", [TITLE]),
])
def test_a_clause_a_turn(server, task, clauses):
    for turn, clause in enumerate(clauses, 1):
        assert rendered(server, conversation(task, turn)) == f"<|image|>{clause}<|assistant|>"


def test_contents_as_strings(start):
    """As the agent's deployment guide starts other servers."""
    server = start("--chat-template-content-format", "string")
    for turn, clause in ((1, "Open Settings"), (2, "Go back"), (3, TITLE)):
        assert rendered(server, conversation("Open Settings, go back", turn)) == f"<|image|>{clause}<|assistant|>"


def test_other_conversations_are_written_turn_by_turn(server):
    """Also those that look like an agent's, but do not begin with a task; a book is none, and costs no time."""
    info = '{"current_app": "System Home"}'
    book = "a, " * 300000
    status, have = server.post("/v1/chat/completions/render", {"messages": conversation(book, 1)})
    assert status == 400 and have["error"]["code"] == "context_length_exceeded"
    for first in ("Open Settings, then go back", f"** Screen Info ** {info}"):
        messages = [SYSTEM, {"role": "user", "content": first}, {"role": "assistant", "content": "no"},
                    {"role": "user", "content": [image_part(1), {"type": "text", "text": f"Go on\n\n{info}"}]}]
        assert rendered(server, messages) == f"{first}<|assistant|>no<|end|><|image|>Go on\n\n{info}<|assistant|>"


def test_images_of_earlier_turns_and_an_answer_that_is_begun(server):
    """A client that keeps its old screenshots is answered all the same; an answer can be continued."""
    messages = conversation("Open Settings, go back", 2, keep_images=True)
    assert rendered(server, messages) == "<|image|><|image|>Go back<|assistant|>"
    messages.append({"role": "assistant", "content": 'do(action="'})
    text = rendered(server, messages, continue_final_message=True, add_generation_prompt=False)
    assert text == '<|image|><|image|>Go back<|assistant|>do(action="'


def test_the_shipped_template_is_the_exported_one():
    assert (MODEL / "chat_template.jinja").read_text() == TEMPLATE


ALIAS = "autoglm-phone-9b"


def test_the_name_that_agents_ask_for(server):
    """An alias of the shipped model, listed behind its own name; answers have the model's own."""
    client = server.client()
    assert [(m.id, m.root) for m in client.models.list()] == [(name, MODEL.name) for name in (MODEL.name, ALIAS)]
    assert client.models.retrieve(ALIAS).root == MODEL.name
    answer = client.chat.completions.create(model=ALIAS, messages=[{"role": "user", "content": "Hi"}], max_tokens=5)
    assert answer.model == MODEL.name


@pytest.mark.parametrize("folder, changes, known", [
    ("GLM-4.1V", {}, False),
    ("AutoGLM-Phone-9B-int8", {}, True),
    ("m", {"config.json": '"_name_or_path": "zai-org/AutoGLM-Phone-9B", '}, True),
    ("m", {"tokenizer_config.json": '"name_or_path": "AutoGLM-Phone", '}, True),
])
def test_other_models_that_have_the_name(start, tmp_path, folder, changes, known):
    """GLM-4.1V alone is no agent's model: its name or one of its files must say so."""
    model = tmp_path / folder
    shutil.copytree(ROOT / "tests" / "model" / "glm4v" / "tied", model)
    for file, text in changes.items():
        (model / file).write_text((model / file).read_text().replace("{", "{" + text, 1))
    names = [m.id for m in start(model=model).client().models.list()]
    assert names == [folder, ALIAS] if known else [folder]


def test_names_that_the_operator_chose_are_all_that_there_are(start):
    client = start("--served-model-name", "phone").client()
    assert [m.id for m in client.models.list()] == ["phone"]
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve(ALIAS)
