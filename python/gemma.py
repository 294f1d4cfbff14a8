"""Tokenizers of Gemma's shape: SentencePiece's BPE, as it is published.

Spaces become "\u2581", nothing cuts a text before the merges do, bytes have tokens of their own, and bos goes in front.

Configurations of Gemma and Gemma 2, and of Gemma 3 with images and its inputs, for golden.py and tiny.py, too.
"""
import json
import os

import torch
from PIL import Image
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import Gemma3ImageProcessor, Gemma3Processor

FIRST = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<unused0>", "<unused1>", "<start_of_turn>", "<end_of_turn>"]
LAST = ["<start_of_image>", "<end_of_image>", "<image_soft_token>"]
SPECIAL = FIRST + LAST
FAMILY = "gemma3"
QUIET = ["gemma", "gemma2", "paligemma"]     # of which the variant "published" is made so
PUBLISHED = 9              # tokens of an image of the variant "published"
NAMED = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}


def backend(text, merges, renamed=None, last=tuple(LAST)):
    """A vocabulary of the special tokens, runs of line breaks, bytes, the characters of `text` and so many merges."""
    def name(s):
        return (renamed or {}).get(s, s)

    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.Replace(" ", "\u2581")
    letters = len(set(text.replace(" ", "\u2581")) - {"\n"})
    t.train_from_iterator(text.splitlines(), trainers.BpeTrainer(vocab_size=letters + merges, show_progress=False))
    trained = sorted(t.get_vocab().items(), key=lambda x: x[1])
    lines = ["\n" * n for n in range(1, 5)]
    tokens = [name(s) for s in FIRST] + lines + [f"<0x{b:02X}>" for b in range(256)] + [s for s, _ in trained]
    vocab = {s: i for i, s in enumerate(dict.fromkeys(tokens + [name(s) for s in last]))}
    learned = [tuple(m) for m in json.loads(t.to_str())["model"]["merges"]]
    out = Tokenizer(models.BPE(vocab, [(lines[n], "\n") for n in range(3)] + learned, unk_token=name("<unk>"),
                               fuse_unk=True, byte_fallback=True))
    out.normalizer = normalizers.Replace(" ", "\u2581")
    out.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    out.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    out.add_special_tokens([AddedToken(name(s), special=True, normalized=False) for s in [*FIRST, *last]])
    bos = name("<bos>")
    out.post_processor = processors.TemplateProcessing(single=[bos, "$A"], pair=[bos, "$A", bos, "$B"],
                                                       special_tokens=[(bos, out.token_to_id(bos))])
    return out


def quiet(model):
    """Makes bytes unlikely: those that are no text together have another text in a stream than in the whole."""
    with torch.no_grad():
        rows = model.lm_head.weight[len(FIRST) + 4:len(FIRST) + 260]
        rows.copy_((.1 * rows).bfloat16().float())
    return model


def texts(text, vocab):
    """Gemma and Gemma 2: family -> variant -> (configuration, None). `text`: as tiny.text()."""
    def rope(theta):
        return {"rope_type": "default", "rope_theta": theta}

    return {
        "gemma": {
            "grouped": (text(vocab, 32, 4, 1, 3, 48, head_dim=12, hidden_act="gelu", rope_parameters=rope(10000.0)),
                        None),
            "bias": (text(vocab, 24, 2, 2, 2, 40, head_dim=16, hidden_act="silu", attention_bias=True,
                          rms_norm_eps=1e-3, tie_word_embeddings=False, rope_parameters=rope(300.0)), None),
        },
        "gemma2": {
            "windows": (text(vocab, 32, 4, 2, 5, 48, head_dim=16, sliding_window=9, query_pre_attn_scalar=24,
                             attn_logit_softcapping=2.0, final_logit_softcapping=6.0, rope_parameters=rope(10000.0)),
                        None),
            "types": (text(vocab, 24, 2, 1, 3, 40, head_dim=12, sliding_window=33, attention_bias=True,
                           query_pre_attn_scalar=12, attn_logit_softcapping=None, final_logit_softcapping=10.0,
                           tie_word_embeddings=False, rope_parameters=rope(100.0),
                           layer_types=["full_attention", "sliding_attention", "sliding_attention"]), None),
        },
    }


def case(text, first, vision, side, patch, tokens):
    """text: text_config; first: the id of the first of SPECIAL; vision: width, layers, heads, inner."""
    width, depth, heads, inner = vision

    def at(token):
        return first + SPECIAL.index(token)

    return {"text_config": text, "mm_tokens_per_image": tokens, "boi_token_index": at(NAMED["boi_token"]),
            "eoi_token_index": at(NAMED["eoi_token"]), "image_token_index": at(NAMED["image_token"]),
            "vision_config": {"model_type": "siglip_vision_model", "hidden_size": width, "num_hidden_layers": depth,
                              "num_attention_heads": heads, "intermediate_size": inner, "image_size": side,
                              "patch_size": patch, "vision_use_head": False}}, {"sides": side}


def save_processor(told, out):
    p = Gemma3ImageProcessor(size={"height": told["sides"], "width": told["sides"]})
    with open(os.path.join(out, "preprocessor_config.json"), "w") as f:
        json.dump({k: v for k, v in json.loads(p.to_json_string()).items() if not k.startswith("_")}, f, indent=1)
    return p


def expanded(tok, text, n):
    """The ids of a rendered chat with the texts of its images, as the processor writes them."""
    image = "\n\n<start_of_image>" + "<image_soft_token>" * n + "<end_of_image>\n\n"
    return tok.encode(text.replace("<start_of_image>", image), add_special_tokens=False)


def inputs(model, proc, images, _ids, tok, messages):
    """As golden.INPUTS."""
    n, place = model.config.mm_tokens_per_image, model.config.image_token_index
    text = tok.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    for k, v in NAMED.items():
        setattr(tok, k, v)
        setattr(tok, k + "_id", tok.convert_tokens_to_ids(v))
    p = Gemma3Processor(proc, tok, image_seq_length=n)(
        images=[[Image.fromarray(i) for i in images]], text=[text], add_special_tokens=False, return_tensors="pt")
    ids, pixels = p["input_ids"][0].tolist(), p["pixel_values"]
    assert ids == expanded(tok, text, n) and p["token_type_ids"][0].tolist() == [int(i == place) for i in ids]
    assert all(list(pixels.shape[2:]) == list(i.shape[:2]) for i in images), "not of the final size"

    def more(x):
        return {"pixel_values": pixels, "token_type_ids": (x == place).int()}

    with torch.no_grad():
        features = model.model.get_image_features(pixels).pooler_output
    out = {"positions": torch.arange(len(ids)).int().expand(3, -1).contiguous()}
    for i, (im, px, f) in enumerate(zip(images, pixels, features)):
        out |= {f"image.{i}": torch.from_numpy(im), f"pixels.{i}": px.flatten(1), f"image_tokens.{i}": f}
    return ids, more, out
