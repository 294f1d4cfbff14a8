"""The reference: Jinja set up as transformers sets it up for chat templates.

render(template, context) returns {"text": ...} or {"error": ...}. The settings are
those of transformers' chat templates; the time is fixed to NOW.
"""
import json
from datetime import datetime

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

NOW = "2025-03-04T05:06:07"


class Generation(jinja2.ext.Extension):
    """{% generation %}: marks what the assistant said; renders its body."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


class Dict:
    def __call__(self, *args, **kwargs):
        return dict(*args, **kwargs)


class Namespace(jinja2.utils.Namespace):
    def __init__(*args, **kwargs):
        self, args = args[0], args[1:]
        attrs = dict(*args, **kwargs)
        if any(isinstance(name, str) and name.startswith("_") for name in attrs):
            raise jinja2.exceptions.SecurityError("underscore")
        jinja2.utils.Namespace.__init__(self, attrs)

    def __setitem__(self, name, value):
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError("underscore")
        jinja2.utils.Namespace.__setitem__(self, name, value)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def environment():
    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda format: datetime.fromisoformat(NOW).strftime(format)
    env.globals["dict"] = Dict()
    env.globals["namespace"] = Namespace
    return env


ENV = environment()


def render(template, context):
    try:
        text = ENV.from_string(template).render(**context)
        text.encode("utf-8")  # lone surrogates cannot leave
        return {"text": text}
    except RecursionError:
        return {"error": "recursion"}
    except MemoryError:
        return {"error": "memory"}
    except Exception as e:  # whatever Python raises is an error of the template
        return {"error": f"{type(e).__name__}: {e}"}
