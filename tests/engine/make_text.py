#!/usr/bin/env python3
"""Folders with tokenizer.json and all the files around it that may say more, and what transformers makes of them.

    python tests/engine/make_text.py          writes tests/engine/text/

One folder a case.  expected.json has, per case: the names of special tokens,
the ids of some texts with and without the post-processor, the texts of ids
without special tokens, and the chat rendered with and without tools, as a text
model and as a multimodal one (null: the reference has no template or refuses).
"continued" has chats whose last message is to be gone on from.
"""
import json
import pathlib
import shutil

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, ProcessorMixin

HERE = pathlib.Path(__file__).resolve().parent / "text"
WORDS = ["<unk>", "<s>", "a", "b", "c", "<", ">", "s", "/", "tool", "user", ":", "hello"]
TEXTS = ["a <s> b", "<s>a</s>", "hello <tool> a", "  <tool>  b", "a<x>b", "a <img> b", "<pad><mask>c", "a b c", "",
         "<t0><t1>", "A <Tool>", "the<s>", "<T2><X><PAD></S>"]
MESSAGES = [{"role": "user", "content": "hello"}]
TOOLS = [{"type": "function", "function": {"name": "tap", "parameters": {}}}]
PLAIN = "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}"


def backend(added=(), post=None):
    t = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    t.normalizer, t.pre_tokenizer, t.decoder = normalizers.Lowercase(), pre_tokenizers.Whitespace(), decoders.Fuse()
    for a in added:
        (t.add_special_tokens if a.get("special") else t.add_tokens)([AddedToken(**a)])
    if post:
        t.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)])
    return json.loads(t.to_str())


def token(content, **more):
    return {"content": content, "lstrip": False, "rstrip": False, "normalized": False, "single_word": False,
            "special": False} | more


def named(**templates):
    return [{"name": k, "template": v} for k, v in templates.items()]


S, TOOL = {"content": "<s>", "special": True}, {"content": "<tool>", "normalized": False}
CASES = {
    "nothing": (backend([S]), {}),
    "decoder": (backend([S, TOOL]),
                {"tokenizer_config.json": {"bos_token": "<s>", "eos_token": "</s>", "added_tokens_decoder": {
        "14": token("<x>", lstrip=True), "1": token("<s>", special=True),
        "13": token("<tool>", rstrip=True, lstrip=True),
        "15": token("</s>"), "16": token("<t0>", special=True), "17": token("<t1>", normalized=True),
        "18": {"content": "<t2>"}}}}),
    "decoder-over-map": (backend([S]), {
        "tokenizer_config.json": {"bos_token": "<s>", "added_tokens_decoder": {"1": token("<s>", special=True)}},
        "special_tokens_map.json": {"bos_token": "<pad>", "eos_token": "</s>"}, "added_tokens.json": {"<x>": 13}}),
    "names": (backend([]), {"tokenizer_config.json": {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>",
                                                      "unk_token": None,
                                                      "mask_token": "<mask>", "image_token": "<img>",
                                                      "model_max_length": 10 ** 30}}),
    "extra-list": (backend([S]),
                   {"tokenizer_config.json": {"eos_token": "<s>", "extra_special_tokens": ["<tool>", "<x>", "<s>"]}}),
    "extra-object": (backend([S]),
                     {"tokenizer_config.json": {"extra_special_tokens": {"image_token": "<img>",
                                                                         "tool_token": "<tool>"}}}),
    "additional": (backend([S]),
                   {"tokenizer_config.json": {"additional_special_tokens": ["<t0>", "<t1>"], "bos_token": "<s>"}}),
    "map": (backend([S]), {"tokenizer_config.json": {"bos_token": "<mask>", "eos_token": "</s>"},
                           "special_tokens_map.json": {"bos_token": "<s>", "pad_token": token("<pad>", lstrip=True),
                                                       "cls_token": "<t0>"}}),
    "map-alone": (backend([]), {"special_tokens_map.json": {"bos_token": token("<s>"), "eos_token": "</s>"}}),
    "added": (backend([S, TOOL]), {"tokenizer_config.json": {"eos_token": "</s>", "pad_token": "<tool>"},
                                   "added_tokens.json": {"<t1>": 16, "</s>": 14, "<x>": 15, "<img>": 13}}),
    "named-becomes-special": (backend([S, TOOL, {"content": "<x>", "normalized": True}]),
                              {"tokenizer_config.json": {"eos_token": "<tool>", "pad_token": "<x>"}}),
    "named-with-decoder": (backend([S, TOOL]),
                           {"tokenizer_config.json": {"eos_token": "<tool>", "added_tokens_decoder": {}}}),
    "add-bos": (backend([S]),
                {"tokenizer_config.json": {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": True,
                                           "add_eos_token": True}}),
    "add-no-bos": (backend([S], post=True),
                   {"tokenizer_config.json": {"bos_token": "<s>", "add_bos_token": False, "add_eos_token": True}}),
    "template": (backend([S]), {"tokenizer_config.json": {"eos_token": "<s>", "chat_template": PLAIN}}),
    "template-no-eos": (backend([S]), {"tokenizer_config.json": {"chat_template": PLAIN + "{{ bos_token is defined "
        "}}{{ tools is none }}"}}),
    "template-names": (backend([S]), {"tokenizer_config.json": {"pad_token": "<pad>", "image_token": "<img>",
                                                                "chat_template": "{{ pad_token }}{{ image_token }}{{ "
                                                                                 "unk_token }}"}}),
    "template-list": (backend([S]),
                      {"tokenizer_config.json": {"chat_template": named(rag="R", tool_use="T{{ tools|length }}",
                                                                        default="D")}}),
    "template-no-default": (backend([S]), {"tokenizer_config.json": {"chat_template": named(rag="R", tool_use="T")}}),
    "template-jinja": (backend([S]), {"tokenizer_config.json": {"chat_template": named(tool_use="T", default="D")},
                                      "chat_template.jinja": "J\n"}),
    "template-folder": (backend([S]), {"chat_template.jinja": "J", "additional_chat_templates/tool_use.jinja": "AT",
                                       "additional_chat_templates/rag.jinja": "R"}),
    "template-folder-alone": (backend([S]), {"tokenizer_config.json": {"chat_template": "C"},
                                             "additional_chat_templates/tool_use.jinja": "AT"}),
    "template-folder-other": (backend([S]), {"tokenizer_config.json": {"chat_template": "C"},
                                             "additional_chat_templates/rag.jinja": "R"}),
    "template-legacy": (backend([S]), {"chat_template.json": {"chat_template": "L"}, "chat_template.jinja": "J"}),
    "template-processor": (backend([S]), {"processor_config.json": {"chat_template": "P"},
                                          "chat_template.json": {"chat_template": "L"}, "chat_template.jinja": "J"}),
    "template-nul": (backend([S]), {"tokenizer_config.json": {"chat_template": "a\0{{ 'b\\x00c' }} <s>{{ "
        "messages[0].content }}"}}),
}

