"""Tokenizers, chat templates and chats of the shapes that the families are published with.

The split patterns, normalisers, post-processors, special tokens and their flags are the published ones; the
vocabulary is small: 256 bytes, merges trained on the lines below, then the special tokens.  The templates in
templates/ have the structure and the special tokens of the published ones in words of their own.
"""
import copy
import json
import os

import cross
import deepseek_vl
import idefics2
import idefics3
import internvl
import internvl_chat
import kosmos2
import llava
import llava15
import paligemma
import pixtral
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

import gemma

HERE = os.path.dirname(os.path.abspath(__file__))
MERGES = 180
TRAINED_ON = """\
system user assistant ipython tool function name description parameters arguments properties required type object string
{"type": "function", "function": {"name": "tap", "description": "Taps on the screen", "parameters": {"type": "object"}}}
1234567 1234567 123 123 456 456 You are a helpful assistant. You answer questions. Tap on the button, then open the \
settings and tell what is there.
What is in the picture? Where is it? It's there, isn't it? I'll do what you'd do; they're sure we've been here.
do(action="Tap", element=[499, 812]) finish(message="done") 2024 2025 100 200 300 1000
打开设置，点击按钮。这是什么？ 这里有一张图片。 设置 按钮 图片 Ça va, café crème, où êtes-vous? Größe, Straße, señor
# Tools You may call these, given in <tools></tools>: Call with <tool_call></tool_call>: "arguments": <name>, <object>
<|im_start|>user <|im_end|> {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
{"name": "tap", "arguments": {"x": 499}} You are a helper of few words. What is known ends in \
Date: Jan Answer with a call such as
        "type": "function",
        "function": {
            "name": "tap",
            "description": "Taps on 点击",
            "parameters": {
                "type": "object",
                "properties": {
                    "x": {
                        "type": integer """

# Texts in which every branch of the split patterns and the composition of NFC count.
CONTRACTIONS = "I'LL say it's done, DON'T you? we'Ve they're 'tis o'clock ''s I'LLgo don'tcha it'Slow it'\u017fx"
DIGITS = "1234567 and 3.14, 12:30, 0x1F, ²½ ١٢٣ 1,000,000.00 v2.5.1"
CJK = "打开设置，然后点击“Wi-Fi”按钮。日本語テキスト 한국어 ที่ไทย हिन्दी"
COMPOSED = "Cafe\u0301 n\u0303 A\u030a o\u0323\u0302 \u1100\u1161\u11a8 \u212b \u1e9b\u0323 \u0958 " \
           "a\u0301\u0327 ﬁ x\u0338=\u0338"
EMOJI = "👍🏽👩‍👩‍👧‍👦🇩🇪☕️ 🙂!!! ok🙂ok"
SPACES = "   leading\ttab\u00a0no-break\u3000wide \u2003em  two   three    "
LINES = "a\n\n\nb\r\n\r\nc \n \n  d\n\t\n(e)\n\nquestions.\n{\n \"f\": {\ng,\n"
ALL = [CONTRACTIONS, DIGITS, CJK, COMPOSED, EMOJI, SPACES, LINES]

