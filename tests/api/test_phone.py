"""The phone agent as a whole: tasks of several steps on the scripted phone (python/phone) with the shipped model.

Wrong taps, a wrong chat template or answers that the agent's parser does not take leave a phone in the wrong state.
"""

import concurrent.futures
import json
import os
import subprocess
import sys

import pytest

from conftest import ROOT

sys.path.insert(0, str(ROOT / "python" / "phone"))
import adb  # noqa: E402
from agent import Agent, Device, parse_action, split_answer  # noqa: E402
from device import Phone  # noqa: E402
from tasks import TASKS, verdict  # noqa: E402

WIDTH, MOST = 540, 10


def do(client, task, folder, device=Device):
    """Does a task on a phone whose adb runs in this process; None, or what is wrong at the end."""
    Phone.create(folder, task.language, WIDTH)

    def call(*words):
        return adb.run(Phone(folder), list(words)) or ""

    steps = list(Agent(client, device(call), MOST).run(task.text))
    return verdict(task, Phone(folder).state, steps)


@pytest.fixture(scope="module")
def verdicts(server, tmp_path_factory):
    """All tasks, four phones at a time."""
    client = server.client()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        yield {t.text: pool.submit(do, client, t, tmp_path_factory.mktemp("phone")) for t in TASKS}


@pytest.mark.parametrize("task", TASKS, ids=lambda t: t.text[:30].replace("\n", " "))
def test_tasks(verdicts, task):
    assert verdicts[task.text].result() is None


def test_there_are_enough_tasks():
    assert len(TASKS) >= 10 and len({t.screen for t in TASKS}) > 5 and sum(t.language == "zh" for t in TASKS) >= 3


class Crossed(Device):
    """Takes x for y."""

    def perform(self, action, width, height):
        if "element" in action:
            action = action | {"element": action["element"][::-1]}
        super().perform(action, width, height)


def test_wrong_coordinates_are_noticed(client, tmp_path):
    assert do(client, TASKS[1], tmp_path, Crossed)


def test_a_template_without_the_task_is_noticed(start, tmp_path):
    """The model's questions as they come, system messages left out: what the template did before it knew agents."""
    template = tmp_path / "plain.jinja"
    template.write_text("{% for m in messages if m.role == 'user' %}{% for p in m.content %}"
                        "{{ '<|image|>' if p.type == 'image' else p.text }}{% endfor %}<|assistant|>{% endfor %}")
    assert do(start("--chat-template", str(template)).client(), TASKS[0], tmp_path / "phone")


def test_adb_on_the_path(client, tmp_path, monkeypatch):
    """Through the script that stands in for adb, as any other agent would call it."""
    task = TASKS[0]
    phone = Phone.create(tmp_path, task.language, WIDTH)
    monkeypatch.setenv("PATH", f"{phone.folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    steps = list(Agent(client, Device(), MOST).run(task.text))
    assert verdict(task, Phone(tmp_path).state, steps) is None
    out = subprocess.run(["adb", "devices"], capture_output=True, text=True, check=True).stdout
    assert "\tdevice" in out
    for words in (["reboot"], ["shell", "input", "tap", "a", "b"], ["pull", "/sdcard/none", "x"], []):
        done = subprocess.run(["adb", *words], capture_output=True, text=True)
        assert done.returncode == 1 and done.stderr.startswith("adb: ") and "Traceback" not in done.stderr, words


def test_the_request_is_the_clients(tmp_path):
    """Fields and messages of Open-AutoGLM: one screenshot in the last turn, before the text; answers kept as it keeps
    them."""
    asked = []
    answers = ["Because.\ndo(action=\"Back\")", "finish(message=\"ok\")"]

    class Recorder(Agent):
        def ask(self, messages):
            asked.append(json.loads(json.dumps(messages)))
            return answers[len(asked) - 1]

    Phone.create(tmp_path, width=288)
    device = Device(lambda *words: adb.run(Phone(tmp_path), list(words)) or "")
    assert [s.action["_metadata"] for s in Recorder(None, device).run("Go back")] == ["do", "finish"]
    first, second = asked
    assert [m["role"] for m in second] == ["system", "user", "assistant", "user"]
    assert [p["type"] for p in first[1]["content"]] == ["image_url", "text"]
    assert first[1]["content"][1]["text"] == 'Go back\n\n{"current_app": "System Home"}'
    assert second[1]["content"] == first[1]["content"][1:]
    assert second[2]["content"] == "<think>Because.</think><answer>do(action=\"Back\")</answer>"
    assert second[3]["content"][1]["text"] == '** Screen Info **\n\n{"current_app": "System Home"}'
    assert first[1]["content"][0]["image_url"]["url"].startswith("data:image/png;base64,")


@pytest.mark.parametrize("answer, want", [
    ('<think>a</think>\n<answer>do(action="Tap", element=[1,2])', {"action": "Tap", "element": [1, 2]}),
    ('do(action="Tap", element=[1,2])</answer>', None),
    ('do(action="Type", text="你好")', {"action": "Type", "text": "你好"}),
    ('do(action="Type", text="你好")</answer>', {"action": "Type", "text": '你好")</answe'}),
    ('do(action="Type_Name", text="a\nb")', {"action": "Type", "text": "a\nb"}),
    ('do(action="Back")\ndo(action="Home")', None),
    ('do(action="Wait", duration="2 seconds") ', {"action": "Wait", "duration": "2 seconds"}),
    ('first do(action="Back"), then finish(message="x")', {"message": "x"}),
    ('finish(message="done")', {"message": "done"}),
    ("<think>t</think><answer>do(nothing)</answer>", {}),
    ("no action", None),
])
def test_answers_are_read_by_the_clients_rules(answer, want):
    thoughts, action = split_answer(answer)
    assert "<" not in thoughts or thoughts == "<think>a</think>\n<answer>"
    if want is None:
        with pytest.raises(ValueError):
            parse_action(action)
    else:
        assert {k: v for k, v in parse_action(action).items() if k != "_metadata"} == want