# Templates that keep, trim, change or leave out the last message, and messages to go on from.
CONTINUED = ["{% for m in messages %}[{{ m.role }}]{{ m.content }}<s>\n{% endfor %}",
             "{% for m in messages %}[{{ m.role }}]{{ m.content|trim }}<s>\n{% endfor %}",
             "{% for m in messages %}[{{ m.role }}]{{ m.content.strip() + '<s>' }}{% endfor %}",
             "{% for m in messages %}[{{ m.role }}]{{ m.content.split('</think>')[-1].lstrip('\n') }}<s>{% endfor %}",
             "{% for m in messages %}[{{ m.role }}]{% if m.content is string %}{{ m.content }}{% else %}{% for p in "
             "m.content %}{{ p.text }}{% endfor %}{% endif %}<s>{% endfor %}{{ messages[-1].role }}",
             "{% for m in messages %}[{{ m.role }}]{{ m.content|upper }}<s>{% endfor %}",
             "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}"]
BEGUN = ["hello", "hello \n", "  a\u3000b ", "", " ", "a</think>\nb", "<think>a", "a\0b ",
         [{"type": "text", "text": "a"}, {"type": "text", "text": "b "}],
         [{"type": "image"}]]


def attempt(function, *args, **kw):
    try:
        return function(*args, **kw)
    except Exception:
        return None


def processor_chat(directory, kw):
    """The processor's template, rendered by the tokenizer: the two share the renderer."""
    found = attempt(lambda: ProcessorMixin.get_processor_dict(directory)[0].get("chat_template"))
    source = found.get("default") if isinstance(found, dict) else found
    t = PreTrainedTokenizerFast.from_pretrained(directory)
    return None if source is None else attempt(t.apply_chat_template, MESSAGES, chat_template=source, tokenize=False,
                                               **kw)


def main():
    shutil.rmtree(HERE, ignore_errors=True)
    out = {"texts": TEXTS, "messages": MESSAGES, "tools": TOOLS, "cases": {}, "continued": []}
    for name, (tokenizer, files) in CASES.items():
        for file, content in {"tokenizer.json": tokenizer, **files}.items():
            path = HERE / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content if isinstance(content, str) else json.dumps(content, separators=(",", ":")) + "\n")
        t = PreTrainedTokenizerFast.from_pretrained(HERE / name)
        ids = [t.encode(s, add_special_tokens=False) for s in TEXTS]
        both = [{}, {"tools": TOOLS}]
        out["cases"][name] = {
            "names": t.special_tokens_map, "ids": ids, "special": [t.encode(s) for s in TEXTS],
            "skipped": [t.decode(i, skip_special_tokens=True) for i in ids],
            "chat": [attempt(t.apply_chat_template, MESSAGES, tokenize=False, **kw) for kw in both],
            "processor": [processor_chat(str(HERE / name), kw) for kw in both]}
    t = PreTrainedTokenizerFast.from_pretrained(HERE / "nothing")
    for template in CONTINUED:
        for begun in BEGUN:
            messages = MESSAGES + [{"role": "assistant", "content": begun}]
            out["continued"].append({"template": template, "messages": messages, "text": attempt(
                t.apply_chat_template, messages, chat_template=template, tokenize=False, continue_final_message=True)})
    (HERE / "expected.json").write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