TOOLS = [{"type": "function", "function": {"name": "tap", "description": "Taps \"<b>\" & 'c': 点击", "parameters": {
    "type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}}}]
CALLS = [{"id": "call_1", "type": "function",
          "function": {"name": "tap", "arguments": {"x": 499, "on": "é\n", "f": [1.5, True]}}}]
IMAGE = {"type": "image"}


def split(digits):
    """What cuts a text into pieces, published for GPT-4 first; the families differ in how they cut digits."""
    return (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|" + digits +
            r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


# Of GPT-4o: words are cut where small letters end and capitals begin.
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
SUFFIX = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
CASED = (rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{SUFFIX}|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{SUFFIX}|"
         r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")

QWEN_BASE = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>",
             "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>",
             "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"]
QWEN_CALLS = ["<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>",
              "<|repo_name|>", "<|file_sep|>"]
QWEN_THOUGHT = ["<tool_response>", "</tool_response>", "<think>", "</think>"]
GLM_BASE = ["<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|system|>", "<|user|>",
            "<|assistant|>", "<|observation|>", "<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>",
            "<|end_of_video|>"]
GLM_LATER = ["<|begin_of_audio|>", "<|end_of_audio|>", "<|begin_of_transcription|>", "<|end_of_transcription|>",
             "<|code_prefix|>", "<|code_middle|>", "<|code_suffix|>", "/nothink"]
GLM_CALLS = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<arg_key>",
             "</arg_key>", "<arg_value>", "</arg_value>"]
GLM_VISION, GLM_TAGS = ["<|image|>", "<|video|>"], ["<think>", "</think>", "<answer>", "</answer>"]
LLAMA_BASE = ["<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>",
              "<|finetune_right_pad_id|>", "<|reserved_special_token_2|>", "<|start_header_id|>", "<|end_header_id|>",
              "<|eom_id|>", "<|eot_id|>", "<|python_tag|>"]
PHI_TURNS = ["<|assistant|>", "<|end|>", "<|user|>", "<|system|>", "<|tool|>"]
PHI_BASE = ["<|endoftext|>", "<|endofprompt|>", *PHI_TURNS, "<|/tool|>", "<|tool_call|>", "<|/tool_call|>",
            "<|tool_response|>", "<|tag|>"]
QWEN = {"digits": r"\p{N}", "nfc": True, "class": "Qwen2Tokenizer", "eos": ["<|im_end|>", "<|endoftext|>"],
        "pad": "<|endoftext|>", "special": QWEN_BASE}
GLM = {"digits": r"\p{N}{1,3}", "nfc": False, "class": "PreTrainedTokenizerFast", "pad": "<|endoftext|>",
       "eos": ["<|endoftext|>", "<|user|>", "<|observation|>"], "file": "chat_template.jinja"}
LLAMA = {"digits": r"\p{N}{1,3}", "nfc": False, "class": "PreTrainedTokenizerFast", "pad": "<|finetune_right_pad_id|>",
         "bos": "<|begin_of_text|>", "eos": ["<|eot_id|>", "<|end_of_text|>", "<|eom_id|>"], "special": LLAMA_BASE}

# No tools and no thoughts; a tokenizer of another kind.
GEMMA = {"special": gemma.SPECIAL, "plain": [], "class": "GemmaTokenizer", "pad": "<pad>", "bos": "<bos>",
         "eos": ["<eos>", "<end_of_turn>"], "template": "gemma3", "file": "chat_template.jinja", "tools": False,
         "named": {"unk_token": "<unk>", "mask_token": "<mask>", "extra_special_tokens": {
             **gemma.NAMED}},
         "backend": lambda renamed: gemma.backend(TRAINED_ON, MERGES, renamed)}
GEMMA2 = GEMMA | {"special": gemma.FIRST, "template": "gemma", "file": "tokenizer_config.json", "system": False,
                  "named": {"unk_token": "<unk>", "mask_token": "<mask>"},
                  "backend": lambda renamed: gemma.backend(TRAINED_ON, MERGES, renamed, ())}

# family -> special tokens, other added tokens, the template, the file that it is in, what the post-processor puts in
# front, and whether the vocabulary has whole words
SHAPES = {
    "qwen2_vl": QWEN | {"plain": [], "template": "qwen_vl", "file": "chat_template.json"},
    "qwen2_5_vl": QWEN | {"plain": QWEN_CALLS, "template": "qwen_vl", "file": "chat_template.jinja"},
    "qwen3_vl": QWEN | {"plain": QWEN_CALLS + QWEN_THOUGHT, "template": "qwen3_vl", "file": "chat_template.json"},
    "qwen2": QWEN | {"plain": QWEN_CALLS, "template": "qwen2", "file": "tokenizer_config.json"},
    "qwen3": QWEN | {"plain": QWEN_CALLS + QWEN_THOUGHT, "template": "qwen3", "file": "tokenizer_config.json"},
    "glm4v": GLM | {"special": GLM_BASE + GLM_VISION, "plain": GLM_TAGS, "template": "glm4v"},
    "glm4": GLM | {"special": GLM_BASE, "plain": [], "template": "glm4", "prefix": ["[gMASK]", "<sop>"]},
    "gemma": GEMMA2,
    "gemma2": GEMMA2,
    "gemma3_text": GEMMA,
    gemma.FAMILY: GEMMA,
    paligemma.FAMILY: paligemma.shape(GEMMA, lambda renamed: paligemma.backend(TRAINED_ON, MERGES, renamed)),
    "llama": LLAMA | {"plain": [], "template": "llama", "file": "tokenizer_config.json",
                      "prefix": ["<|begin_of_text|>"], "whole_words": True},
    "glm4_moe": GLM | {"special": GLM_BASE + GLM_LATER, "plain": GLM_CALLS, "template": "glm45"},
    "glm4v_moe": GLM | {"special": GLM_BASE + GLM_LATER + GLM_VISION + ["<|begin_of_box|>", "<|end_of_box|>"],
                        "plain": GLM_CALLS, "template": "glm45"},
    "phi3": {"pattern": CASED, "nfc": False, "class": "GPT2Tokenizer", "pad": "<|endoftext|>",
             "bos": "<|endoftext|>", "eos": ["<|end|>", "<|endoftext|>"], "special": PHI_BASE,
             "plain": [], "template": "phi4", "file": "tokenizer_config.json", "rstrip": PHI_TURNS},
    kosmos2.FAMILY: kosmos2.SHAPE,
    idefics3.FAMILY: idefics3.SHAPE,
    idefics2.FAMILY: idefics2.SHAPE,
    **llava.shapes(LLAMA, QWEN),
    **llava15.shapes(TRAINED_ON),
    pixtral.FAMILY: pixtral.SHAPE,
    deepseek_vl.FAMILY: deepseek_vl.SHAPE,
    internvl.FAMILY: QWEN | {"special": QWEN_BASE + internvl.TOKENS, "plain": QWEN_CALLS, "template": "internvl",
                             "file": "chat_template.jinja"},
}
SHAPES["mllama"] = LLAMA | {"special": LLAMA_BASE + ["<|image|>"], "plain": [], "template": "mllama",
                            "file": "chat_template.json", "prefix": ["<|begin_of_text|>"], "whole_words": True,
                            "beyond": "<|image|>"}       # the head's vocabulary ends before this token
SHAPES["idefics"] = {"pieces": True, "class": "PreTrainedTokenizerFast", "pad": "<unk>", "bos": "<s>",
                     "eos": ["</s>", "<end_of_utterance>"], "special": ["<unk>", "<s>", "</s>", *cross.IDEFICS_ADDED],
                     "plain": [], "template": "idefics", "file": "tokenizer_config.json", "prefix": ["<s>"],
                     "beyond": cross.IDEFICS_ADDED[0], "places": cross.IDEFICS_ADDED[1:2]}
# Words of the vocabulary that no merge leads to: `ignore_merges` finds them where they are a whole piece.
WHOLE_WORDS = ["Ġscreenshot", "Ġbrightness", "leading"]
# Field of config.json -> token, where the family names it
NAMED = {"image_token_index": ["<|image|>", "<image>", "[IMG]", "<image_soft_token>"],
         "boi_token_index": ["<start_of_image>"], "eoi_token_index": ["<end_of_image>"],
         "video_token_index": ["<video>"],
         "image_token_id": ["<IMG_CONTEXT>", "<|image_pad|>", "<|image|>", "<image>",
                            "<image_placeholder>"],
         "video_token_id": ["<|video_pad|>", "<|video|>"],
         "vision_start_token_id": ["<|vision_start|>"], "vision_end_token_id": ["<|vision_end|>"],
         "image_start_token_id": ["<|begin_of_image|>"], "image_end_token_id": ["<|end_of_image|>"],
         "video_start_token_id": ["<|begin_of_video|>"], "video_end_token_id": ["<|end_of_video|>"]}
SHAPES[internvl_chat.FAMILY] = SHAPES[internvl.FAMILY] | {"template": "qwen2", "file": "tokenizer_config.json",
                                                          "flat": True, "places": [internvl_chat.PLACE]}
SHAPES |= {"glm46v": SHAPES["glm4v_moe"], "glm_ocr": SHAPES["glm4v_moe"],
           "qwen3_moe": SHAPES["qwen3"], "qwen3_vl_moe": SHAPES["qwen3_vl"],
           "smollm3": LLAMA | {"special": LLAMA_BASE + ["<|im_start|>", "<|im_end|>"], "whole_words": True,
                               "plain": ["<think>", "</think>", "<tool_call>", "</tool_call>"],
                               "eos": ["<|im_end|>", "<|end_of_text|>"], "pad": "<|im_end|>", "template": "smollm3",
                               "file": "chat_template.jinja"}}


def template(family):
    with open(os.path.join(HERE, "templates", SHAPES[family]["template"] + ".jinja"), encoding="utf-8") as f:
        return f.read()


def written(family):
    """The template with the tokens that it puts together from roles written out."""
    whole = {r: f"<|{r}|>" for r in ("system", "user", "assistant", "tool")}
    return template(family).replace("'<|' + turn['role'] + '|>'", f"{whole}[turn['role']]")


def vocabulary(family):
    """256 bytes and the merges of the lines above, cut as the family cuts. Then, for the texts above, merges across
    every cut: nothing ever uses them, but where a cut is missed, they make another token."""
    t, shape = Tokenizer(models.BPE()), SHAPES[family]
    pattern = shape.get("pattern") or split(shape.get("digits", ""))
    t.pre_tokenizer = shape["cut"]() if "cut" in shape else pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.train_from_iterator([TRAINED_ON], trainers.BpeTrainer(
        vocab_size=256 + MERGES, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    model = json.loads(t.to_str())["model"]
    vocab = {s: i for i, s in enumerate(sorted(model["vocab"], key=model["vocab"].get))}
    merges = [tuple(m) for m in model["merges"]]
    for text in ALL:
        encoded = t.encode(text)
        for i in range(1, len(encoded.ids)):
            pair = tuple(encoded.tokens[i - 1:i + 1])
            if encoded.word_ids[i - 1] != encoded.word_ids[i] and "".join(pair) not in vocab:
                vocab["".join(pair)] = len(vocab)
                merges.append(pair)
    for word in WHOLE_WORDS if SHAPES[family].get("whole_words") else []:
        vocab.setdefault(word, len(vocab))
    return vocab, merges, t.pre_tokenizer


def of_pieces(shape, name):
    """As Llama 1 and 2 have it, made from a model of sentencepiece: words begin with a mark that stands for the space
    before them, bytes stand for what has no piece, and nothing is cut in front."""
    first = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    trained.train_from_iterator(TRAINED_ON.split("\n"), trainers.BpeTrainer(vocab_size=MERGES + 200,
                                                                            show_progress=False))
    model = json.loads(trained.to_str())["model"]
    vocab = {name(s): i for i, s in enumerate(first + sorted(model["vocab"], key=model["vocab"].get))}
    t = Tokenizer(models.BPE(vocab, [tuple(m) for m in model["merges"]], unk_token=name("<unk>"), fuse_unk=True,
                             byte_fallback=True))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                   decoders.Strip(" ", 1, 0)])
    t.add_special_tokens([AddedToken(name(s), special=True, normalized=False) for s in shape["special"]])
    front = [name(s) for s in shape["prefix"]]
    t.post_processor = processors.TemplateProcessing(single=[*front, "$A"], pair=[*front, "$A", *front, "$B"],
                                                     special_tokens=[(s, t.token_to_id(s)) for s in front])
    return t


def backend(family, renamed=None):
    """The tokenizer; renamed: other texts for some of the added tokens."""
    shape, name = SHAPES[family], lambda s: (renamed or {}).get(s, s)
    if "pieces" in shape:
        return of_pieces(shape, name)
    if family in (kosmos2.FAMILY, idefics2.FAMILY):
        return (kosmos2 if family == kosmos2.FAMILY else idefics2).backend(TRAINED_ON, renamed)
    if "backend" in shape:
        return shape["backend"](renamed)
    vocab, merges, pre = vocabulary(family)
    t = Tokenizer(models.BPE(vocab, merges, ignore_merges=bool(shape.get("whole_words"))))
    t.normalizer, t.pre_tokenizer = normalizers.NFC() if shape["nfc"] else None, pre
    t.decoder = decoders.ByteLevel()
    t.add_special_tokens([AddedToken(name(s), special=True, normalized=False, rstrip=s in shape.get("rstrip", []))
                          for s in shape["special"]])
    t.add_tokens([AddedToken(name(s), special=False, normalized=False) for s in shape["plain"]])
    t.post_processor = level = processors.ByteLevel(trim_offsets=False)
    if "prefix" in shape:
        front = [name(s) for s in shape["prefix"]]
        t.post_processor = processors.Sequence([level, processors.TemplateProcessing(
            single=[*front, "$A"], pair=[*front, "$A", "$B"], special_tokens=[(s, t.token_to_id(s)) for s in front])])
    return t


def configure(family, base):
    """The configuration `base` with the vocabulary and the ids of this tokenizer."""
    config, t, shape = copy.deepcopy(base), backend(family), SHAPES[family]
    eos = [t.token_to_id(s) for s in shape["eos"]]
    text = config.get("text_config", config)
    vocab = t.token_to_id(shape["beyond"]) if "beyond" in shape else (t.get_vocab_size() + 15) // 16 * 16
    text.update(vocab_size=vocab, max_position_embeddings=2048, num_hidden_layers=2,
                bos_token_id=t.token_to_id(shape.get("bos", shape["pad"])), pad_token_id=t.token_to_id(shape["pad"]),
                eos_token_id=eos if len(eos) > 2 else eos[0])
    if "cross_attention_layers" in text:
        text.update(num_hidden_layers=3, cross_attention_layers=[1])
    if "additional_vocab_size" in text:
        text.update(additional_vocab_size=t.get_vocab_size() - vocab)
    for field, names in NAMED.items():
        if field in config:
            config[field] = next(t.token_to_id(s) for s in names if s in shape["special"])
    return config


def put(out, name, content):
    """A text or a JSON object as a file."""
    with open(os.path.join(out, name), "w", encoding="utf-8") as f:
        f.write(content if isinstance(content, str) else json.dumps(content, indent=1, ensure_ascii=False))


def save(family, out):
    """tokenizer.json, the files around it and the template, as they are published. Gives the tokenizer that the
    reference makes of them."""
    shape, t = SHAPES[family], backend(family)
    ids = {s: t.token_to_id(s) for s in shape["special"] + shape["plain"]}
    added = {str(i): {"content": s, "lstrip": family == kosmos2.FAMILY and s not in shape["special"],
                      "normalized": s in shape.get("normalized", []), "rstrip": s in shape.get("rstrip", []),
                      "single_word": False, "special": s in shape["special"]} for s, i in ids.items()}
    config = {"tokenizer_class": shape["class"], "added_tokens_decoder": added, "bos_token": shape.get("bos"),
              "eos_token": shape["eos"][0], "pad_token": shape["pad"], "clean_up_tokenization_spaces": False,
              "model_max_length": 131072, **shape.get("named", {})}
    if family == kosmos2.FAMILY:
        config |= {"unk_token": "<unk>", "cls_token": "<s>", "sep_token": "</s>"}
    if shape["class"] == "Qwen2Tokenizer":
        config |= {"add_prefix_space": False, "add_bos_token": False, "unk_token": None, "errors": "replace",
                   "split_special_tokens": False, "additional_special_tokens": shape["special"][1:]}
    if shape["file"] == "tokenizer_config.json":
        config["chat_template"] = template(family)
    elif shape["file"]:
        whole = shape["file"] == "chat_template.jinja"
        put(out, shape["file"], template(family) if whole else {"chat_template": template(family)})
    t.save(os.path.join(out, "tokenizer.json"))
    put(out, "tokenizer_config.json", config)
    put(out, "generation_config.json", {
        "bos_token_id": ids[shape.get("bos", shape["pad"])], "do_sample": True,
        "eos_token_id": [ids[s] for s in shape["eos"]], "pad_token_id": ids[shape["pad"]], "temperature": 0.7,
        "top_k": 20, "top_p": 0.8, "repetition_penalty": 1.0})
    reference = AutoTokenizer.from_pretrained(out)
    for s in ALL:      # the class of the family, which knows the pattern itself, cuts as this file does
        assert reference.encode(s) == PreTrainedTokenizerFast.from_pretrained(out).encode(s) == t.encode(s).ids, s
    reference.chat_template = template(family)
    return reference


# ---- chats ----

def message(role, content, **more):
    return {"role": role, "content": content, **more}


def text(content):
    return {"type": "text", "text": content}


def called(family):
    """A call, what came of it, and a question."""
    said = "" if family in ("llama", "glm4", "mllama") else "I'll do it."       # these say nothing beside a call
    return [message("user", "Tap it, don't wait."), message("assistant", said, tool_calls=CALLS),
            message("tool", "{\"done\": true, \"at\": [499, 812]}\n完成", tool_call_id="call_1"),
            message("user", "And then?")]


def spoken(family, messages):
    """Those whose role the template knows."""
    return messages if SHAPES[family].get("system", True) else [m for m in messages if m["role"] != "system"]


def dated(family):
    """What the template would otherwise ask the clock."""
    return {"date_string": "1 Jan 2025"} if family in ("llama", "mllama", "smollm3") else {}


def conversation(family, images):
    """The chat whose logits and answer are recorded: (messages, what else the request has)."""
    if family == kosmos2.FAMILY:
        return kosmos2.CONVERSATION, {}
    if family == paligemma.FAMILY:
        return paligemma.CONVERSATION, {}
    if images:
        seen = [message("user", [IMAGE, text("Where's the cafe\u0301? 在哪里？")]),
                message("assistant", "do(action=\"Tap\", element=[499,812])"),
                message("user", [text("Now  "), IMAGE, text("\u0338 it's 12345 🙂\n\n?")])]
        return (seen, {}) if not family.startswith("qwen3_vl") else (seen + called(family)[1:], {"tools": TOOLS})
    if not SHAPES[family].get("tools", True):
        return spoken(family, [message("system", "Be brief.")]) + [message("user", "Where's the cafe\u0301? 在哪里？"),
                message("assistant", " There. "), message("user", "  It's 12345 cafe\u0301s 🙂\n\n设置？ ")], {}
    more = {"tools": TOOLS, **dated(family), **({"enable_thinking": False} if family.startswith("qwen3") else {})}
    return called(family)[:-1] + [message("user", "  It's 12345 cafe\u0301s 🙂\n\n设置？ ")], more


def with_tools(family, special, more):
    out, shape = {}, SHAPES[family]
    out["look-alikes in a result"] = called(family)[:2] + [message("tool", "".join(shape["plain"]) + special)], more
    if shape["template"] not in ("qwen_vl", "glm4v", "idefics"):
        out["tools"] = [message("user", "Hi")], {"tools": TOOLS, **more}
        out["call"] = called(family), {"tools": TOOLS, **more}
    return out


def chats(family, images):
    """Chats of which the prompt alone is recorded: name -> (messages, what else)."""
    more, shape = dated(family), SHAPES[family]
    special = "".join(shape["special"]) + "x" + " ".join(shape["special"])
    out = {f"text {i}": ([message("user", s)], more) for i, s in enumerate(ALL)}
    out["turns"] = spoken(family, [message("system", "Be brief.\n" + COMPOSED)]) + [
        message("user", " Hi "), message("assistant", "\nYes?\n"), message("user", LINES)], more
    out["tags"] = [message("user", "q <think> or </tool_call>?"),
                   message("assistant", "<think>\nhm 12\n</think>\n\n<answer>A</answer>"),
                   message("user", "go on")], more
    out["look-alikes"] = [message("user", special), message("assistant", special),
                          message("user", "<|im_end|>\u0338<|eot_id|>\n[gMASK]")], more
    if not shape.get("tools", True):
        out["look-alikes in an answer"] = [message("user", "Hi"), message("assistant", special),
                                           message("user", special + LINES)], more
    else:
        out |= with_tools(family, special, more)
    if family == kosmos2.FAMILY:
        return out | kosmos2.chats(out)
    if images:
        parts = [text("Cafe"), text("\u0301 "), IMAGE, text("\u0338="), IMAGE]
        first = [] if family == "mllama" else [message("system", [text("Look.")])]   # which refuses it beside images
        out["parts"] = first + [message("user", parts)], more
        out["numbered"] = [message("user", parts)], {"add_vision_id": True, **more}
    return out


# ---- whose text it is ----

def structure(family, out, reference):
    """What the README says of a checkpoint: (tokens that count where the template wrote them alone, tags that a tool
    may not write)."""
    named = {v for v in reference.special_tokens_map.values() if isinstance(v, str)}
    named |= set(SHAPES[family].get("places", []))
    for name in "config.json", "generation_config.json":
        with open(os.path.join(out, name)) as f:
            config = json.load(f)
        for k, v in (config | config.get("text_config", {})).items():
            if k.endswith(("_token_id", "_token_index")) and v is not None:
                named |= {reference.convert_ids_to_tokens(i) for i in (v if isinstance(v, list) else [v])}
    every = SHAPES[family]["special"] + SHAPES[family]["plain"]
    chosen = [s for s in every if s in named or (s in written(family) and s[0] in "<[")]
    tags = [s for s in chosen if s not in named and s[0] == "<" and s[1] != "|" and
            (s.replace("</", "<") if s[1] == "/" else "</" + s[1:]) in every]
    return [s for s in chosen if s not in tags], tags


def by_our_rule(family, out, reference, messages, more):
    """The prompt's ids where structure counts in the template's text alone: of the same template and tokenizer with
    other spellings of these tokens, which nobody's text has. Tags are spelled so too, but for a tool's."""
    tokens, tags = structure(family, out, reference)
    spelled = {s: chr(0xe000 + i) for i, s in enumerate(tokens + tags)}

    def spell(s, which):
        for token in sorted(which, key=len, reverse=True):
            s = s.replace(token, spelled[token])
        return s

    def told(x):
        if isinstance(x, dict):
            return {k: told(v) for k, v in x.items()}
        return spell(x, tags) if isinstance(x, str) else [told(y) for y in x] if isinstance(x, list) else x

    names = {k: spelled.get(v, v) for k, v in reference.special_tokens_map.items() if isinstance(v, str)}
    t = PreTrainedTokenizerFast(tokenizer_object=backend(family, spelled), **names)
    t.chat_template = spell(written(family), tokens + tags)
    return rendered(t, as_known(family, [m if m["role"] == "tool" else told(m) for m in messages],
                                spelled.get(internvl_chat.PLACE)), more)


def as_known(family, messages, place=internvl_chat.PLACE):
    """With contents as the family's template knows them. place: what stands for an image where they are strings."""
    if SHAPES[family].get("flat"):
        return internvl_chat.flat(messages, place)
    return idefics3.parts(messages) if SHAPES[family].get("parts") else messages


def rendered(t, messages, more):
    return t.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False, **more)


def prompts(family, out, reference, images):
    """The records of chats.json: ids by the rule of this server, and the reference's own where they differ."""
    rows = []
    for name, (messages, more) in chats(family, images).items():
        theirs = rendered(reference, as_known(family, messages), more)
        ours = by_our_rule(family, out, reference, messages, more)
        assert (ours == theirs) == ("look-alikes" not in name), (family, name)
        rows.append({"name": name, "messages": messages, **more_of(more), "ids": ours})
        if family == "idefics":
            rows[-1]["tokens"] = cross.idefics_tokens(ours, backend(family).token_to_id("<image>"))
        if family == idefics2.FAMILY:
            rows[-1]["tokens"] = idefics2.tokens(reference, messages, ours)
        if family == kosmos2.FAMILY:
            rows[-1]["tokens"] = kosmos2.tokens(ours, backend(family).token_to_id("<image>"))
        if "added" in SHAPES[family]:      # by the post-processor, which serving asks where a model takes images
            rows[-1]["added"] = SHAPES[family]["added"]
        if family == gemma.FAMILY and "look-alikes" not in name:
            text = reference.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
            rows[-1]["tokens"] = len(gemma.expanded(reference, text, gemma.PUBLISHED))
        if ours != theirs:
            rows[-1]["trusting"] = theirs
    texts = ALL + ["".join(SHAPES[family]["special"] + SHAPES[family]["plain"]) + " x"]
    return {"chats": rows, "texts": [{"text": s, "ids": reference.encode(s)} for s in texts]}


def more_of(more):
    """What a request has beside its messages: tools, and what the template is given."""
    kwargs = {k: v for k, v in more.items() if k != "tools"}
    return {**({"tools": more["tools"]} if "tools" in more else {}),
            **({"chat_template_kwargs": kwargs} if kwargs else {})}
