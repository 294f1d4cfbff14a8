"""Writes mixed.json: random schemas in which keywords stand within one another that the official suite has mostly
alone (not, if, oneOf, dependencies, contains, unevaluated...), in the form of suite.json. Python's jsonschema says
which values are valid.

    python3 tests/grammar/suite/make_mixed.py > tests/grammar/suite/mixed.json

Objects have their members in the order a, b, c, d, which the first schema of each case asks for."""
import json
import random

import jsonschema

CASES, VALUES, NAMES = 160, 14, ["a", "b", "c"]
CONSTANTS = [1, 2, 1.5, "x", "y", None, True, [], [1], [1, "x"], {}, {"a": 1}, {"a": 1, "b": "x"}]
ATOMS = [0, 1, 2, 3, 4, 6, -1, 1.5, "", "x", "y", "xx", "yx", "z", None, True, False]
draw = random.Random(18)


def some(most, least=1):
    return draw.sample(NAMES, draw.randint(least, most))


SIMPLE = [
    lambda: {"type": draw.choice(["integer", "string", "null", "array", "object", "number", ["string", "integer"]])},
    lambda: {"const": draw.choice(CONSTANTS)}, lambda: {"enum": draw.sample(CONSTANTS, draw.randint(1, 3))},
    lambda: {"minimum": draw.randint(0, 3)}, lambda: {"maximum": draw.randint(0, 3)}, lambda: {"exclusiveMinimum": 1},
    lambda: {"multipleOf": draw.choice([2, 3])}, lambda: {"minLength": draw.randint(0, 2)},
    lambda: {"maxLength": draw.randint(0, 2)}, lambda: {"pattern": draw.choice(["x", "^y", "x$"])},
    lambda: {"minItems": draw.randint(0, 2)}, lambda: {"maxItems": draw.randint(0, 2)}, lambda: {"required": some(2)},
    lambda: {"maxProperties": draw.randint(0, 2)}, lambda: {"additionalProperties": False}]
NESTED = [
    lambda s: {"not": s()}, lambda s: {"if": s(), "then": s(), "else": s()}, lambda s: {"if": s(), "then": s()},
    lambda s: {"oneOf": [s() for _ in range(draw.randint(2, 3))]}, lambda s: {"anyOf": [s(), s()]},
    lambda s: {"allOf": [s(), s()]}, lambda s: {"dependentRequired": {draw.choice(NAMES): some(2, 0)}},
    lambda s: {"dependentSchemas": {draw.choice(NAMES): s()}}, lambda s: {"properties": {n: s() for n in some(2)}},
    lambda s: {"properties": {n: s() for n in some(2)}, "additionalProperties": False},
    lambda s: {"prefixItems": [s() for _ in range(draw.randint(1, 2))]}, lambda s: {"items": s()},
    lambda s: {"prefixItems": [s()], "items": s()}, lambda s: {"contains": s()},
    lambda s: {"contains": s(), "maxContains": draw.randint(0, 2)},
    lambda s: {"contains": s(), "minContains": draw.randint(0, 2), "maxContains": 2},
    lambda s: {"allOf": [s(), s()], "unevaluatedProperties": draw.choice([False, s()])},
    lambda s: {"anyOf": [s(), s()], "unevaluatedItems": False},
    lambda s: {"oneOf": [s(), s()], "unevaluatedProperties": False}]


def schema(depth):
    if depth == 0 or draw.random() < 0.15:
        return draw.choice(SIMPLE)()
    made = draw.choice(NESTED)(lambda: schema(depth - 1))
    return draw.choice(SIMPLE)() | made if draw.random() < 0.35 else made


def value(depth):
    if depth == 0 or draw.random() < 0.4:
        return draw.choice(ATOMS)
    if draw.random() < 0.5:
        return [value(depth - 1) for _ in range(draw.randint(0, 3))]
    names = NAMES + ["d"]
    return {n: value(depth - 1) for n in sorted(draw.sample(names, draw.randint(0, 3 if depth == 2 else 1)))}


def case():
    made = {"allOf": [{"properties": {n: True for n in NAMES + ["d"]}}, schema(draw.randint(2, 3))]}
    texts = {True: [], False: []}
    for _ in range(VALUES):
        v = value(2)
        texts[jsonschema.Draft202012Validator(made).is_valid(v)].append(json.dumps(v))
    return {"name": "mixed", "schema": made, "takes": texts[True], "leaves": texts[False]}


print("[\n" + ",\n".join(json.dumps(case()) for _ in range(CASES)) + "\n]")
