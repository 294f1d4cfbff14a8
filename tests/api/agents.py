"""Ten conversations of an agent that calls several tools one after the other. The grammar of forced calls makes any
model play its part; the tools check what they are given, and their results go back to the model. Clients differ in how
a call is asked for: whoever runs these gives a function that does it."""

import json

CITIES = ["Bonn", "Köln", "Aachen"]
PLACE = {"type": "integer", "minimum": 0, "maximum": 999}


def tool(name, required=None, **properties):
    return {"type": "function", "function": {"name": name, "description": name.replace("_", " "), "parameters": {
        "type": "object", "properties": properties, "additionalProperties": False,
        "required": list(properties) if required is None else required}}}


TOOLS = {t["function"]["name"]: t for t in (
    tool("weather", city={"type": "string", "enum": CITIES}, days={"type": "integer", "minimum": 1, "maximum": 7}),
    tool("clock"),
    tool("tap", x=PLACE, y=PLACE),
    tool("swipe", direction={"enum": ["up", "down"]}, slowly={"type": "boolean"}),
    tool("enter", text={"type": "string", "maxLength": 8}),
    tool("route", stops={"type": "array", "items": {"enum": CITIES}, "minItems": 2, "maxItems": 2},
         by={"anyOf": [{"enum": ["train", "foot"]}, {"type": "null"}]}, required=["stops"]),
    tool("note", at={"type": "string", "pattern": "^[0-2][0-9]:00$"}))}


def within(v, most, least=0):
    return type(v) is int and least <= v <= most


CHECKS = {
    "weather": lambda city, days: city in CITIES and within(days, 7, 1),
    "clock": lambda: True,
    "tap": lambda x, y: within(x, 999) and within(y, 999),
    "swipe": lambda direction, slowly: direction in ("up", "down") and type(slowly) is bool,
    "enter": lambda text: type(text) is str and len(text) <= 8,
    "route": lambda stops, by=None: len(stops) == 2 and set(stops) <= set(CITIES) and by in ("train", "foot", None),
    "note": lambda at: len(at) == 5 and at.endswith(":00"),
}

# For each conversation its steps: the tool that has to be called, or several of which one has to be.
CONVERSATIONS = [
    ["weather", "clock"], ["clock", "weather", "note"], ["tap", "swipe", "tap"], ["tap", "enter", "tap"],
    ["route", "weather"], [["tap", "swipe"], ["tap", "swipe"], "enter"], ["note", "clock"],
    [["weather", "route"], "note"], ["enter", "swipe", ["tap", "clock"]], ["swipe", "route", "note"],
]


def run(call, steps, seed=0):
    """One conversation. call(messages, tools, choice, seed) gives the assistant's message as a dictionary, whose
    tool_calls are those of the answer. Returns how many calls there were."""
    messages = [{"role": "user", "content": "Plan my afternoon."}]
    made = 0
    for i, step in enumerate(steps):
        names = [step] if isinstance(step, str) else step
        choice = {"type": "function", "function": {"name": step}} if isinstance(step, str) else "required"
        tools = list(TOOLS.values()) if isinstance(step, str) else [TOOLS[n] for n in names]
        message = call(messages, tools, choice, seed + i)
        n = len(message["tool_calls"])
        assert n >= 1 and (n == 1 or choice == "required") and not message.get("content"), message
        messages.append({"role": "assistant", "content": None, "tool_calls": message["tool_calls"]})
        for c in message["tool_calls"]:
            name, arguments = c["function"]["name"], json.loads(c["function"]["arguments"])
            assert c["id"] and name in names and CHECKS[name](**arguments), c
            messages.append({"role": "tool", "tool_call_id": c["id"], "content": f"{name}: done"})
            made += 1
    return made
