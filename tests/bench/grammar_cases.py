"""Schemas of the kinds that published benchmarks of structured output are made of, each with values that it holds for:
objects of 10 to 50 fields, enums, patterns, nested arrays, recursion. Writes the cases of grammar_bench as JSON."""
import json
import random
import sys

WORDS = ("the quick brown fox jumps over a lazy dog and runs into deep green woods near Zürich where 42 owls "
         "wait").split()


def sentence(rng, n):
    return " ".join(rng.choice(WORDS) for _ in range(n))


def fields(rng, n, extra=False):
    """An object of n fields of all simple types, and five values of it."""
    kinds = [({"type": "string"}, lambda: sentence(rng, 6)), ({"type": "integer"}, lambda: rng.randint(-999, 99999)),
             ({"type": "number"}, lambda: round(rng.uniform(-10, 10), 3)),
             ({"type": "boolean"}, lambda: rng.random() < .5),
             ({"type": "string", "maxLength": 80}, lambda: sentence(rng, 5)),
             ({"enum": ["red", "green", "blue", "dark blue"]}, lambda: rng.choice(["red", "green", "dark blue"])),
             ({"type": "array", "items": {"type": "string"}}, lambda: [sentence(rng, 2) for _ in range(3)])]
    names = [f"{WORDS[i % len(WORDS)]}_{i}" for i in range(n)]
    chosen = [kinds[i % len(kinds)] for i in range(n)]
    schema = {"type": "object", "properties": {k: s for k, (s, _) in zip(names, chosen)},
              "required": names[::2], "additionalProperties": extra}
    values = [{k: make() for k, (_, make) in zip(names, chosen) if k in schema["required"] or rng.random() < .8}
              for _ in range(5)]
    return schema, values


def cases():
    rng = random.Random(1)
    for n in (10, 25, 50):
        schema, values = fields(rng, n)
        yield f"{n} fields", schema, values
    schema, values = fields(rng, 20, extra=True)
    yield "20 fields and others", schema, [{**v, "more": {"a": [1, "x y z"]}} for v in values]
    countries = [f"country {i} of {sentence(rng, 2)}" for i in range(500)]
    yield "enum of 500", {"type": "array", "items": {"enum": countries}}, [rng.sample(countries, 8) for _ in range(3)]
    yield ("patterns and formats",
           {"type": "object", "properties": {
               "id": {"type": "string", "pattern": "^[A-Z]{3}-[0-9]{4,8}$"},
               "when": {"type": "string", "format": "date-time"},
               "mail": {"type": "string", "format": "email"}, "uuid": {"type": "string", "format": "uuid"},
               "free": {"type": "string", "pattern": "^[^<>]{1,200}$"},
               "n": {"type": "integer", "minimum": 1, "maximum": 365}},
            "required": ["id", "when", "mail", "uuid", "free", "n"], "additionalProperties": False},
           [{"id": "ABC-12345", "when": "2024-02-29T12:30:00Z", "mail": "jane.doe@example.org",
             "uuid": "2eb8aa08-aa98-11ea-b4aa-73b441d16380", "free": sentence(rng, 25), "n": 217}])
    node = {"type": "object", "properties": {"name": {"type": "string"},
                                             "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
            "required": ["name", "children"], "additionalProperties": False}

    def tree(depth):
        return {"name": sentence(rng, 3), "children": [tree(depth - 1) for _ in range(2 if depth else 0)]}
    yield "recursion", {"$ref": "#/$defs/node", "$defs": {"node": node}}, [tree(3) for _ in range(3)]
    yield "any object", {"type": "object"}, [fields(rng, 20)[1][0] for _ in range(3)]


json.dump([{"name": n, "schema": s, "values": v} for n, s, v in cases()], sys.stdout, ensure_ascii=False)
