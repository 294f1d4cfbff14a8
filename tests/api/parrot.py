"""A checkpoint that says what it was told to: a Llama whose only knowledge is which token follows which.

A script is a text that the model answers with when the last message of the chat holds the script's cue, or the cue is
the role of that message. Every piece of a script is a token of its own, so that a piece alone decides what comes next;
tokens that mark calls and thoughts are special ones where they come first, as published tokenizers have them, and
plain text afterwards.
"""

import json

import numpy as np

import spellings

MARKS = ["<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "<think>", "</think>",
         "<|python_tag|>"]
END = "<|end|>"

# What makes the server know the format: words that the published templates write.
HINTS = {"hermes": "<tool_call>\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call>",
         "glm": "<tool_call>name<arg_key>key</arg_key><arg_value>value</arg_value></tool_call>",
         "llama3_json": "{\"name\": function name, \"parameters\": dictionary}", "none": "tools:"}


def byte_letters():
    """The letters by which byte-level tokenizers write the bytes 0 to 255 (GPT-2's table)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    return {b: chr(b) for b in plain} | {b: chr(256 + i) for i, b in enumerate(others)}


LETTERS = byte_letters()


def spelled(text):
    return "".join(LETTERS[b] for b in text.encode())


def pieces_of(text, taken):
    """The text in pieces that no script has used yet; `taken` grows by them."""
    out = []
    while text:
        mark = next((m for m in MARKS if text.startswith(m) and m not in taken), None)
        n = len(mark) if mark else 2
        while not mark and (text[:n] in taken or text[:n] in MARKS) and n < len(text):
            n += 1
        while text[:n] in taken or len(text) == 1:   # the script ends: what was cut before goes together with it
            text = out.pop() + text
            n = len(text)
        taken.add(text[:n])
        out.append(text[:n])
        text = text[n:]
    return out


def template(scripts, hint, opening):
    cues = "".join(f"{{% if {json.dumps(cue)} in last.content or {json.dumps(cue)} == last.role %}}"
                   f"{{% set found.cue = '<|cue{i}|>' %}}{{% endif %}}" for i, cue in enumerate(scripts))
    return ("{% set found = namespace(cue='') %}{% if tools %}" + hint + "{{ tools | tojson }}{% endif %}"
            "{% for m in messages %}{{ m.role }}:{{ m.content }}{% if m.reasoning_content %}({{ m.reasoning_content }})"
            "{% endif %}{% for c in m.tool_calls or [] %}[{{ c.function.name }} {{ c.function.arguments | tojson }}]"
            "{% endfor %}\n{% endfor %}{% set last = messages[-1] %}" + cues +
            "{% if add_generation_prompt %}{{ found.cue }}" + opening + "{% endif %}")


def write(folder, scripts, form="hermes", opening="", hint=None):
    """scripts: {cue: text}; opening: what the template writes behind the cue, as <think> in some."""
    folder.mkdir()
    taken, follows, texts = set(), {}, [END, *(f"<|cue{i}|>" for i in range(len(scripts))), *MARKS]
    plain = []
    for i, text in enumerate(scripts.values()):
        before = opening or f"<|cue{i}|>"
        for piece in pieces_of(text, taken):
            if piece not in MARKS:
                plain.append(piece)
            follows[before] = before = piece
        follows[before] = END
    vocab = {letter: i for i, letter in enumerate(LETTERS.values())}
    for piece in plain:
        vocab[spelled(piece)] = len(vocab)
    added = {text: len(vocab) + i for i, text in enumerate(texts)}
    ids = {piece: vocab[spelled(piece)] for piece in plain} | added
    size = (len(vocab) + len(added) + 63) // 64 * 64
    (folder / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "added_tokens": [{"id": i, "content": t, "single_word": False, "lstrip": False,
                                            "rstrip": False, "normalized": False, "special": True}
                                           for t, i in added.items()],
        "normalizer": None, "post_processor": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "vocab": vocab,
                  "merges": []}}))
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "eos_token": END, "chat_template": template(scripts, HINTS[form] if hint is None else hint, opening)}))
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": size, "hidden_size": size,
        "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": size // 64, "num_key_value_heads": 1,
        "head_dim": 64, "hidden_act": "silu", "max_position_embeddings": 4096, "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0, "tie_word_embeddings": False, "attention_bias": False, "mlp_bias": False,
        "eos_token_id": added[END], "bos_token_id": None, "dtype": "bfloat16"}))
    one = np.uint16(0x3f80)
    embed, head = np.zeros((size, size), np.uint16), np.zeros((size, size), np.uint16)
    np.fill_diagonal(embed, one)
    head[added[END], :] = one
    for before, piece in follows.items():
        head[added[END], ids[before]] = 0
        head[ids[piece], ids[before]] = one
    layer = "model.layers.0."
    spellings.write_tensors(folder / "model.safetensors", {
        "model.embed_tokens.weight": embed, "lm_head.weight": head, "model.norm.weight": np.full(size, one),
        layer + "input_layernorm.weight": np.full(size, one),
        layer + "post_attention_layernorm.weight": np.full(size, one),
        layer + "self_attn.q_proj.weight": np.zeros((size // 64 * 64, size), np.uint16),
        layer + "self_attn.k_proj.weight": np.zeros((64, size), np.uint16),
        layer + "self_attn.v_proj.weight": np.zeros((64, size), np.uint16),
        layer + "self_attn.o_proj.weight": np.zeros((size, size // 64 * 64), np.uint16),
        layer + "mlp.gate_proj.weight": np.zeros((64, size), np.uint16),
        layer + "mlp.up_proj.weight": np.zeros((64, size), np.uint16),
        layer + "mlp.down_proj.weight": np.zeros((size, 64), np.uint16)}, "BF16")
    return folder


def write_talker(folder, call):
    """One that thinks and makes the call when it is asked about the weather, and says that it is fine when it is told
    the result."""
    return write(folder, {"weather": "<think>\nhm\n</think>\n\nI look.\n" + call, "tool": "It is fine."},
                 hint=HINTS["hermes"] + "<think></think>")
