"""Writes suite.json: the cases of the official JSON-Schema-Test-Suite (draft 2020-12, its formats and its regular
expressions of ECMAScript) in the form that test_schema.c reads. The suite is under the licence of LICENSE.

    python3 tests/grammar/suite/make_suite.py CHECKOUT > tests/grammar/suite/suite.json

Each case has its name, its schema, the texts of instances that are valid ("takes") and of those that are not
("leaves").
Members of objects stand in the order in which the schema names them, as answers have them. Formats count as conditions,
so the cases in which they do not are left out; so are those that are about other parts of a validator."""
import json
import sys
from pathlib import Path

LEFT_OUT = {"format", "vocabulary", "unknownKeyword"}


def names_of(schema, out):
    if isinstance(schema, dict):
        for keyword in ("properties", "required", "dependentRequired"):
            for name in schema.get(keyword) or []:
                if isinstance(name, str) and name not in out:
                    out.append(name)
        for v in schema.values():
            names_of(v, out)
        out += [name for name in schema.get("dependentSchemas") or [] if name not in out]
    elif isinstance(schema, list):
        for v in schema:
            names_of(v, out)
    return out


def ordered(v, names):
    if isinstance(v, dict):
        keys = [k for k in names if k in v] + [k for k in v if k not in names]
        return {k: ordered(v[k], names) for k in keys}
    return [ordered(x, names) for x in v] if isinstance(v, list) else v


def cases(folder):
    for path in sorted(folder.glob("*.json")) + sorted(folder.glob("optional/format/*.json")) + \
            [folder / "optional" / "ecmascript-regex.json"]:
        if path.stem in LEFT_OUT:
            continue
        for case in json.loads(path.read_text()):
            schema = case["schema"]
            if isinstance(schema, dict):
                schema.pop("$schema", None)
            texts = {True: [], False: []}
            for test in case["tests"]:
                text = json.dumps(ordered(test["data"], names_of(schema, [])), ensure_ascii=False)
                texts[test["valid"]].append(text)
            yield {"name": f"{path.stem}: {case['description']}", "schema": schema, "takes": texts[True],
                   "leaves": texts[False]}


lines = [json.dumps(c, ensure_ascii=False) for c in cases(Path(sys.argv[1]) / "tests" / "draft2020-12")]
print("[\n" + ",\n".join(lines) + "\n]")
