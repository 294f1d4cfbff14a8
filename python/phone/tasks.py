"""Tasks for the scripted phone, and how each must leave it: parts of the state, compared for equality.

`message`: what the agent's finish() must say, where that is the task.
"""
from dataclasses import dataclass, field

from apps import ON


@dataclass(frozen=True)
class Task:
    text: str
    screen: str                                   # what is shown at the end
    language: str = "en"
    changed: tuple = ()                           # switches that are no longer as on a new phone
    state: dict = field(default_factory=dict)     # other parts of the state
    message: str = None


TASKS = (
    Task("Open Settings, then turn on Wi-Fi, then go back", "home", changed=("Wi-Fi",)),
    Task("Open Settings and turn off Bluetooth.", "settings", changed=("Bluetooth",)),
    Task("Open Settings; tap \"Display\"; turn on Dark mode; turn on Night light", "display",
         changed=("Dark mode", "Night light")),
    Task("Open Settings, open Sound, turn on Vibration, go back, then return to the previous screen", "home",
         changed=("Vibration",)),
    Task("Open Settings. Scroll down. Open About.", "about", state={"stack": ["home", "settings", "about"]}),
    Task("First, open Notes. Then tap the \"Title\" field and type \"Invoice\". Finally press Save.", "home",
         state={"saved": [{"Title": "Invoice"}]}),
    Task("Open Messages, then tap the \"Message\" field, then type \"Room 12\", then press Send", "messages",
         state={"sent": ["Room 12"]}),
    Task("Open Music and tap \"Downloads\"", "music/downloads", state={"stack": ["home", "music/downloads"]}),
    Task("Open Clock\nTurn off Today\nTurn on Tomorrow\nGo back", "home", changed=("Today", "Tomorrow")),
    Task("Open Photos, then read the title of this screen", "photos", message="Photos"),
    Task("Open Settings, then go back, then open Music, then tap \"Favorites\"", "music/favorites"),
    Task("打开设置，然后打开蓝牙开关，然后返回上一页", "home", "zh", changed=("Bluetooth",)),
    Task("打开备忘录。点击“标题”输入框，然后输入“明天”，最后点击“保存”。", "home", "zh", state={"saved": [{"Title": "明天"}]}),
    Task("首先打开设置；点击“显示”；开启深色模式", "display", "zh", changed=("Dark mode",)),
)


def verdict(task, state, steps):
    """None if the phone is as the task wants it, else what is not"""
    changed = tuple(sorted(set(state["on"]) ^ set(ON)))
    wrong = [f"{k} is {state[k]!r}, not {v!r}" for k, v in task.state.items() if state[k] != v]
    if state["stack"][-1] != task.screen:
        wrong.append(f"{state['stack'][-1]} is shown, not {task.screen}")
    if changed != tuple(sorted(task.changed)):
        wrong.append(f"switched: {', '.join(changed) or 'nothing'}, not {', '.join(task.changed) or 'nothing'}")
    last = steps[-1].action
    if last["_metadata"] != "finish" or task.message not in (None, last["message"]):
        wrong.append(f"the last answer is {steps[-1].answer}")
    return "; ".join(wrong) or None
